"""Shares of pictures with their confidence intervals, and the Frechet distance between sets of pictures.

SciPy is imported where it is used, because it is slow to import and hosts load this module at start.
"""

import numpy as np
import torch.nn.functional as F


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


def frechet(first, second):
    """Frechet distance between Gaussians fitted to two sets of features [N, F] (Heusel et al. 2017)."""
    from scipy.linalg import sqrtm

    mean_gap = np.square(first.mean(0) - second.mean(0)).sum()
    a, b = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    return float(mean_gap + np.trace(a + b - 2 * sqrtm(a @ b).real))
