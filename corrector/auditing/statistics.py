"""Statistics of plain and corrected pictures: rates, differences, paired tests, agreement, Frechet distance.

Computed with SciPy and statsmodels; confidence intervals are 95 %. Measures of single pictures are in measures.py.
"""

import math
from itertools import combinations

import numpy as np
from scipy.stats import binomtest, sem, ttest_ind

from ..latents.statistics import rate

FIRST_LOOK = 20  # minimum number of pictures before sampling may stop: a short run of equal results is often chance


def enough(successes, n, narrow):
    """Whether sampling may stop: the half-width of the Wilson interval is at most `narrow` (0: never stop).

    benchmarks/audit.py simulates that intervals keep their coverage despite early stopping.
    """
    if n < FIRST_LOOK or not narrow:
        return False
    _, low, high = rate(successes, n)
    return (high - low) / 2 <= narrow


def gap(first, second, pairs=1):
    """Difference of two independent rates with its hybrid score interval (Newcombe 1998, method 10; not in SciPy).

    Args:
        first, second: (successes, n).
        pairs: number of differences from which this one was selected (Bonferroni correction).

    Returns:
        (value, low, high).
    """
    level = 1 - 0.05 / pairs
    (p1, l1, u1), (p2, l2, u2) = (rate(*one, level=level) for one in (first, second))
    below, above = math.hypot(p1 - l1, u2 - p2), math.hypot(u1 - p1, p2 - l2)
    return p1 - p2, p1 - p2 - below, p1 - p2 + above


def mcnemar(before, after):
    """McNemar's exact test on pairs with the same seed: bool [N] before and after -> {appeared, vanished, p}."""
    before, after = np.asarray(before, dtype=bool), np.asarray(after, dtype=bool)
    appeared, vanished = int((~before & after).sum()), int((before & ~after).sum())
    changed = appeared + vanished
    p = float(binomtest(appeared, changed).pvalue) if changed else 1.0
    return {"appeared": appeared, "vanished": vanished, "p": p}


def kappas(answers, categories):
    """Agreement of two or more raters: Cohen (1960) for each pair, Fleiss (1971) for all.

    Args:
        answers: {rater: list of answers, each one of `categories`}.
        categories: the possible answers.

    Returns:
        {name: kappa}; None where all answers are the same.
    """
    from statsmodels.stats.inter_rater import aggregate_raters, cohens_kappa, fleiss_kappa, to_table

    count, found = len(categories), {}
    table = np.array([[categories.index(answer) for answer in own] for own in answers.values()]).T  # [pictures, raters]
    with np.errstate(invalid="ignore", divide="ignore"):
        for (i, one), (j, other) in combinations(enumerate(answers), 2):
            pair = to_table(table[:, [i, j]], count)[0]
            found[f"Cohen's kappa, {one} and {other}"] = cohens_kappa(pair, return_results=False)
        found["Fleiss' kappa, all"] = fleiss_kappa(aggregate_raters(table, count)[0])
    return {name: None if math.isnan(kappa) else round(float(kappa), 4) for name, kappa in found.items()}


def mean(values):
    """Mean with its normal-approximation interval -> (value, low, high)."""
    values = np.asarray(values, dtype=float)
    half = 1.96 * sem(values) if len(values) > 1 else float("nan")
    return float(values.mean()), float(values.mean() - half), float(values.mean() + half)


def ratio(after, before, paired=True):
    """Ratio of the geometric means of positive values [N] and [M] with its interval -> (value, low, high).

    `paired`: the values are of the same seeds; otherwise the interval is Welch's (1947).
    """
    after, before = (np.log(np.maximum(values, 1e-9)) for values in (after, before))
    if paired:
        logs = mean(after - before)
    else:
        logs = after.mean() - before.mean(), *ttest_ind(after, before, equal_var=False).confidence_interval()
    return tuple(float(np.exp(value)) for value in logs)


def latent_change(before, after, scale):
    """RMS difference of latents [N, C, H, W], in units of `scale` (their standard deviation) -> [N]."""
    return (after - before).square().mean(dim=(1, 2, 3)).sqrt() / scale
