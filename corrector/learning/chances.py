"""The chance of a picture from what the first step of its run tells: how belief and guidance count, fitted to outcomes.

A logistic regression in one group, whose slopes are common to all CFG scales (METHOD.md); `thinning.first_lean` reads
the same at the start of a run.
"""

import numpy as np

SLOPE = 4.0  # of the chance, per standard deviation of belief and of guidance: how far from 0 it may be expected


def leans_from(told, sides):
    """What the lean says at each CFG scale -> arguments of Calibration, one dict a scale.

    Args:
        told: arrays [N, 2], one a scale: log-odds of the model's belief, and what guidance adds along the push.
        sides: arrays [N]: whether each picture came out on the counter side, 0 or 1.
    """
    (slope, guided), offsets = logistic_fit(told, sides)
    weight, found = guided / slope if abs(slope) > 1e-6 else 0.0, []
    for (belief, guidance), offset in zip((one.T for one in told), offsets, strict=True):
        lean = belief + weight * guidance
        spread = max(float(lean.std(ddof=1)) if len(lean) > 1 else 0.0, 1e-6)
        own = dict(lean_mean=float(lean.mean()), lean_spread=spread, lean_offset=offset)
        found.append(dict(lean_slope=slope, lean_guidance=weight, **own))
    return found


def logistic_fit(told, sides):
    """Slopes [F] and an offset a set of a logistic regression of sides [N] on what is told of each [N, F].

    The prior is normal: of the slopes around 0 with SLOPE for each standard deviation, of the sets' offsets around a
    common one with 1, and of that one around the mean rate with 1.
    """
    from scipy.optimize import minimize
    from scipy.special import logit

    together = np.concatenate(told)
    mean, spread = together.mean(axis=0), np.maximum(together.std(axis=0), 1e-6)
    usual = logit(np.clip(np.concatenate(sides).mean() if len(together) else 0.5, 1e-3, 1 - 1e-3))
    count = together.shape[1]

    def loss(parameters):
        slopes, common, offsets = parameters[:count], parameters[count], parameters[count + 1 :]
        total = np.square(slopes / SLOPE).sum() + np.square(common - usual) + np.square(offsets - common).sum()
        total /= 2
        for own, side, offset in zip(told, sides, offsets, strict=True):
            logits = offset + (own - mean) / spread @ slopes
            total += np.logaddexp(0, logits).sum() - (side * logits).sum()
        return total

    found = minimize(loss, np.r_[np.zeros(count), np.full(1 + len(told), usual)]).x
    slopes, offsets = found[:count] / spread, found[count + 1 :]
    return slopes.tolist(), [float(offset - slopes @ mean) for offset in offsets]
