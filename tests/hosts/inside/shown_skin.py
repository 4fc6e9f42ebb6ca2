"""What the miniature's marker of skin, which no correction looks at, says of pictures before and after."""

import torch.nn.functional as F

CELL = 8  # pixels per side of one of the miniature's latents


def drift(marker, plain, pictures):
    """The mean difference of skin's CIE L* from plain pictures; all [N, 3, height, width] in -1..1."""
    return float((marker.lightness(pictures) - marker.lightness(plain)).mean())


def on_skin_and_elsewhere(marker, pictures, change):
    """The mean size of a change of latents [N, C, H, W] in and next to cells in which pictures show skin, elsewhere."""
    cells = F.max_pool2d((marker.mark(pictures) > 0).float()[:, None], CELL)
    skin = F.max_pool2d(cells, 3, stride=1, padding=1)[:, 0] > 0
    size = change.abs().mean(dim=1)
    return float(size[skin].mean()), float(size[~skin].mean())
