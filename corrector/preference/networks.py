"""The network of a preference: the learned source of the update.

It reads x [B, C, H, W] in model space at sigma [B] for the group's index [B], with the model's prediction for the
user's prompt, without CFG, D_cond. From that it tells what the model itself would answer if it were asked for the
counter side: the update D_c - D_cond (METHOD.md, third form). It is small where a picture shows that side anyway.
"""

import math
from typing import Protocol

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..files.errors import RSCorrectorError
from ..latents.devices import beside
from ..latents.spaces import LATENT_SPACES, noise_level, scale_input

CLOSED = 1.0  # sigma, in units of the latents' spread, below which the sides' predictions do not differ any more


class PreferenceError(RSCorrectorError):
    """Latents for which a preference was not made."""


class Source(Protocol):
    """A network, or what stands for one, that gives the update: `Distilled`."""

    has_weights: bool  # which a file keeps, calibration measures and each host can use

    def update(self, x: Tensor, sigma: Tensor, group: Tensor, conditional: Tensor) -> Tensor:
        """D_c - D_cond [B, C, H, W] in units of x0, on the device of x, 0 below CLOSED; raises PreferenceError.

        Args:
            x: [B, C, H, W] in model space.
            sigma: [B].
            group: [B], index of the group that each prompt names.
            conditional: the model's prediction for the user's prompt, without CFG, [B, C, H, W].
        """
        ...


def _silu(features: Tensor) -> Tensor:
    """SiLU of features clamped to -30 or more, where it is 0 within 3e-12.

    Below, its gradient is a denormal float, which makes training on a CPU many times slower.
    `torch.set_flush_denormal` would help in the calling thread only, not in torch's workers.
    """
    return F.silu(F.threshold(features, -30, -30))


class Trunk(nn.Module):
    """Body of the network: patches, residual blocks at two scales, sigma and group by FiLM.

    It is fully convolutional and accepts any size.

    Args:
        space: a name in LATENT_SPACES.
        groups: number of groups.
        width: number of features.
        blocks: number of residual blocks at the coarse scale.
        patch: side of a patch in latent cells.
    """

    frequencies: Tensor

    def __init__(self, space: str, groups: int, width: int = 48, blocks: int = 3, patch: int = 1):
        super().__init__()
        self.space = space
        self.groups = groups
        self.patch = patch
        self.channels = LATENT_SPACES[space].channels
        self.stem = nn.Conv2d(2 * self.channels * patch * patch, width, 3, padding=1)
        self.condition = nn.Sequential(nn.Linear(17 + groups, 2 * width), nn.SiLU(), nn.Linear(2 * width, 2 * width))
        self.register_buffer("frequencies", 2.0 ** torch.arange(8) * math.pi / 8, persistent=False)
        self.down = nn.Conv2d(width, width, 4, stride=2, padding=1)
        self.blocks = nn.ModuleList(Block(width, 2 * width) for _ in range(blocks))
        self.up = nn.Conv2d(width, width, 3, padding=1)
        self.skip = Block(width, 2 * width)
        self.last = Block(width, 2 * width)

    def forward(self, x: Tensor, sigma: Tensor, group: Tensor, conditional: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """-> features of cells, padded to whole patches; the latents' height and width"""
        if x.shape[1] != self.channels:
            raise PreferenceError(
                f'The model\'s latents have {x.shape[1]} channels and this preference is for "{self.space}", which has '
                f"{self.channels}; use a preference made for this model."
            )
        x = torch.cat([scale_input(x, sigma), conditional], dim=1)
        height, width = x.shape[-2:]
        fit = 2 * self.patch  # pad sizes that are no multiple of both scales
        x = F.pad(x, (0, -width % fit, 0, -height % fit), mode="replicate")
        level = noise_level(sigma)[:, None]  # [B, 1]
        waves = level * self.frequencies
        one_hot = F.one_hot(group.clamp(min=0), self.groups).to(x.dtype)
        condition = self.condition(torch.cat([level, waves.sin(), waves.cos(), one_hot], dim=1))
        fine = self.skip(self.stem(F.pixel_unshuffle(x, self.patch)), condition)
        coarse = self.down(fine)
        for block in self.blocks:
            coarse = block(coarse, condition)
        fine = fine + F.interpolate(self.up(coarse), scale_factor=2.0, mode="nearest")
        return self.last(fine, condition), (height, width)


class Block(nn.Module):
    """Residual block with FiLM and a global mean, which connects distant parts of the picture."""

    def __init__(self, width: int, condition: int):
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.film = nn.Linear(condition, 2 * width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.wide = nn.Linear(width, width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.film.weight)

    def forward(self, features: Tensor, condition: Tensor) -> Tensor:
        scale, shift = rearrange(self.film(condition), "b (two c) -> two b c 1 1", two=2)
        hidden = _silu(self.norm(features) * (1 + scale) + shift)
        hidden = _silu(self.conv1(hidden) + self.wide(hidden.mean(dim=(2, 3)))[:, :, None, None])
        return features + self.conv2(hidden)


class Distilled(nn.Module):
    """The learned source: one forward pass gives the update, without the model or autograd.

    Args:
        space, groups, width, blocks, patch: as for Trunk.
    """

    has_weights = True

    def __init__(self, space: str, groups: int, width: int = 48, blocks: int = 3, patch: int = 1):
        super().__init__()
        self.config = dict(space=space, groups=groups, width=width, blocks=blocks, patch=patch)
        self.trunk = Trunk(space, groups, width, blocks, patch)
        self.last = nn.Conv2d(width, self.trunk.channels * patch * patch, 3, padding=1)

    def forward(self, x: Tensor, sigma: Tensor, group: Tensor, conditional: Tensor) -> Tensor:
        """The update, also below CLOSED. Args as for `Source.update`."""
        features, (height, width) = self.trunk(x, sigma, group, conditional)
        return F.pixel_shuffle(self.last(_silu(features)), self.trunk.patch)[..., :height, :width]

    def update(self, x: Tensor, sigma: Tensor, group: Tensor, conditional: Tensor) -> Tensor:
        """As `Source.update`, on whichever device the network is."""
        update = torch.zeros_like(x)
        if (asked := sigma >= CLOSED).any():
            inputs = (part[asked] for part in (x, sigma, group, conditional))
            update[asked] = self(*beside(self, *inputs)).to(update)
        if not update.isfinite().all() and all(part.isfinite().all() for part in (x, sigma, conditional)):
            raise PreferenceError(
                "The preference gives NaN or infinity for these latents, so nothing was corrected; learn it again, or "
                "use another file."
            )
        return update
