"""Shares of pictures and their confidence intervals."""


def rate(successes, n, level=0.95):
    """A share and its Wilson interval -> (value, low, high). Raises ValueError if n is 0."""
    if n == 0:
        raise ValueError("A rate needs at least one picture, and there is none; sample some first.")
    from scipy.stats import binomtest  # here because SciPy is slow to import and hosts load this module at start

    interval = binomtest(int(successes), int(n)).proportion_ci(level, method="wilson")
    return successes / n, float(interval.low), float(interval.high)
