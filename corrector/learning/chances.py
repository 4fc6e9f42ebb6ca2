"""The chance of a picture from what the first step of its run tells: how two features count, fitted to outcomes.

A logistic regression in one group, whose slopes are common to all CFG scales (METHOD.md); `first_look.first_look` reads
the same at the start of a run.
"""

from collections.abc import Sequence

import numpy as np

PRIOR_SLOPE = 4.0  # of the chance, per standard deviation of either: how far from 0 it may be expected


def leans_from(features: Sequence[np.ndarray], sides: Sequence[np.ndarray]) -> list[dict[str, float]]:
    """What the lean says at each CFG scale -> arguments of Calibration, one dict a scale.

    Args:
        features: [N, 2], one a scale: the size of the update, and what guidance adds along it.
        sides: [N], one a scale: whether each picture came out on the counter side, 0 or 1.
    """
    (slope, guided), offsets = logistic_fit(features, sides)
    weight = guided / slope if abs(slope) > 1e-6 else 0.0
    leans = []
    for (size, guidance), offset in zip((values.T for values in features), offsets, strict=True):
        lean = size + weight * guidance
        spread = max(float(lean.std(ddof=1)) if len(lean) > 1 else 0.0, 1e-6)
        read = dict(lean_mean=float(lean.mean()), lean_spread=spread, lean_offset=offset)
        leans.append(dict(lean_slope=slope, lean_guidance=weight, **read))
    return leans


def logistic_fit(features: Sequence[np.ndarray], sides: Sequence[np.ndarray]) -> tuple[list[float], list[float]]:
    """Slopes [F] and an offset a set of a logistic regression of sides [N] on features [N, F].

    The prior is normal: of the slopes around 0 with PRIOR_SLOPE for each standard deviation, of the sets' offsets
    around a common one with 1, and of that one around the mean rate with 1.
    """
    from scipy.optimize import minimize
    from scipy.special import logit

    together = np.concatenate(features)
    mean, spread = together.mean(axis=0), np.maximum(together.std(axis=0), 1e-6)
    usual = logit(np.clip(np.concatenate(sides).mean() if len(together) else 0.5, 1e-3, 1 - 1e-3))
    count = together.shape[1]

    def loss(parameters):
        slopes, common, offsets = parameters[:count], parameters[count], parameters[count + 1 :]
        total = np.square(slopes / PRIOR_SLOPE).sum() + np.square(common - usual) + np.square(offsets - common).sum()
        total /= 2
        for values, side, offset in zip(features, sides, offsets, strict=True):
            logits = offset + (values - mean) / spread @ slopes
            total += np.logaddexp(0, logits).sum() - (side * logits).sum()
        return total

    fit = minimize(loss, np.r_[np.zeros(count), np.full(1 + len(features), usual)]).x
    slopes, offsets = fit[:count] / spread, fit[count + 1 :]
    return slopes.tolist(), [float(offset - slopes @ mean) for offset in offsets]
