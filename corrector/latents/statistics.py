"""Shares and means with their 95 % confidence intervals, paired tests, and distances between pictures.

SciPy is imported where it is used, because it is slow to import and hosts load this module at start. An `Interval` is
(value, low, high).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .host import Conditioning, Host, starting_noise
from .spaces import add_noise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

Interval: TypeAlias = tuple[float, float, float]
RENOISING_SIGMA = 0.5  # sigma at which finished latents are denoised again: composition is kept, and details are not


def rate(successes: int, n: int, level: float = 0.95) -> Interval:
    """A share with its Wilson interval. Raises ValueError if n is 0."""
    if n == 0:
        raise ValueError("A rate needs at least one picture, and there is none; sample some first.")
    from scipy.stats import binomtest

    interval = binomtest(int(successes), int(n)).proportion_ci(level, method="wilson")
    return successes / n, float(interval.low), float(interval.high)


def gap(first: tuple[int, int], second: tuple[int, int], pairs: int = 1) -> Interval:
    """Difference of two independent rates with its hybrid score interval (Newcombe 1998, method 10; not in SciPy).

    Args:
        first, second: (successes, n).
        pairs: number of differences from which this one was selected (Bonferroni correction).
    """
    level = 1 - 0.05 / pairs
    (p1, l1, u1), (p2, l2, u2) = (rate(*counts, level=level) for counts in (first, second))
    below, above = math.hypot(p1 - l1, u2 - p2), math.hypot(u1 - p1, p2 - l2)
    return p1 - p2, p1 - p2 - below, p1 - p2 + above


def mcnemar(before: Sequence[bool], after: Sequence[bool]) -> tuple[int, int, float]:
    """McNemar's exact test on N pairs with the same seed -> (how many appeared, how many vanished, p)."""
    appeared = sum(new and not old for old, new in zip(before, after, strict=True))
    vanished = sum(old and not new for old, new in zip(before, after, strict=True))
    if not appeared + vanished:
        return 0, 0, 1.0
    from scipy.stats import binomtest

    return appeared, vanished, float(binomtest(appeared, appeared + vanished).pvalue)


def mean(values: ArrayLike) -> Interval:
    """Mean with its normal-approximation interval; NaN for that of a single value."""
    from scipy.stats import sem

    values = np.asarray(values, dtype=float)
    half = 1.96 * float(sem(values)) if len(values) > 1 else math.nan
    return float(values.mean()), float(values.mean() - half), float(values.mean() + half)


def ratio(after: ArrayLike, before: ArrayLike, paired: bool = True) -> Interval:
    """Ratio of the geometric means of positive values [N] and [M].

    `paired`: the values are of the same seeds; otherwise the interval is Welch's (1947).
    """
    from scipy.stats import ttest_ind

    after, before = (np.log(np.maximum(values, 1e-9)) for values in (after, before))
    if paired:
        logs = mean(after - before)
    else:
        logs = after.mean() - before.mean(), *ttest_ind(after, before, equal_var=False).confidence_interval()
    value, low, high = (float(np.exp(number)) for number in logs)
    return value, low, high


def row_of(measured: Sequence[float | None], digits: int = 4) -> dict[str, float | None]:
    """An Interval as JSON {"value", "low", "high"}; numbers that are not finite are None."""
    numbers = [None if n is None or not math.isfinite(n) else round(float(n), digits) for n in measured]
    return dict(zip(("value", "low", "high"), numbers, strict=True))


def latent_change(before: Tensor, after: Tensor, scale: Tensor) -> Tensor:
    """RMS difference of latents [N, C, H, W], in units of `scale` (their standard deviation) -> [N]."""
    return (after - before).square().mean(dim=(1, 2, 3)).sqrt() / scale


def features(latents: Tensor, grid: int = 4) -> np.ndarray:
    """Latents [N, C, H, W] on the CPU -> [N, C grid^2]: each channel averaged over grid x grid cells."""
    return F.adaptive_avg_pool2d(latents.double(), grid).flatten(1).numpy()


def frechet(first: np.ndarray, second: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Frechet distance between Gaussians fitted to two sets of features [N, F] (Heusel et al. 2017).

    `weights` [N] are of the second set; by default all count alike.
    """
    from scipy.linalg import sqrtm

    mean_gap = np.square(first.mean(0) - np.average(second, axis=0, weights=weights)).sum()
    a, b = np.cov(first, rowvar=False), np.cov(second, rowvar=False, aweights=weights)
    return float(mean_gap + np.trace(a + b - 2 * np.real(sqrtm(a @ b))))


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
    sigma = torch.full((len(latents),), RENOISING_SIGMA)
    with torch.no_grad():
        noise = starting_noise([seed + 1 for seed in seeds], latents.shape[1:])
        noised = add_noise(latents, noise, RENOISING_SIGMA)
        denoised = host.denoise(noised, sigma, conditioning).float().cpu()
    return (denoised - latents).square().mean(dim=(1, 2, 3)) / RENOISING_SIGMA**2
