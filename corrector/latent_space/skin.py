"""Where an axis expects skin, and how light it is there."""

import torch


def lightness(pictures, region):
    """Pictures [N, 3, H, W] in -1..1 -> median CIE L* [N] of the box `region` (left, top, right, bottom in 0..1)."""
    height, width = pictures.shape[-2:]
    left, top, right, bottom = region
    box = pictures[..., round(top * height) : round(bottom * height), round(left * width) : round(right * width)]
    rgb = ((box.float() + 1) / 2).clamp(0, 1)
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)  # IEC 61966-2-1
    luminance = (linear * torch.tensor([0.2126, 0.7152, 0.0722]).view(3, 1, 1)).sum(dim=1)  # [N, h, w]
    cube_root = torch.where(luminance > 216 / 24389, luminance ** (1 / 3), (24389 / 27 * luminance + 16) / 116)
    return (116 * cube_root - 16).flatten(1).median(dim=1).values


SKIN_MARGIN = 0.1  # of the picture's sides: how far around its box an axis' skin may reach


def skin_mask(shape, region):
    """How much of each cell of a latent [..., H, W] lies in `region`, grown by SKIN_MARGIN -> [H, W] in 0..1."""
    height, width = shape[-2:]
    left, top, right, bottom = region

    def covered(cells, start, end):
        edges = torch.arange(cells + 1) / cells
        inside = edges.clamp(start - SKIN_MARGIN, end + SKIN_MARGIN)
        return inside.diff() * cells

    return covered(height, top, bottom)[:, None] * covered(width, left, right)
