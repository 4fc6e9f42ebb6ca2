"""The networks of a preference: the learned source of log-odds and push.

A source reads x [B, C, H, W] in model space at sigma [B] for the group's index [B], with the model's prediction for the
user's prompt, without CFG, D_cond = q D_c + (1 - q) D_s (METHOD.md). q is the model's own belief that the picture comes
out on the counter side, and the push is P = D_c - D_s.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from torch import Tensor, nn

from ..files.errors import RSCorrectorError
from ..latents.devices import beside
from ..latents.spaces import LATENT_SPACES, expand, noise_level, scale_input

LOWEST_SIGMA = 0.15  # networks learn down to it; below, all but the tone of skin is decided


class PreferenceError(RSCorrectorError):
    """Latents for which a preference was not made."""


@dataclass(frozen=True)
class Reading:
    """The output of a source for x at sigma."""

    log_odds: Tensor  # [B], of q
    push: Tensor  # [B, C, H, W], units of x0
    tone: Tensor | None = None  # [B, C, H, W], units of x0: T, towards lighter skin


class Source(Protocol):
    """A network, or what stands for one, that gives log-odds and push: `Distilled`."""

    has_weights: bool  # which a file keeps, calibration measures and each host can use

    def read(self, x: Tensor, sigma: Tensor, group: Tensor, conditional: Tensor) -> Reading:
        """The Reading of x, on its device; raises PreferenceError.

        Args:
            x: [B, C, H, W] in model space.
            sigma: [B].
            group: [B], index of the group that each prompt names.
            conditional: the model's prediction for the user's prompt, without CFG, [B, C, H, W].
        """
        ...


def along(latents: Tensor, push: Tensor) -> Tensor:
    """<latents, P> / |P|^2 [B]: how far latents [B, C, H, W] lie along a push."""
    size = reduce(push.square(), "b ... -> b", "sum").clamp(min=1e-12)
    return reduce(latents * push, "b ... -> b", "sum") / size


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

    def __init__(self, space: str, groups: int, width: int = 64, blocks: int = 3, patch: int = 1):
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

    def forward(
        self, x: Tensor, sigma: Tensor, group: Tensor, conditional: Tensor
    ) -> tuple[Tensor, Tensor, tuple[int, int]]:
        """-> features of cells, padded to whole patches; features at the coarse scale; the latents' height and width"""
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
        return self.last(fine, condition), coarse, (height, width)


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
    """The learned source: one forward pass gives log-odds, push and tone push, without UNet or autograd.

    Args:
        space, groups, width, blocks, patch: as for Trunk.
        rise: `read` weighs the tone push by (1 + 1/sigma^2)^(rise/2), which is 1 where noise prevails and sigma^-rise
            where little is left; in 0..1.
    """

    has_weights = True

    def __init__(self, space: str, groups: int, width: int = 64, blocks: int = 3, patch: int = 1, rise: float = 0.0):
        super().__init__()
        self.config = dict(space=space, groups=groups, width=width, blocks=blocks, patch=patch, rise=rise)
        self.rise = rise
        self.trunk = Trunk(space, groups, width, blocks, patch)
        self.odds = nn.Linear(2 * width, 1)
        self.pushes = nn.Conv2d(width, 2 * self.trunk.channels * patch * patch, 3, padding=1)

    def forward(self, x: Tensor, sigma: Tensor, group: Tensor, conditional: Tensor) -> Reading:
        """The Reading, with the tone push as learned. Below LOWEST_SIGMA the push is 0, and the tone push falls as
        Cov(x0, t | x) does, with sigma^2.
        """
        trained_sigma = sigma.clamp(min=LOWEST_SIGMA)
        fine, coarse, (height, width) = self.trunk(x, trained_sigma, group, conditional)
        pooled = torch.cat([coarse.mean(dim=(2, 3)), coarse.amax(dim=(2, 3))], dim=1)  # einops 0.4 refuses bfloat16
        pushes = F.pixel_shuffle(self.pushes(_silu(fine)), self.trunk.patch)[..., :height, :width]
        push, tone = pushes.split(self.trunk.channels, dim=1)
        above = expand(trained_sigma == sigma, push)
        falling = expand((sigma / LOWEST_SIGMA).clamp(max=1).square(), tone)
        return Reading(self.odds(pooled)[:, 0], push * above, tone * falling)

    def read(self, x: Tensor, sigma: Tensor, group: Tensor, conditional: Tensor) -> Reading:
        """As `Source.read`, on whichever device the network is."""
        reading: Reading = self(*beside(self, x, sigma, group, conditional))
        assert reading.tone is not None  # noqa: S101
        weight = (1 + sigma.to(reading.tone.device).clamp(min=1e-6) ** -2) ** (self.rise / 2)
        parts = reading.log_odds, reading.push, reading.tone * expand(weight, reading.tone)
        if not _all_finite(*parts) and _all_finite(x, sigma, conditional):
            raise PreferenceError(
                "The preference gives NaN or infinity for these latents, so nothing was corrected; learn it again, or "
                "use another file."
            )
        return Reading(*(part.to(x.device) for part in parts))


def _all_finite(*tensors: Tensor) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in tensors)
