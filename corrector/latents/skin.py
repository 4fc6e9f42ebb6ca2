"""Where an axis expects skin, and how light it is there."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

Region = Sequence[float]  # left, top, right, bottom in 0..1 of a picture
SKIN_MARGIN = 0.1  # of the picture's sides: how far around its box an axis' skin may reach


def cie_lab(pictures: np.ndarray) -> np.ndarray:
    """sRGB [N, H, W, 3], uint8 or float in 0..1 -> CIE L*, a*, b* (D65) of all pixels [N, H * W, 3]."""
    from skimage.color import rgb2lab

    return rgb2lab(pictures).reshape(len(pictures), -1, 3)


def box_of(region: Region, height: int, width: int) -> tuple[slice, slice]:
    """A region (left, top, right, bottom in 0..1) -> slices of its rows and columns."""
    left, top, right, bottom = region
    return slice(round(top * height), round(bottom * height)), slice(round(left * width), round(right * width))


def lightness(pictures: Tensor, region: Region) -> Tensor:
    """Pictures [N, 3, H, W] in -1..1 -> median CIE L* [N] of the box `region` (left, top, right, bottom in 0..1)."""
    box = pictures[(..., *box_of(region, *pictures.shape[-2:]))]
    rgb = ((box.float() + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1)  # [N, h, w, 3]
    return torch.from_numpy(cie_lab(rgb.cpu().numpy())[..., 0]).median(dim=1).values


def skin_mask(shape: Sequence[int], region: Region) -> Tensor:
    """How much of each cell of a latent [..., H, W] lies in `region`, grown by SKIN_MARGIN -> [H, W] in 0..1."""
    height, width = shape[-2:]
    left, top, right, bottom = region

    def covered(cells, start, end):
        edges = torch.arange(cells + 1) / cells
        inside = edges.clamp(start - SKIN_MARGIN, end + SKIN_MARGIN)
        return inside.diff() * cells

    return covered(height, top, bottom)[:, None] * covered(width, left, right)
