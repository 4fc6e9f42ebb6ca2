"""Which side of an axis a finished latent shows, asked of the model itself: which side's prompt explains it better?

A latent x0 is noised, and denoised for a prompt of each side. The better the prediction, the better the prompt explains
the picture (diffusion classifiers: Li et al. 2023, arXiv 2303.16203; Clark and Jaini 2023, arXiv 2303.15233). With
P = D_c - D_s and each cell's squared errors e_c = |D_c - x0|^2 and e_s = |D_s - x0|^2, summed over cells and noises,

    d = sum w (e_s - e_c) / sum w |P|^2        w = |P|^2

This is 2q - 1 with the q of the correction: where x0 lies between the two predictions, whatever else varies. It is 1 or
-1 in the mean of a side's own pictures, and near 0 for pictures that show neither. Weights let cells count where the
sides differ. The noises are n and -n: as P is much the same at both, what n resembles by chance cancels out. Together
that is four evaluations of the model for each picture, without labels or training.

A model judges with its own prejudices: people, or a classifier of pictures, stay the second opinion.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from einops import reduce
from torch import Tensor

from ..axis.axis import Axis
from ..latents.host import Host

Side = Literal["counter", "stereotype", "unsure"]

# Model space has a standard deviation of about 1, whatever the model. In the drawn worlds, of 8 and 16 cells a side,
# the verdict is right from sigma 3 to 14 and fails below: there the model sees what x shows, whatever the prompt
# says. A part of a picture is seen by the mean of its cells, so sigma grows with the latents' sides, as far as
# schedules go.
SIGMA = 6.0  # for up to so many cells a side:
CELLS = 16
HIGHEST_SIGMA = 14.0  # SD's schedule begins at 14.6
SURE = 0.2  # |d| from which a verdict counts: in the drawn worlds, pictures of neither side stay below it
# Of a preview, from which its picture is left alone. In the drawn worlds nine in ten of the fine ones have 0.6 or more;
# those with the stereotype have less, of which a flow model at CFG 1 shows some faintly.
CERTAIN = 0.5
# Predictions that differ less, where they do: bfloat16 rounds values of a few units as much. In the drawn worlds two
# phrases for one thing differ by at most 0.01, and two sides by 0.8 or more.
ALIKE = 0.02
SEED = 5


@dataclass(frozen=True)
class Verdict:
    """What the model says of N pictures.

    Args:
        evidence: d [N] on the CPU, about 1 for the counter side and -1 for the stereotype side; NaN if a prediction or
            latent was broken, or both predictions were `ALIKE`.
    """

    evidence: Tensor

    @property
    def sides(self) -> list[Side]:
        return [_side(d) for d in self.evidence.tolist()]


def _side(d: float) -> Side:
    if d >= SURE:
        return "counter"
    return "stereotype" if d <= -SURE else "unsure"


def sigma_of(height: int, width: int) -> float:
    """The noise level at which latents of a size are asked about."""
    return min(SIGMA * max(1.0, math.sqrt(height * width) / CELLS), HIGHEST_SIGMA)


@torch.no_grad()
def verdict(latents: Tensor, predict: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], noises: int = 2) -> Verdict:
    """Which side each picture shows. The noise is the same for all pictures of a shape, whatever the batch.

    Args:
        latents: finished latents [N, C, H, W], in model space.
        predict: `predict(x, sigma)` -> (D_c, D_s), each [N, C, H, W], for x [N, C, H, W] at sigma [N]; without CFG.
        noises: 1 for n alone, which costs half and reads a picture in a hundred otherwise.
    """
    x0 = latents.float()
    noise = torch.randn(x0.shape[1:], generator=torch.Generator().manual_seed(SEED)).to(x0.device)
    level = sigma_of(*x0.shape[2:])
    sigma = torch.full((len(x0),), level, device=x0.device)
    gained = apart = weights = torch.zeros(len(x0), device=x0.device)
    for sign in (1, -1)[:noises]:
        counter, stereotype = (part.to(x0) for part in predict(x0 + sign * level * noise, sigma))
        e_c, e_s, weight = (
            reduce(difference.square(), "n c h w -> n h w", "sum")
            for difference in (counter - x0, stereotype - x0, counter - stereotype)
        )
        gained = gained + reduce(weight * (e_s - e_c), "n h w -> n", "sum")
        apart = apart + reduce(weight.square(), "n h w -> n", "sum")
        weights = weights + reduce(weight, "n h w -> n", "sum")
    differ = (apart / weights / x0.shape[1]).sqrt() >= ALIKE
    return Verdict(torch.where(differ, gained / apart, torch.nan).cpu())


def result(axis: Axis, inside: Sequence[bool], before: Sequence[Side], after: Sequence[Side]) -> str:
    """What the pictures of a run show, by verdicts on their previews and on themselves: "a village: 8 -> 0 of 8".

    Args:
        axis: Axis.
        inside: for each picture whether its prompt lets it be corrected; the others do not count.
        before, after: a side for each picture.
    """
    sides = [[side for side, counts in zip(each, inside, strict=True) if counts] for each in (before, after)]
    stereotypes = [each.count("stereotype") for each in sides]
    unsure = sides[1].count("unsure")
    beside = f", {unsure} unsure" if unsure else ""
    text = f"{axis.stereotype.description}: {stereotypes[0]} -> {stereotypes[1]} of {len(sides[1])}{beside}"
    if stereotypes[1]:
        text += "; a run that starts from a picture keeps more of it the lower its denoise is"
    return text


def verdict_of_host(host: Host, latents: Tensor, axis: Axis, group: str) -> Verdict:
    """Which side of an axis pictures of one group show, by the host's model, a batch at a time.

    Both prompts are the axis' first neutral one with the first phrase of a side: other wordings say the same.

    Args:
        host: Host, whose model may be another than the one that drew the pictures.
        latents: [N, C, H, W], in the host's model space.
        axis: Axis.
        group: one of its groups. Raises AxisError if it is not.
    """
    sides = [host.encode(axis.prompts(group, side)[:1]) for side in ("counter", "stereotype")]

    def predict(x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        counter, stereotype = (host.denoise(x, sigma, side) for side in sides)
        return counter, stereotype

    parts = [verdict(part, predict) for part in latents.split(host.batch)]
    return Verdict(torch.cat([part.evidence for part in parts]))
