"""Remembers the decisions of earlier runs, so that a later stage of a picture keeps them.

A picture is recognised by its latents, compared on a coarse grid: the same ones (a second sampler, a split or merged
batch), resized ones, and ones that went through a VAE (hires fix, img2img of a result). A crop is a new picture.
"""

from collections import deque
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..latents.spaces import fit_mask
from .decision import PastDecision

REMEMBERED_PICTURES = 1024
GRID = 8  # cells per side at which latents are compared: coarse enough that resizing changes little
PICTURES_ALIKE = 0.85  # least likeness to any picture; other seeds of one prompt reach 0.82 on the miniature
JOB_ALIKE = 0.5  # least likeness to a picture of the same graph or job, which probably is the same


@dataclass(frozen=True, eq=False)
class _Picture:
    """A picture of a finished run."""

    cells: Tensor  # [C, GRID, GRID]
    decisions: dict[str, PastDecision]  # by axis hash
    context: object


class Memory:
    """The pictures of the last runs of this process and their decisions."""

    def __init__(self):
        self.pictures = deque(maxlen=REMEMBERED_PICTURES)  # newest first

    def keep(self, latents: Tensor, decisions: list[dict[str, PastDecision]], context: object = None) -> None:
        """Remember the pictures of a run.

        Args:
            latents: [B, C, H, W], the result of the run.
            decisions: {axis hash: PastDecision} for each picture.
            context: a value that the runs of one graph or job share, or None.
        """
        cells = F.adaptive_avg_pool2d(latents.detach().double().cpu(), GRID)
        self.pictures.extendleft(map(_Picture, cells, decisions, [context] * len(decisions)))

    def find(
        self, latents: Tensor, mask: Tensor | None = None, context: object = None
    ) -> list[dict[str, PastDecision] | None]:
        """The decisions for the pictures that a run starts from -> {axis hash: PastDecision} or None for each.

        Args:
            latents: [B, C, H, W].
            mask: inpainting mask [..., H, W], 1 where `latents` are ignored; or None.
            context: as in `keep`.
        """
        latents = latents.detach().double().cpu()
        pictures = [picture for picture in self.pictures if len(picture.cells) == latents.shape[1]]
        if not pictures:
            return [None] * len(latents)
        shown = torch.ones_like(latents[:, :1]) if mask is None else (fit_mask(mask.cpu(), latents) < 0.5).double()
        weights = F.adaptive_avg_pool2d(shown, GRID)  # [B, 1, GRID, GRID]
        cells = F.adaptive_avg_pool2d(latents * shown, GRID) / weights.clamp(min=1e-3)
        remembered = torch.stack([picture.cells for picture in pictures])
        least = torch.tensor([
            JOB_ALIKE if context is not None and picture.context == context else PICTURES_ALIKE for picture in pictures
        ])  # fmt: skip
        decisions = []
        for own, weight in zip(cells, weights, strict=True):
            likeness = _likeness(own, weight, remembered)
            best = int(likeness.where(likeness >= least, -torch.inf).round(decimals=2).argmax())  # the newest of equals
            decisions.append(pictures[best].decisions if likeness[best] >= least[best] else None)
        return decisions


def _likeness(cells: Tensor, weight: Tensor, pictures: Tensor) -> Tensor:
    """How well pictures [N, C, h, w] explain cells [C, h, w] with weights [1, h, w] -> R^2 [N]: 1 if equal."""
    mean = (cells * weight).sum(dim=(1, 2), keepdim=True) / weight.sum().clamp(min=1e-6)
    spread = ((cells - mean).square() * weight).sum().clamp(min=1e-6)
    return 1 - ((pictures - cells).square() * weight).sum(dim=(1, 2, 3)) / spread
