"""What the pairs say of the tone of skin: how much it tells about the side, and how latents of another tone differ.

Lightness t is the median CIE L* of the axis' box of skin, in standard deviations within a group and side.
"""

from collections.abc import Sequence

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from ..latents.skin import skin_mask
from .pairs import Pairs

MOST_APART = 4.0  # standard deviations between the sides' tones that count: beyond, a density ratio is a guess
FLAT_TONE = 0.1  # points of L*: a standard deviation below which lightness says nothing
RIDGE = 0.1  # of the regression of lightness, over a cell's variance, summed over the pictures, on average
RISE = 0.7  # of the tone push: 0 tilts the model's distribution; with more, samplers that add noise keep the tone alike
MOST_TONE = 8.0  # largest weight of the tone push, in units of the group's slope
POWERS = (0.5, 2.0)  # of the weight, with which what it takes away may grow: slower where sides differ far
TILT = 0.079  # root mean square of s sigma^2 g where skin is, over sigma: above what half precision rounds off


def tone_slopes(pairs: Pairs) -> Tensor:
    """How much the tone of skin tells about the side, by group [G].

    To keep the tone of the stereotype side, counter pictures are weighed by p(t | s) / p(t | c); for two normal
    distributions of the same spread that is exp(a t) with a = (mean_s - mean_c) / variance within a side (METHOD.md).
    Sides that differ by more than MOST_APART standard deviations count as that far apart.
    """
    stereotype, counter = (pairs.lightness / _spread(pairs)).unbind(dim=1)
    within = ((stereotype.var(dim=1) + counter.var(dim=1)) / 2).sqrt().clamp(min=0.1)
    return ((stereotype.mean(dim=1) - counter.mean(dim=1)) / within).clamp(-MOST_APART, MOST_APART) / within


def tone_gradient(pairs: Pairs, region: Sequence[float]) -> Tensor:
    """The gradient g of lightness in latents [C, H, W]: t = <g, x0> + a constant offset.

    By ridge regression on the cells of `region` and a margin, in which lightness is nearly linear. It is over all
    pictures: within sides, it takes for skin what only goes with skin there. Zero if lightness hardly varies.
    """
    gradient = torch.zeros(pairs.latents.shape[3:])
    if _spread(pairs) < FLAT_TONE:
        return gradient
    mask = skin_mask(pairs.latents.shape, region)
    inside = mask > 0
    cells = rearrange(pairs.latents[..., inside] * mask[inside], "g s n c k -> (g s n) (c k)").double()
    tone = (pairs.lightness / _spread(pairs)).flatten().double()
    cells, tone = cells - cells.mean(dim=0), tone - tone.mean()
    kernel = cells @ cells.T
    ridge = RIDGE * kernel.trace() / cells.shape[1] + 1e-9
    weights = cells.T @ torch.linalg.solve(kernel + ridge * torch.eye(len(kernel)), tone)
    gradient[:, inside] = rearrange(weights.float(), "(c k) -> c k", c=len(gradient)) * mask[inside]
    return gradient


class Tilt:
    """How x is moved so that skin gets another tone: darker, or lighter in groups whose stereotype is lighter."""

    def __init__(self, pairs: Pairs, region: Sequence[float]):
        self.gradient = tone_gradient(pairs, region)
        self.skin = skin_mask(pairs.latents.shape, region)  # outside it T holds what goes with it, as clothes
        size = TILT * (self.gradient.count_nonzero().clamp(min=1) ** 0.5) / self.gradient.norm().clamp(min=1e-6)
        self.size = size * torch.where(tone_slopes(pairs) > 0, 1.0, -1.0)

    def at(self, sigma: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
        """s [B, 1, 1, 1] and s sigma^2 g [B, C, H, W] at sigma [B] for groups [B]."""
        s = (self.size[group] / sigma).view(-1, 1, 1, 1)
        return s, s * sigma.square().view(-1, 1, 1, 1) * self.gradient


def tone_weight(tried: float, changed: float, without: float, power: float = 1.0) -> float:
    """The weight of the tone push at which skin keeps its lightness.

    Args:
        tried: a weight, in units of the tone slope.
        changed: the change in lightness with it.
        without: the change at a weight of 0.
        power: what is taken away is in proportion to this power of the weight.
    """
    gained = without - changed
    if not gained * without > 1e-3:  # it does not do what it should: more of it would not help
        return tried
    return min(tried * (without / gained) ** (1 / power), MOST_TONE)


def tone_power(weights: tuple[float, float], changed: tuple[float, float], without: float) -> float:
    """The power of the weight with which the tone push takes lightness away, from two weights and changes.

    1 where they say nothing of it: at like weights, or where little is taken away.
    """
    gained, apart = without - np.array(changed), np.log(weights[0] / weights[1])
    if abs(apart) < 0.1 or not (gained * without > 1e-3).all():
        return 1.0
    return float(np.clip(np.log(gained[0] / gained[1]) / apart, *POWERS))


def _spread(pairs):
    """The standard deviation of L* within groups and sides."""
    return (pairs.lightness - pairs.lightness.mean(dim=2, keepdim=True)).std().clamp(min=1e-6)
