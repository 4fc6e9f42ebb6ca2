"""What an audit measures of pictures, by scikit-image: skin, structure, sharpness; and of latents: variety."""

import numpy as np
import torch
from scipy.spatial.distance import pdist

STRUCTURE_SIDE = 128  # pixels to which pictures are reduced before their structure is compared


def to_uint8(pictures):
    """Pictures [N, 3, H, W] in -1..1 -> uint8 [N, H, W, 3]."""
    return ((pictures.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def skin(pictures, region):
    """uint8 [N, H, W, 3] -> {L, ita, hue} [N] of the box `region` (left, top, right, bottom in 0..1), where skin is.

    Medians of CIE L*, a*, b* (D65). ITA, the individual typology angle, is atan((L* - 50) / b*) in degrees (Chardon et
    al. 1991); hue is the CIE hue angle h_ab in degrees.
    """
    from skimage.color import rgb2lab

    height, width = pictures.shape[1:3]
    left, top, right, bottom = region
    box = pictures[:, round(top * height) : round(bottom * height), round(left * width) : round(right * width)]
    lab = np.median(rgb2lab(box).reshape(len(box), -1, 3), axis=1)  # [N, 3]
    light, a, b = lab.T
    return {
        "L": light,
        "ita": np.degrees(np.arctan2(light - 50, np.maximum(b, 1e-6))),
        "hue": np.degrees(np.arctan2(b, a)),
    }


def hue_change(before, after):
    """Difference of hue angles in degrees, the short way round: -180..180."""
    return (np.asarray(after) - np.asarray(before) + 180) % 360 - 180


def _grey(pictures):
    from skimage.color import rgb2gray

    step = max(1, min(pictures.shape[1:3]) // STRUCTURE_SIDE)
    grey = rgb2gray(pictures[:, : pictures.shape[1] // step * step, : pictures.shape[2] // step * step])
    n, height, width = grey.shape
    return grey.reshape(n, height // step, step, width // step, step).mean(axis=(2, 4))


def structure(before, after):
    """uint8 [N, H, W, 3] twice, same seeds -> structural similarity [N], 1 for the same (Wang et al. 2004)."""
    from skimage.metrics import structural_similarity

    alike, changed = np.ones(len(before)), np.flatnonzero((before != after).any(axis=(1, 2, 3)))
    if not len(changed):
        return alike
    for index, first, second in zip(changed, _grey(before[changed]), _grey(after[changed]), strict=True):
        alike[index] = structural_similarity(first, second, data_range=1.0)
    return alike


def sharpness(pictures):
    """uint8 [N, H, W, 3] -> variance of the Laplacian of the grey picture [N] (Pech-Pacheco et al. 2000)."""
    from skimage.filters import laplace

    return np.array([laplace(picture).var() for picture in _grey(pictures)])


def variety(features):
    """Features [N, F] -> the mean Euclidean distance between two pictures; NaN where there are fewer than two."""
    return float(pdist(features).mean()) if len(features) > 1 else float("nan")


def variety_ratio(after, before, rng, draws=300):
    """Variety of one set of features over another's -> (value, low, high); the interval is a bootstrap of both sets."""
    distances = [_distances(features) for features in (after, before)]

    def drawn(matrix):
        index = rng.integers(len(matrix), size=len(matrix))
        different = index[:, None] != index[None]  # a picture drawn twice says nothing of variety
        return matrix[np.ix_(index, index)][different].mean() if different.any() else float("nan")

    value = variety(after) / variety(before)
    ratios = [drawn(distances[0]) / drawn(distances[1]) for _ in range(draws)]
    return value, *(float(q) for q in np.nanquantile(ratios, (0.025, 0.975)))


def _distances(features):
    from scipy.spatial.distance import squareform

    return squareform(pdist(features))
