"""Shares of pictures and their confidence intervals."""


def rate(successes, n, level=0.95):
    """Share with its Wilson interval -> (value, low, high). Raises ValueError where there is no picture."""
    if n == 0:
        raise ValueError("A rate needs at least one picture, and there is none; sample some first.")
    from scipy.stats import binomtest  # here, as SciPy takes long to import and hosts start with this module

    interval = binomtest(int(successes), int(n)).proportion_ci(level, method="wilson")
    return successes / n, float(interval.low), float(interval.high)
