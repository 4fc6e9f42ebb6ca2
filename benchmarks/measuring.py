"""What several benchmarks compute of their pictures, as Estimates."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.records import Estimate
from corrector.latents import statistics


@dataclass(frozen=True)
class Options:
    """What replaces a benchmark's own number of pictures and first seed, and whether it is only tried."""

    n: int | None = None
    seed: int | None = None
    quick: bool = False

    def count(self, usual: int, quick: int = 2) -> int:
        return self.n or (quick if self.quick else usual)


def number(value: float, n: int = 1) -> Estimate:
    return Estimate(round(float(value), 4), None, None, int(n))


def share(outcomes: Iterable[bool]) -> Estimate:
    """The share that is True, with its Wilson interval."""
    outcomes = [bool(outcome) for outcome in outcomes]
    return Estimate(*(round(part, 4) for part in statistics.rate(sum(outcomes), len(outcomes))), len(outcomes))


def mean(values: Sequence[float] | np.ndarray | torch.Tensor) -> Estimate:
    """Mean of the values that are not NaN (a picture without skin has no lightness), with its interval."""
    values = np.asarray(values, dtype=float)
    values = values[~np.isnan(values)]
    if len(values) < 2:
        return number(values[0] if len(values) else np.nan, len(values))
    return Estimate(*(round(part, 4) for part in statistics.mean(values)), len(values))
