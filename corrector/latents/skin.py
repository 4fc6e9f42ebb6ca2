"""Where an axis expects skin, how light it is there, and the approximate colours of latents."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

Region = Sequence[float]  # left, top, right, bottom in 0..1 of a picture
RIDGE = 0.03  # of the colours' mean variance
SKIN_MARGIN = 0.1  # of the picture's sides: how far around its box an axis' skin may reach


def cie_lab(pictures: np.ndarray) -> np.ndarray:
    """sRGB [N, H, W, 3], uint8 or float in 0..1 -> CIE L*, a*, b* (D65) of all pixels [N, H * W, 3]."""
    from skimage.color import rgb2lab

    return rgb2lab(pictures).reshape(len(pictures), -1, 3)


def lab_of(pictures: Tensor) -> Tensor:
    """Pictures [N, 3, H, W] in -1..1 -> CIE L*, a*, b* [N, H, W, 3] on the CPU."""
    rgb = ((pictures.float() + 1) / 2).clamp(0, 1).nan_to_num().permute(0, 2, 3, 1).cpu()
    return torch.from_numpy(cie_lab(rgb.numpy())).float().view(rgb.shape)


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


@dataclass(frozen=True)
class LinearColours:
    """Approximate colours of latents in model space, one a cell: RGB in -1..1 is latents @ factors + bias.

    Args:
        factors: [C, 3].
        bias: [3].
    """

    factors: Tensor
    bias: Tensor

    def rgb(self, latents: Tensor) -> Tensor:
        """Latents [N, C, H, W] -> RGB [N, 3, H, W] in about -1..1."""
        factors, bias = self.factors.to(latents.device), self.bias.to(latents.device)
        return torch.einsum("nchw,cr->nrhw", latents.float(), factors) + bias.view(3, 1, 1)

    def lighter(self, latents: Tensor) -> Tensor:
        """The likeliest change of a cell [C] that adds 1 to its RGB on average, given cells of latents [N, C, H, W].

        Of all changes z with F' z = 1 it is the smallest in the metric of the cells' covariance S, up to a ridge that
        keeps it small where the cells hardly vary in some colour: S F (F' S F)^-1 1.
        """
        cells = rearrange(latents.float().cpu(), "n c h w -> c (n h w)")
        covariance = cells.cov()
        colours = self.factors.T @ covariance @ self.factors
        ridge = RIDGE * colours.trace() / 3 * torch.eye(3)
        change = covariance @ self.factors @ torch.linalg.solve(colours + ridge, torch.ones(3))
        return change / (change @ self.factors).mean()


def fit_colours(latents: Tensor, pictures: Tensor) -> LinearColours:
    """The LinearColours of latents [N, C, H, W] and their pictures [N, 3, height, width], by least squares."""
    cells = F.interpolate(pictures.float().cpu(), latents.shape[-2:], mode="area")
    inputs = rearrange(latents.float().cpu(), "n c h w -> (n h w) c")
    inputs = torch.cat([inputs, torch.ones(len(inputs), 1)], dim=1)
    solution = torch.linalg.lstsq(inputs, rearrange(cells, "n r h w -> (n h w) r")).solution
    return LinearColours(solution[:-1], solution[-1])
