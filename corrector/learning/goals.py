"""When learning has reached its goal: what `learn` takes as `until`. Each state is learned from twice the points."""

import time
from collections.abc import Callable

from ..preference.preference import Preference

LEAST_GAIN = 0.03  # of explained variance by twice the points, below which more hardly help
MOST_EXPLAINED = 0.95  # from which there is little to gain


def within(seconds: float) -> Callable[[Preference], bool]:
    """Until the next state would not be ready in time, counted from now."""
    start = last = time.monotonic()

    def reached(preference: Preference) -> bool:
        nonlocal last
        before, last = last, time.monotonic()
        return last + 2 * (last - before) > start + seconds

    return reached


def good() -> Callable[[Preference], bool]:
    """Until more points hardly help."""
    before = -1.0

    def reached(preference: Preference) -> bool:
        nonlocal before
        gain, before = preference.training["update_r2"] - before, preference.training["update_r2"]
        return gain < LEAST_GAIN or before > MOST_EXPLAINED

    return reached
