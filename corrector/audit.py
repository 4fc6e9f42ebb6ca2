"""Rates, intervals, drift and quality: what a report says of plain and corrected pictures.

Statistics come from SciPy. A figure is a dict {figure, group, value, low, high, n, seed}; intervals are 95 %.
"""

import numpy as np
import torch
import torch.nn.functional as F
from scipy.linalg import sqrtm
from scipy.stats import binomtest, sem


def rate(successes, n):
    """Share with its Wilson interval -> (value, low, high)."""
    if n == 0:
        raise ValueError("A rate needs at least one picture, and there is none; sample some first.")
    interval = binomtest(int(successes), int(n)).proportion_ci(method="wilson")
    return successes / n, float(interval.low), float(interval.high)


def mean(values):
    """Mean with its normal interval -> (value, low, high)."""
    values = np.asarray(values, dtype=float)
    half = 1.96 * sem(values) if len(values) > 1 else float("nan")
    return float(values.mean()), float(values.mean() - half), float(values.mean() + half)


def features(latents):
    """Latents [N, 4, 16, 16] -> 64 fixed features [N, 64]: the means of a 4 x 4 grid, by channel."""
    return F.adaptive_avg_pool2d(latents.double(), 4).flatten(1).numpy()


def frechet(first, second):
    """Frechet distance between the Gaussians of two feature sets (Heusel et al. 2017)."""
    mean_gap = np.square(first.mean(0) - second.mean(0)).sum()
    a, b = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    return float(mean_gap + np.trace(a + b - 2 * sqrtm(a @ b).real))


def latent_change(before, after, scale):
    """RMS change of each image's latent over `scale`, the standard deviation of latents -> [N]."""
    return (after - before).square().mean(dim=(1, 2, 3)).sqrt() / scale


def row(figure, group, measured, n, seed, **more):
    """One line of a report."""
    value, low, high = measured
    numbers = {"value": round(value, 4), "low": round(low, 4), "high": round(high, 4)}
    return {"figure": figure, "group": group, **numbers, "n": int(n), "seed": seed, **more}


def table(rows):
    """Rows -> text, one line each."""
    lines = [f"{'figure':<44}{'group':<10}{'value':>9}  {'95 % interval':<20}{'n':>6}"]
    for r in rows:
        interval = f"[{r['low']:.3f}, {r['high']:.3f}]"
        lines.append(f"{r['figure']:<44}{r['group']:<10}{r['value']:>9.3f}  {interval:<20}{r['n']:>6}")
    return "\n".join(lines)


def stereotype_count(labels, stereotype, readable=None):
    """Pictures that show the stereotype; what a judge cannot read counts as a failure, so as the stereotype."""
    return sum(label in (stereotype, "unreadable") for label in labels)


def draw_wanted(host, draw, scenes):
    """True pictures of scenes -> latents, the reference of quality figures."""
    pictures = np.stack([draw(scene) for scene in scenes])
    tensor = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
    return host.encode_pictures(tensor)
