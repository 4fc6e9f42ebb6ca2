"""What an audit measures of pictures, by scikit-image: skin, structure, sharpness; and of latents: variety."""

import numpy as np
import torch
from scipy.spatial.distance import cdist, pdist, squareform

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
    grey = grey.astype(np.float32)
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


def variety(first, second=None):
    """Features [N, F] -> the mean Euclidean distance between two of its pictures; of two sets, from one to the other.

    NaN where there are no two pictures.
    """
    if second is not None:
        return float(cdist(first, second).mean())
    return float(pdist(first).mean()) if len(first) > 1 else float("nan")


def variety_ratio(after, before, rng, draws=300):
    """`variety` over another -> (value, low, high); the interval is a bootstrap of every set.

    `after` and `before`: a set of features in a tuple for the variety within it, two sets for that between them.
    """
    drawn = [_drawn(*sets, rng=rng, draws=draws) for sets in (after, before)]
    if not variety(*before) > 0:  # one picture again and again, or no two
        return float("nan"), float("nan"), float("nan")
    low, high = np.nanquantile(drawn[0] / drawn[1], (0.025, 0.975))
    return variety(*after) / variety(*before), float(low), float(high)


def _drawn(first, second=None, *, rng, draws):
    """Variety of sets that are drawn anew with replacement, [draws]."""

    def times_drawn(some):
        return rng.multinomial(len(some), np.full(len(some), 1 / len(some)), size=draws)  # [draws, N]

    times = times_drawn(first)
    if second is not None:
        return (times @ cdist(first, second) * times_drawn(second)).sum(axis=1) / (len(first) * len(second))
    pairs = len(first) ** 2 - (times**2).sum(axis=1)  # a picture drawn twice says nothing of variety
    return (times @ squareform(pdist(first)) * times).sum(axis=1) / np.where(pairs, pairs, np.nan)
