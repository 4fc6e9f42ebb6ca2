"""Shares of pictures with their confidence intervals, and how far pictures are from what a model draws.

SciPy is imported where it is used, because it is slow to import and hosts load this module at start.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .spaces import LATENT_SPACES, add_noise

RENOISING_SIGMA = 0.5  # at which finished latents are denoised again: composition is kept, and details are not


def rate(successes: int, n: int, level: float = 0.95) -> tuple[float, float, float]:
    """A share and its Wilson interval -> (value, low, high). Raises ValueError if n is 0."""
    if n == 0:
        raise ValueError("A rate needs at least one picture, and there is none; sample some first.")
    from scipy.stats import binomtest

    interval = binomtest(int(successes), int(n)).proportion_ci(level, method="wilson")
    return successes / n, float(interval.low), float(interval.high)


def features(latents: Tensor, grid: int = 4) -> np.ndarray:
    """Latents [N, C, H, W] on the CPU -> [N, grid^2 C]: each channel averaged over grid x grid cells."""
    return F.adaptive_avg_pool2d(latents.double(), grid).flatten(1).numpy()


def frechet(first: np.ndarray, second: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Frechet distance between Gaussians fitted to two sets of features [N, F] (Heusel et al. 2017).

    `weights` [N] are of the second set; by default all count alike.
    """
    from scipy.linalg import sqrtm

    mean_gap = np.square(first.mean(0) - np.average(second, axis=0, weights=weights)).sum()
    a, b = np.cov(first, rowvar=False), np.cov(second, rowvar=False, aweights=weights)
    return float(mean_gap + np.trace(a + b - 2 * np.real(sqrtm(a @ b))))


class DenoisingHost(Protocol):
    """What `denoising_error` needs of a host; `hosts.sampler.Host` describes it."""

    space: str

    def denoise(self, x: Tensor, sigma: Tensor, conditioning: Any) -> Tensor: ...

    def noise(self, seeds: Sequence[int]) -> Tensor: ...


def denoising_error(host: DenoisingHost, latents: Tensor, conditioning: Any, seeds: Sequence[int]) -> Tensor:
    """How unlikely finished latents are by the model itself -> [N]: its error when it denoises them once more.

    The loss with which diffusion models are trained, on a sampled picture: what the model could have made itself is
    restored well, and what is off its data manifold is pulled back towards it (Vincent 2011; Li et al. 2023 classify
    by this error). It needs no other network.

    Args:
        host: Host.
        latents: [N, C, H, W], model space, on the CPU.
        conditioning: of the N prompts.
        seeds: those of the pictures; the noise is drawn from the next ones.

    Returns:
        Mean squared error of the denoised latents over the variance of the noise.
    """
    sigma, flow = torch.full((len(latents),), RENOISING_SIGMA), LATENT_SPACES[host.space].flow
    with torch.no_grad():
        noised = add_noise(latents, host.noise([seed + 1 for seed in seeds]), RENOISING_SIGMA, flow)
        denoised = host.denoise(noised, sigma, conditioning).float().cpu()
    return (denoised - latents).square().mean(dim=(1, 2, 3)) / RENOISING_SIGMA**2
