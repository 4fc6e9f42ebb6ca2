"""Measures of pictures (skin, structure, sharpness; by scikit-image), and of the variety of features."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from einops import reduce
from scipy.spatial.distance import cdist, pdist, squareform

from ..latents.skin import box_of, cie_lab
from ..latents.statistics import Interval

STRUCTURE_SIDE = 128  # pixels; larger pictures are downscaled to about this side before they are compared


def skin(pictures: np.ndarray, region: Sequence[float]) -> dict[str, np.ndarray]:
    """Skin tone of each picture, from the medians of CIE L*, a*, b* (D65) in a box.

    Args:
        pictures: uint8 [N, H, W, 3].
        region: the box where skin is expected: left, top, right, bottom in 0..1.

    Returns:
        {"L", "ita", "hue"}, each [N]. ITA, the individual typology angle, is atan((L* - 50) / b*) in degrees (Chardon
        et al. 1991); hue is the CIE hue angle h_ab in degrees.
    """
    rows, columns = box_of(region, *pictures.shape[1:3])
    light, a, b = np.median(cie_lab(pictures[:, rows, columns]), axis=1).T
    ita = np.degrees(np.arctan2(light - 50, np.maximum(b, 1e-6)))
    return {"L": light, "ita": ita, "hue": np.degrees(np.arctan2(b, a))}


def hue_change(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Difference of hue angles in degrees, wrapped to -180..180."""
    return (after - before + 180) % 360 - 180


def _grey(pictures):
    from skimage.color import rgb2gray

    step = max(1, min(pictures.shape[1:3]) // STRUCTURE_SIDE)
    grey = rgb2gray(pictures[:, : pictures.shape[1] // step * step, : pictures.shape[2] // step * step])
    return reduce(grey.astype(np.float32), "n (h dh) (w dw) -> n h w", "mean", dh=step, dw=step)


def structure(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Structural similarity (Wang et al. 2004) of pictures [N, H, W, 3], uint8 -> [N]; 1 if identical."""
    from skimage.metrics import structural_similarity

    similarity, changed = np.ones(len(before)), np.flatnonzero((before != after).any(axis=(1, 2, 3)))
    if len(changed):
        for index, first, second in zip(changed, _grey(before[changed]), _grey(after[changed]), strict=True):
            similarity[index] = structural_similarity(first, second, data_range=1.0)
    return similarity


def sharpness(pictures: np.ndarray) -> np.ndarray:
    """uint8 [N, H, W, 3] -> variance of the Laplacian of the greyscale picture [N] (Pech-Pacheco et al. 2000)."""
    from skimage.filters import laplace

    return np.array([laplace(picture).var() for picture in _grey(pictures)])


def variety(first: np.ndarray, second: np.ndarray | None = None) -> float:
    """Mean Euclidean distance between features [N, F] of one set, or between two sets. NaN with fewer than two rows."""
    if second is not None:
        return float(cdist(first, second).mean())
    return float(pdist(first).mean()) if len(first) > 1 else math.nan


def variety_ratio(
    after: tuple[np.ndarray, ...], before: tuple[np.ndarray, ...], rng: np.random.Generator, draws: int = 300
) -> Interval:
    """Ratio of two varieties with its bootstrap interval; NaN if `before` has no variety.

    Args:
        after, before: tuples of the arguments of `variety`: one set [N, F], or two sets for the distance between them.
        rng: of the bootstrap.
        draws: number of bootstrap draws.
    """
    resampled = [_resampled(*sets, rng=rng, draws=draws) for sets in (after, before)]
    if not variety(*before) > 0:
        return math.nan, math.nan, math.nan
    low, high = np.nanquantile(resampled[0] / resampled[1], (0.025, 0.975))
    return variety(*after) / variety(*before), float(low), float(high)


def _resampled(first, second=None, *, rng, draws):
    """Variety of bootstrap resamples of the sets [draws]."""

    def times_drawn(features):
        return rng.multinomial(len(features), np.full(len(features), 1 / len(features)), size=draws)  # [draws, N]

    times = times_drawn(first)
    if second is not None:
        return (times @ cdist(first, second) * times_drawn(second)).sum(axis=1) / (len(first) * len(second))
    pairs = len(first) ** 2 - (times**2).sum(axis=1)  # without pairs of a picture with itself
    return (times @ squareform(pdist(first)) * times).sum(axis=1) / np.where(pairs, pairs, np.nan)
