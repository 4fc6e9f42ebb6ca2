"""Shares of pictures with their confidence intervals, and how far pictures are from what a model draws.

SciPy is imported where it is used, because it is slow to import and hosts load this module at start.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .host import Conditioning, Host, starting_noise
from .spaces import LATENT_SPACES, add_noise

RENOISED = 0.5  # sigma at which finished latents are denoised again: composition is kept, and details are not


def rate(successes, n, level=0.95):
    """A share and its Wilson interval -> (value, low, high). Raises ValueError if n is 0."""
    if n == 0:
        raise ValueError("A rate needs at least one picture, and there is none; sample some first.")
    from scipy.stats import binomtest

    interval = binomtest(int(successes), int(n)).proportion_ci(level, method="wilson")
    return successes / n, float(interval.low), float(interval.high)


def features(latents, grid=4):
    """Latents [N, C, H, W] on the CPU -> [N, grid^2 C]: each channel averaged over grid x grid cells."""
    return F.adaptive_avg_pool2d(latents.double(), grid).flatten(1).numpy()


def frechet(first, second, weights=None):
    """Frechet distance between Gaussians fitted to two sets of features [N, F] (Heusel et al. 2017).

    `weights` [N] are of the second set; by default all count alike.
    """
    from scipy.linalg import sqrtm

    mean_gap = np.square(first.mean(0) - np.average(second, axis=0, weights=weights)).sum()
    a, b = np.cov(first, rowvar=False), np.cov(second, rowvar=False, aweights=weights)
    return float(mean_gap + np.trace(a + b - 2 * sqrtm(a @ b).real))


def denoising_error(host: Host, latents: Tensor, conditioning: Conditioning, seeds: Sequence[int]) -> Tensor:
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
    sigma, flow = torch.full((len(latents),), RENOISED), LATENT_SPACES[host.space].flow
    with torch.no_grad():
        noised = add_noise(latents, starting_noise([seed + 1 for seed in seeds], latents.shape[1:]), RENOISED, flow)
        denoised = host.denoise(noised, sigma, conditioning).float().cpu()
    return (denoised - latents).square().mean(dim=(1, 2, 3)) / RENOISED**2
