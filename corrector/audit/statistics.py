"""Rates, intervals, drift and quality: what a report says of plain and corrected pictures.

Statistics come from SciPy, kappas from statsmodels. A figure is a dict {figure, group, value, low, high, n, seed};
intervals are 95 %. Measures of single pictures are in audit_measures.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from scipy.linalg import sqrtm
from scipy.stats import binomtest, sem

from ..latent_space.statistics import rate

FIRST_LOOK = 20  # pictures before an interval is first looked at; with fewer it may stop on a lucky start


def enough(successes, n, narrow):
    """Whether sampling may stop: half of the Wilson interval is at most `narrow` (0: never), from FIRST_LOOK on.

    That intervals of such audits still hold the true rate is simulated in benchmarks/audit.py.
    """
    if n < FIRST_LOOK or not narrow:
        return False
    _, low, high = rate(successes, n)
    return (high - low) / 2 <= narrow


def gap(first, second, pairs=1):
    """Difference of two independent rates, (successes, n) each -> (value, low, high).

    Newcombe's hybrid score interval (Newcombe 1998, method 10), which SciPy lacks; `pairs`: how many differences it was
    chosen from (Bonferroni).
    """
    level = 1 - 0.05 / pairs
    (p1, l1, u1), (p2, l2, u2) = (rate(*one, level=level) for one in (first, second))
    below, above = math.hypot(p1 - l1, u2 - p2), math.hypot(u1 - p1, p2 - l2)
    return p1 - p2, p1 - p2 - below, p1 - p2 + above


def mcnemar(before, after):
    """McNemar's exact test on the same seeds: truths before and after -> {appeared, vanished, p}.

    Of the pictures that changed, as many should have changed either way: a binomial test (SciPy).
    """
    before, after = np.asarray(before, dtype=bool), np.asarray(after, dtype=bool)
    appeared, vanished = int((~before & after).sum()), int((before & ~after).sum())
    changed = appeared + vanished
    p = float(binomtest(appeared, changed).pvalue) if changed else 1.0
    return {"appeared": appeared, "vanished": vanished, "p": p}


def kappas(answers, categories):
    """Answers [pictures, raters], each one of `categories` -> {"cohen": {(i, j): value}, "fleiss": value}.

    Cohen (1960) for each two raters, Fleiss (1971) for all. A kappa is NaN where everybody always gave one answer.
    """
    from statsmodels.stats.inter_rater import cohens_kappa, fleiss_kappa

    index = {name: number for number, name in enumerate(categories)}
    table = np.array([[index[answer] for answer in picture] for picture in answers])  # [pictures, raters]
    cohen, size = {}, len(categories)
    with np.errstate(invalid="ignore", divide="ignore"):
        for i in range(table.shape[1]):
            for j in range(i + 1, table.shape[1]):
                counts = np.zeros((size, size))
                np.add.at(counts, (table[:, i], table[:, j]), 1)
                cohen[i, j] = float(cohens_kappa(counts, return_results=False))
        votes = np.stack([(table == number).sum(axis=1) for number in range(size)], axis=1)
        fleiss = float(fleiss_kappa(votes)) if table.shape[1] > 1 else math.nan
    return {"cohen": cohen, "fleiss": fleiss}


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
