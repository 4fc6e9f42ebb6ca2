"""Maps of where and at which steps a correction acted, from D* - D at each step."""

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from torch import Tensor

HEAT = torch.tensor([0.90, 0.35, 0.05])  # orange: distinct from skin, foliage and sky, also for colour-blind readers
STEP_TILE = 96  # pixels; side of the tile of one step
MOST_STEP_TILES = 12


class Acts:
    """Collects the RMS over channels of D* - D at each step of a run, on the CPU."""

    def __init__(self):
        self.maps: list[Tensor] = []
        self.before = torch.zeros(())

    def before_correction(self, denoised: Tensor) -> Tensor:
        """Take `denoised` [B, C, H, W] before the correction, and return it."""
        self.before = denoised.detach().float().clone()
        return denoised

    def after_correction(self, denoised: Tensor) -> Tensor:
        """Take `denoised` [B, C, H, W] after the correction, and return it."""
        change = reduce((denoised.detach().float() - self.before).square(), "b c h w -> b h w", "mean").sqrt()
        self.maps.append(change.cpu())
        return denoised

    @property
    def mask(self) -> Tensor:
        """The total change [B, H, W], scaled to a maximum of 1 per picture; zeros if nothing acted."""
        total = torch.stack(self.maps).sum(dim=0)
        return total / reduce(total, "b h w -> b 1 1", "max").clamp(min=1e-9)


def overlay(pictures: Tensor, mask: Tensor) -> Tensor:
    """Pictures [B, H, W, 3] in 0..1, desaturated, with the mask [B, h, w] in orange on top -> [B, H, W, 3]."""
    mask = F.interpolate(mask[:, None], size=pictures.shape[1:3], mode="bilinear").movedim(1, -1)  # [B, H, W, 1]
    grey = (pictures @ torch.tensor([0.2126, 0.7152, 0.0722]))[..., None].expand_as(pictures)
    muted = 0.35 * pictures + 0.65 * grey
    return muted * (1 - 0.75 * mask) + HEAT * 0.75 * mask


def step_tiles(acts: Acts) -> Tensor:
    """A row of tiles per picture, one tile per step, on a common scale per picture -> [B, H, W, 3] in 0..1."""
    maps = torch.stack(acts.maps, dim=1)  # [B, S, h, w]
    if maps.shape[1] > MOST_STEP_TILES:
        maps = maps[:, torch.linspace(0, maps.shape[1] - 1, MOST_STEP_TILES).round().long()]
    level = maps / reduce(maps, "b s h w -> b 1 1 1", "max").clamp(min=1e-9)
    tiles = F.interpolate(level, size=(STEP_TILE, STEP_TILE), mode="bilinear")
    tiles = F.pad(tiles, (1, 1, 1, 1), value=0.15)
    row = rearrange(tiles, "b s h w -> b h (s w) 1")
    return row * HEAT + (1 - row) * 0.08
