"""What a run asks of the host's model for preferences without a network: a preview, the counter side, a verdict.

A preview of the plain picture, in a few steps from the run's own noise, says before the first step what it would
show and how light its skin would be. Pictures that would show the counter side are left alone. For the others

    D* = D + w (D_c - D_cond)

D_c is the prediction for the user's own prompt with phrases of the counter side, w the CFG scale of the run: this is
what the model predicts when it is asked for that side (METHOD.md, third form). Without CFG, where words alone leave
some stereotypes, w is a bit more in the first step. Below CLOSED the picture is settled: x shows the
backdrop itself, and the model is asked nothing more. The finished picture gets the skin tone of its preview
(`kept_skin`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import Tensor

from ..preference.networks import CLOSED
from ..preference.preference import Preference
from .verdict import Verdict, verdict

RHO = 7.0  # of Karras et al. (2022), whose schedule previews follow
NOTHING_SEEN = 40.0  # sigma, in the same units, above which x shows nothing: flow models begin at an infinite one


@dataclass(frozen=True)
class Preview:
    """How a plain picture is drawn in a few steps.

    Args:
        steps: their number.
        end: sigma of the last one.
        guided: sigma from which CFG applies. Without it a step costs half, and brings skin nearer than with it.
        multistep: DPM-Solver++ (2M) (Lu et al. 2022, arXiv 2211.01095) in place of Euler, at no further cost. CFG
            makes it unstable in so few steps.
    """

    steps: int
    end: float
    guided: float = math.inf
    multistep: bool = False


# Whether the run has CFG, and whether it is thrifty. In the drawn worlds all but the thrifty one with CFG have skin
# within a point of L* of the picture itself where CFG is not high; that one is off by up to five.
PREVIEWS = {
    (True, False): Preview(7, 0.4, guided=2.5),  # 9 evaluations beside those of the run's own first step
    (True, True): Preview(3, 1.0, guided=4.0),  # 3
    (False, False): Preview(4, 0.4, multistep=True),  # 3
    (False, True): Preview(3, 0.5, multistep=True),  # 2
}
# Models that are distilled to few steps at CFG 1 draw nearly the whole picture in the first one.
FEW_STEPS = 8
OF_FEW_STEPS = Preview(2, 2.0)  # 1


def preview_for(cfg: float, thrifty: bool, steps: int | None) -> Preview:
    """How to preview a run at a CFG scale, of a number of steps if that is known."""
    few = steps is not None and steps <= FEW_STEPS and cfg == 1
    return OF_FEW_STEPS if few else PREVIEWS[cfg != 1, thrifty]


class RunModel(Protocol):
    """The host's model within a run of B pictures. Latents are in model space, x = x0 + sigma n."""

    def encode(self, preference: Preference, phrases: Sequence[str]) -> Any:
        """The prompts of the run's pictures, each with its phrases after it -> their conditioning, for `side`."""
        ...

    def plain(self, x: Tensor, sigma: Tensor) -> Tensor:
        """x [B, C, H, W] at sigma [B] -> denoised after CFG for the run's own prompts, without correction."""
        ...

    def prompted(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The same without CFG."""
        ...

    def side(self, conditioning: Any, x: Tensor, sigma: Tensor, index: Tensor) -> Tensor:
        """x [N, C, H, W] at sigma [N], of the pictures at `index` [N] -> denoised without CFG for what was encoded."""
        ...


class AskedSides:
    """Both sides of a preference, as phrases after the prompts of a run's pictures.

    Args:
        preference: with a Text source.
        model: RunModel.
        coins: [B] in 0..1, which choose the phrases.
    """

    def __init__(self, preference: Preference, model: RunModel, coins: Tensor):
        self.model = model
        sides = preference.axis.counter, preference.axis.stereotype
        self.counter, self.stereotype = (
            model.encode(preference, [side.two_phrases(coin) for coin in coins.tolist()]) for side in sides
        )

    def update(self, x: Tensor, sigma: Tensor, index: Tensor, conditional: Tensor) -> Tensor:
        """D_c - D_cond [N, C, H, W] of the pictures at `index` [N]; 0 below CLOSED and where it is not finite."""
        update = torch.zeros_like(conditional, dtype=torch.float32)
        asked = sigma >= CLOSED
        if asked.any():
            counter = self.model.side(self.counter, x[asked], sigma[asked], index[asked])
            update[asked] = (counter.float() - conditional[asked].float()).nan_to_num(0, 0, 0)
        return update

    def verdict(self, latents: Tensor, noises: int) -> Verdict:
        """Which side all pictures of the run show: finished latents [B, C, H, W], or a preview; by 1 or 2 noises."""
        index = torch.arange(len(latents))

        def predict(x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
            counter, stereotype = (self.model.side(side, x, sigma, index) for side in (self.counter, self.stereotype))
            return counter, stereotype

        return verdict(latents, predict, noises)


def previewed(model: RunModel, x: Tensor, sigma: Tensor, first: Tensor, how: Preview) -> Tensor:
    """The plain pictures [B, C, H, W] that a run from x at sigma [B] would give, where `first` is predicted."""
    x, before = x.float(), None  # the last step's sigma and denoised
    for level, following in pairwise([*_levels(float(sigma.max()), how), 0.0]):
        predict = model.plain if level >= how.guided else model.prompted
        denoised = aim = (predict(x, torch.full_like(sigma, level)) if before else first).float()
        if how.multistep and before and following:
            share = math.log(level / following) / math.log(before[0] / level) / 2
            aim = denoised + share * (denoised - before[1])
        x = aim + following / level * (x - aim) if following else aim  # Euler step
        before = level, denoised
    return x


def _levels(start: float, how: Preview) -> list[float]:
    """The sigmas of a preview's steps from the first sigma of a run."""
    if start <= how.end:
        return [start]
    ends = torch.tensor([min(start, NOTHING_SEEN), how.end], dtype=torch.float64) ** (1 / RHO)
    sigmas = torch.lerp(ends[0], ends[1], torch.linspace(0, 1, how.steps, dtype=torch.float64)) ** RHO
    return [start, *sigmas.tolist()[1:]]
