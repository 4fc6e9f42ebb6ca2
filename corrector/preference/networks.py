"""The trained sources: x at sigma -> log-odds of the counter side, and the push towards it.

Each source is called as `source(x, sigma, group, conditional)` with x [B, C, H, W] in model space, sigma [B], the
group's index [B] and the model's prediction for the user's prompt, without CFG, [B, C, H, W], and returns a `Reading`:
the push `D_c - D_s` in units of x0, and the log-odds of `q`. A source that `knows_belief` gives q as the model's own
belief that the picture comes out on the counter side, from `D_cond = q D_c + (1 - q) D_s` (METHOD.md). Otherwise the
log-odds are those of balanced pairs, and the push equals `sigma^2 grad log_odds` (classifier guidance, Dhariwal &
Nichol 2021).
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from torch import nn

from ..files.errors import RSCorrectorError
from ..latents.devices import beside
from ..latents.spaces import LATENT_SPACES, expand, noise_level, push_from_gradient, scale_input

LOWEST_SIGMA = 0.15  # networks learn down to it; below, all but the tone of skin is decided
MOST_CELLS = 32  # about how many patches per side networks are trained on, so that it takes minutes on a CPU


class PreferenceError(RSCorrectorError):
    """Latents for which a preference was not made."""


@dataclass(frozen=True)
class Reading:
    """The output of a source for x at sigma."""

    log_odds: torch.Tensor  # [B]
    push: torch.Tensor  # [B, C, H, W], units of x0
    tone: torch.Tensor | None = None  # [B, C, H, W], units of x0: T, towards lighter skin; `read` weighs it


def read(source, x, sigma, group, conditional=None):
    """Call a source -> Reading on the device of x, on whichever device its network is.

    Args:
        source: a trained network, or a Text.
        x: [B, C, H, W] in model space.
        sigma: [B].
        group: [B], index of the group that each prompt names.
        conditional: the model's prediction for the user's prompt, without CFG, [B, C, H, W]; a source that
            `knows_belief` needs it.

    Raises PreferenceError if the network gives NaN or infinity for finite latents.
    """
    if source.kind == "text":
        return source(x, sigma, group, conditional)
    reading = source(*beside(source, x, sigma, group, conditional))
    tone = reading.tone
    if isinstance(source, Distilled):
        weight = (1 + sigma.to(tone.device).clamp(min=1e-6) ** -2) ** (source.rise / 2)
        tone = tone * expand(weight, tone)
    parts = reading.log_odds, reading.push, tone
    if isinstance(source, _Trained) and not _finite(*parts) and _finite(x, sigma, conditional):
        raise PreferenceError(
            "The preference gives NaN or infinity for these latents, so nothing was corrected; learn it again, or "
            "use another file."
        )
    return Reading(*(None if part is None else part.to(x.device) for part in parts))


def _finite(*tensors):
    """Whether no tensor holds NaN or infinity."""
    return all(bool(tensor.isfinite().all()) for tensor in tensors if tensor is not None)


def along(latents, push):
    """<latents, P> / |P|^2 [B]: how far latents [B, C, H, W] lie along a push."""
    size = reduce(push.square(), "b ... -> b", "sum").clamp(min=1e-12)
    return reduce(latents * push, "b ... -> b", "sum") / size


def _silu(features):
    """SiLU of features clamped to -30 or more, where it is 0 within 3e-12.

    Below, its gradient is a denormal float, which makes training on a CPU many times slower.
    `torch.set_flush_denormal` would help in the calling thread only, not in torch's workers.
    """
    return F.silu(F.threshold(features, -30, -30))


class Trunk(nn.Module):
    """Shared body of the networks: patches, residual blocks at two scales, sigma and group by FiLM.

    It is fully convolutional and accepts any size.

    Args:
        space: a name in LATENT_SPACES.
        groups: number of groups.
        width: number of features.
        blocks: number of residual blocks at the coarse scale.
        patch: side of a patch in latent cells.
        belief: whether it also reads the model's prediction for the user's prompt.
    """

    def __init__(self, space, groups, width=64, blocks=3, patch=1, belief=False):
        super().__init__()
        self.space, self.groups, self.flow, self.patch = space, groups, LATENT_SPACES[space].flow, patch
        self.channels, self.belief = LATENT_SPACES[space].channels, belief
        self.stem = nn.Conv2d(self.channels * (1 + belief) * patch * patch, width, 3, padding=1)
        self.condition = nn.Sequential(nn.Linear(17 + groups, 2 * width), nn.SiLU(), nn.Linear(2 * width, 2 * width))
        self.register_buffer("frequencies", 2.0 ** torch.arange(8) * math.pi / 8, persistent=False)
        self.down = nn.Conv2d(width, width, 4, stride=2, padding=1)
        self.blocks = nn.ModuleList(Block(width, 2 * width) for _ in range(blocks))
        self.up = nn.Conv2d(width, width, 3, padding=1)
        self.skip = Block(width, 2 * width)
        self.last = Block(width, 2 * width)

    def forward(self, x, sigma, group, conditional=None):
        if x.shape[1] != self.channels:
            raise PreferenceError(
                f'The model\'s latents have {x.shape[1]} channels and this preference is for "{self.space}", which has '
                f"{self.channels}; use a preference made for this model."
            )
        x = scale_input(x, sigma, self.flow)
        if self.belief:
            x = torch.cat([x, conditional], dim=1)
        height, width = x.shape[-2:]
        fit = 2 * self.patch  # pad sizes that are no multiple of both scales
        x = F.pad(x, (0, -width % fit, 0, -height % fit), mode="replicate")
        level = noise_level(sigma, self.flow)[:, None]  # [B, 1]
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

    def __init__(self, width, condition):
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.film = nn.Linear(condition, 2 * width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.wide = nn.Linear(width, width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.film.weight)

    def forward(self, features, condition):
        scale, shift = rearrange(self.film(condition), "b (two c) -> two b c 1 1", two=2)
        hidden = _silu(self.norm(features) * (1 + scale) + shift)
        hidden = _silu(self.conv1(hidden) + self.wide(hidden.mean(dim=(2, 3)))[:, :, None, None])
        return features + self.conv2(hidden)


class _Trained(nn.Module):
    """A source with a Trunk, whose arguments it takes."""

    knows_belief = False  # the log-odds are for balanced pairs, and the base rate is added as a prior

    def __init__(self, space, groups, width=64, blocks=3, patch=1, belief=False):
        super().__init__()
        self.config = dict(space=space, groups=groups, width=width, blocks=blocks, patch=patch)
        self.trunk = Trunk(space, groups, width, blocks, patch, belief)
        self.odds = nn.Linear(2 * width, 1)

    def features(self, x, sigma, group, conditional=None):
        """-> log-odds [B], features [B, width, H/patch, W/patch] of the padded latent, and its size before padding."""
        fine, coarse, size = self.trunk(x, sigma, group, conditional)
        pooled = torch.cat([coarse.mean(dim=(2, 3)), coarse.amax(dim=(2, 3))], dim=1)  # einops 0.4 refuses bfloat16
        return self.odds(pooled)[:, 0], fine, size


class Distilled(_Trained):
    """The learned preference: one forward pass gives log-odds, push and tone push, without UNet or autograd.

    Args:
        belief: whether it `knows_belief`; files of version 0.1 do not. It then learned at LOWEST_SIGMA and above, and
            below the push is 0.
        rise: `read` weighs the tone push by (1 + 1/sigma^2)^(rise/2), which is 1 where noise prevails and sigma^-rise
            where little is left; in 0..1. Above 0 the tone push goes on below LOWEST_SIGMA, as Cov(x0, t | x) does,
            with sigma^2; otherwise it is 0 there.
    """

    kind = "distilled"

    def __init__(self, space, groups, width=64, blocks=3, patch=1, belief=False, rise=0.0):
        super().__init__(space, groups, width, blocks, patch, belief)
        self.knows_belief, self.rise = belief, rise
        self.config |= ({"belief": True} if belief else {}) | ({"rise": rise} if rise else {})
        self.pushes = nn.Conv2d(width, 2 * self.trunk.channels * patch * patch, 3, padding=1)

    def forward(self, x, sigma, group, conditional=None):
        known = sigma.clamp(min=LOWEST_SIGMA) if self.knows_belief else sigma
        log_odds, fine, (height, width) = self.features(x, known, group, conditional)
        pushes = F.pixel_shuffle(self.pushes(_silu(fine)), self.trunk.patch)[..., :height, :width]
        push, tone = pushes.split(self.trunk.channels, dim=1)
        above = expand(known == sigma, push)
        falling = expand((sigma / LOWEST_SIGMA).clamp(max=1).square(), tone)
        return Reading(log_odds, push * above, tone * (falling if self.rise else above))


class Classifier(_Trained):
    """A classifier of noisy latents; the push is its gradient. Uses autograd, also in inference mode."""

    kind = "classifier"

    def log_odds(self, x, sigma, group):
        return self.features(x, sigma, group)[0]

    def forward(self, x, sigma, group, conditional=None):
        with torch.inference_mode(False), torch.enable_grad():
            x, sigma, group = x.detach().clone().requires_grad_(), sigma.clone(), group.clone()
            log_odds = self.log_odds(x, sigma, group)
            (gradient,) = torch.autograd.grad(log_odds.sum(), x)
        return Reading(log_odds.detach(), push_from_gradient(gradient, sigma, self.trunk.flow))
