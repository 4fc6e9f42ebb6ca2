"""Euler's method for hosts that have no sampler of their own."""

from itertools import pairwise

import torch
from torch import Tensor

from ..latents.host import Hook, Host
from .prompts import Prompts, joined


def karras_sigmas(steps: int, **schedule) -> Tensor:
    """Karras et al. (2022) sigmas, descending to 0: [steps + 1]; `schedule` of diffusers' EulerDiscreteScheduler."""
    from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler

    scheduler = EulerDiscreteScheduler(**schedule, use_karras_sigmas=True)
    scheduler.set_timesteps(steps)
    return scheduler.sigmas


@torch.no_grad()
def sample_euler(
    host: Host, conditioning: Tensor | Prompts, noise: Tensor, sigmas: Tensor, cfg: float, hook: Hook | None = None
) -> Tensor:
    """Latents [N, C, H, W] of noise [N, C, H, W]; other arguments as for `Host.sample`.

    Args:
        host: denoises and encodes, in batches of `host.batch` pictures.
        conditioning: of N prompts.
        noise: as of `starting_noise`.
        sigmas: descending to 0.
        cfg, hook: as for `Host.sample`.
    """
    conditioning, empty, latents = conditioning.to("cpu"), host.encode([""]), []
    for indices in torch.arange(len(noise)).split(host.batch):
        x = (noise[indices] * (sigmas[0].square() + 1).sqrt()).to(host.device)
        both = joined(conditioning[indices], empty.expand(len(indices), -1, -1))
        for sigma, following in pairwise(sigmas):
            level = sigma.to(host.device).expand(len(indices))
            if cfg == 1.0:
                denoised = conditional = host.denoise(x, level, both[: len(indices)])
            else:
                conditional, plain = host.denoise(x.repeat(2, 1, 1, 1), level.repeat(2), both).chunk(2)
                denoised = plain + cfg * (conditional - plain)
            if hook:
                denoised = hook(denoised, x, level, indices, conditional)
            x = denoised + following / sigma * (x - denoised)  # Euler step
        latents.append(x)
    return torch.cat(latents)
