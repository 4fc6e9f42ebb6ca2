"""Where and at which steps a correction acted: maps of D* - D, laid over pictures."""

import torch
import torch.nn.functional as F
from einops import rearrange, reduce

HEAT = torch.tensor([0.90, 0.35, 0.05])  # orange: apart from skin, foliage and sky, also for the colour-blind
TILE = 96  # pixels a side of one step's tile
MOST_TILES = 12


class Acts:
    """Collects what a correction changed at each call of a run: the RMS over channels of D* - D."""

    def __init__(self):
        self.maps, self.sigmas, self.before = [], [], None

    def seen(self, denoised):
        """`denoised` [B, C, H, W] before the correction."""
        self.before = denoised.detach().float().clone()

    def acted(self, denoised, sigma):
        """`denoised` after it, at sigma [B]."""
        change = reduce((denoised.detach().float() - self.before).square(), "b c h w -> b h w", "mean").sqrt()
        self.maps.append(change.cpu())
        self.sigmas.append(float(sigma.max()))

    @property
    def mask(self):
        """What was changed in all, 0..1 of the most in an image [B, H, W]; zeros where nothing acted."""
        total = torch.stack(self.maps).sum(dim=0)
        return total / reduce(total, "b h w -> b 1 1", "max").clamp(min=1e-9)

    def steps(self):
        """Change of each call [S, B], in units of x0."""
        return torch.stack([reduce(m.square(), "b h w -> b", "mean").sqrt() for m in self.maps])


def overlay(pictures, mask):
    """Pictures [B, H, W, 3] in 0..1 and a mask [B, h, w] -> the pictures greyed, with the mask in orange on top."""
    mask = F.interpolate(mask[:, None], size=pictures.shape[1:3], mode="bilinear").movedim(1, -1)  # [B, H, W, 1]
    grey = (pictures @ torch.tensor([0.2126, 0.7152, 0.0722]))[..., None].expand_as(pictures)
    calm = 0.35 * pictures + 0.65 * grey
    return calm * (1 - 0.75 * mask) + HEAT * 0.75 * mask


def step_tiles(acts):
    """One line an image, one tile a call from the first to the last, all on one scale -> [B, H, W, 3] in 0..1."""
    maps = torch.stack(acts.maps, dim=1)  # [B, S, h, w]
    if maps.shape[1] > MOST_TILES:
        maps = maps[:, torch.linspace(0, maps.shape[1] - 1, MOST_TILES).round().long()]
    level = maps / reduce(maps, "b s h w -> b 1 1 1", "max").clamp(min=1e-9)
    tiles = F.interpolate(level, size=(TILE, TILE), mode="bilinear")
    tiles = F.pad(tiles, (1, 1, 1, 1), value=0.15)
    line = rearrange(tiles, "b s h w -> b h (s w) 1")
    return line * HEAT + (1 - line) * 0.08
