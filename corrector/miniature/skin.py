"""Marks the skin in pictures of a drawn world, and measures how light it is.

The marker is a small network, trained on drawn pictures alone, of which the truth is known at every pixel.

A lightness is the mean CIE L* of the middle 60 % of the pixels of skin. Of two parts of similar size the median is the
larger one's: it does not see that a face gets lighter beside an arm. The mean of all depends on blurred edges, and on
shaded necks that one attire shows and another hides. A change of one part alone counts about a quarter less than its
share of the skin; `lightness_of_parts` shows all of it.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from ..latents.skin import cie_lab
from .model import WEIGHTS
from .world import SKIN_PARTS

WIDTHS = (16, 16, 24, 24)  # numbers of features; each further one halves the sides
CHUNK = 50  # pictures that are marked at a time
TRIMMED = 0.2  # of the pixels of skin, left out at the light end and at the dark end
LEAST_SHARE = 0.002  # of a picture's pixels; less skin, or less of a part, is none


class SkinMarker(nn.Module):
    """A small U-Net that tells which part of skin each pixel shows.

    Args:
        parts: their names. Labels count them from 1; 0 is no skin.
    """

    def __init__(self, parts: Sequence[str] = SKIN_PARTS):
        super().__init__()
        self.parts = tuple(parts)
        first, *deeper = WIDTHS
        self.start = nn.Sequential(nn.PixelUnshuffle(2), _block(12, first))
        self.down = nn.ModuleList(_block(*widths, stride=2) for widths in zip(WIDTHS, deeper, strict=False))
        self.middle = _block(WIDTHS[-1], WIDTHS[-1])
        self.up = nn.ModuleList(_block(low + high, high) for low, high in zip(deeper, WIDTHS, strict=False))
        self.end = nn.Sequential(nn.Conv2d(first, 4 * (1 + len(self.parts)), 1), nn.PixelShuffle(2))

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures [N, 3, H, W] in -1..1, whose sides are multiples of 16 -> logits [N, 1 + parts, H, W]."""
        features = [self.start(pictures)]
        for down in self.down:
            features.append(down(features[-1]))
        x = self.middle(features.pop())
        for up in reversed(self.up):
            x = up(torch.cat([F.interpolate(x, scale_factor=2.0), features.pop()], dim=1))
        return self.end(x)

    @torch.no_grad()
    def mark(self, pictures: Tensor) -> Tensor:
        """Pictures [N, 3, H, W] in -1..1 -> the part of skin at each pixel, uint8 [N, H, W]; 0 is no skin."""
        return torch.cat([self(chunk).argmax(dim=1).byte() for chunk in pictures.float().split(CHUNK)])

    def lightness(self, pictures: Tensor) -> np.ndarray:
        """Pictures [N, 3, H, W] in -1..1 -> CIE L* of all skin [N], 0 to 100; NaN where a picture shows none."""
        return lightness_of_marked(pictures, self.mark(pictures) > 0)

    def lightness_of_parts(self, pictures: Tensor) -> dict[str, np.ndarray]:
        """Pictures [N, 3, H, W] in -1..1 -> CIE L* [N] of each part by name; NaN where a picture does not show it."""
        marked = self.mark(pictures)
        return {part: lightness_of_marked(pictures, marked == label) for label, part in enumerate(self.parts, 1)}


def _block(before: int, after: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, stride, padding=1), nn.GroupNorm(8, after), nn.SiLU())


@cache
def load_marker(folder: Path = WEIGHTS, parts: tuple[str, ...] = SKIN_PARTS) -> SkinMarker:
    """The trained marker of a world's parts of skin, in its folder of weights."""
    marker = SkinMarker(parts)
    marker.load_state_dict({name: value.float() for name, value in load_file(folder / "skin.safetensors").items()})
    return marker.eval().requires_grad_(False)


def lightness_of_marked(pictures: Tensor, marked: Tensor) -> np.ndarray:
    """Pictures [N, 3, H, W] in -1..1 and marked pixels [N, H, W] -> CIE L* [N] of these, as the module says."""
    from scipy.stats import trim_mean

    rgb = ((pictures.float() + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1)
    means = np.full(len(pictures), np.nan)
    for index, (levels, shown) in enumerate(zip(cie_lab(rgb.numpy())[..., 0], marked.flatten(1).numpy(), strict=True)):
        if shown.mean() >= LEAST_SHARE:
            means[index] = trim_mean(levels[shown], TRIMMED)
    return means
