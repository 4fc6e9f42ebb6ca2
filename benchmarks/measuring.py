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
    value, low, high = statistics.mean(values)
    return Estimate(round(value, 4), round(low, 4), round(high, 4), len(values)) if len(values) > 1 else number(value)
