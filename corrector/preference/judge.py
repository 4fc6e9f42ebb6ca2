"""The judge of clean latents that is learned together with a preference, for calibration and audits."""

import torch
import torch.nn.functional as F
from torch import nn

from ..latents.devices import beside
from .networks import MOST_CELLS


class Judge(nn.Module):
    """A cross-fitted judge of clean latents: one network per fold, not used on the pictures it was trained on."""

    FOLDS = 2

    def __init__(self, channels, width=32):
        super().__init__()
        self.config = dict(channels=channels, width=width)
        self.networks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, width, 4, 2, 1), nn.SiLU(),
                nn.Conv2d(width, width, 4, 2, 1), nn.SiLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
                nn.Linear(16 * width, 1),
            ) for _ in range(self.FOLDS)
        )  # fmt: skip

    def forward(self, latents, fold=None):
        """Latents [N, C, H, W] -> log-odds of the counter side [N], of one fold or the mean of all folds."""
        finest = max(1, round(min(latents.shape[-2:]) / MOST_CELLS))
        latents = F.avg_pool2d(latents, finest) if finest > 1 else latents
        networks = self.networks if fold is None else [self.networks[fold]]
        return torch.stack([network(latents)[:, 0] for network in networks]).mean(dim=0)

    @torch.no_grad()
    def counter(self, latents):
        """Latents that were not used in training -> bool [N], whether they are on the counter side."""
        return torch.cat([self(*beside(self, part)) for part in latents.split(500)]) > 0

    @torch.no_grad()
    def agreement(self, latents):
        """The share of latents [N, C, H, W] of which the folds' networks, trained apart, say the same side."""
        sides = torch.stack([self(*beside(self, latents), fold) > 0 for fold in range(self.FOLDS)])
        return float((sides == sides[0]).all(dim=0).float().mean())
