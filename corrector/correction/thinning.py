"""Chooses which pictures of a batch are corrected, so that it has the target share of counter pictures.

The number follows from p* = (1-rho) p + rho p(. | counter), rho = (target - beta) / (full - beta) (METHOD.md); the
choice is free. The model's first prediction already leans to the side that the picture will show. Pictures that lean
most to the counter side are corrected first: the others are almost certain to be stereotypes, which makes the share of
the batch nearly exact.
"""

import math
from collections.abc import Iterable
from functools import lru_cache

import torch
from torch import Tensor

from ..preference.calibration import Calibration

SIMULATED_BATCHES = 4096  # in `level_of`
SPARE_SHARE = 0.005  # by how much the share may rise where the base rate reaches the target: in batches far below it


def coins_from_noise(noise: Tensor, seed: int = 0) -> Tensor:
    """Starting noise [B, C, H, W] -> a uniform number in 0..1 for each picture, independent of the noise's scale.

    The cosine between the noise and a fixed random direction is normal with variance 1/N; its normal CDF is uniform.
    """
    flat = noise.detach().double().cpu().flatten(1)  # double, so that coins do not depend on the batch size
    direction = torch.randn(flat.shape[1], generator=torch.Generator().manual_seed(7919 + int(seed))).double()
    cosine = (flat @ direction) / (flat.norm(dim=1) * direction.norm()).clamp(min=1e-12)
    return torch.special.ndtr(cosine * math.sqrt(flat.shape[1])).clamp(0, 1 - 1e-6)


def coins_from_seeds(seeds: Iterable[int], seed: int = 0) -> Tensor:
    """Seeds -> a uniform number in 0..1 for each picture, for hosts that know the seed of each picture."""
    mixed = [(int(s) * 6364136223846793005 + int(seed) * 1442695040888963407 + 11) % (2**63) for s in seeds]
    draws = [torch.rand(2, generator=torch.Generator().manual_seed(value))[1] for value in mixed]
    return torch.stack(draws) if draws else torch.zeros(0)


def level_of(chances: Tensor, target: float) -> float:
    """The number of counter pictures to which each batch is corrected, so that the mean share is `target`.

    Batches that already expect more are left alone, so it solves E[max(sum of chances, level)] = B * target, where
    chances [D, B] are the probabilities of the counter side without correction, in D simulated batches.
    """
    expected = chances.double().sum(dim=1)
    target_count = chances.shape[1] * target
    if float(expected.mean()) >= target_count:
        return 0.0
    low, high = 0.0, target_count
    for _ in range(50):
        level = (low + high) / 2
        low, high = (level, high) if float(expected.clamp(min=level).mean()) < target_count else (low, level)
    return high


def chosen_images(coins: Tensor, chances: Tensor, level: float, full_rate: float = 1.0) -> Tensor:
    """Choose pictures until the batch expects `level` counter pictures -> bool [B].

    The order is by chance, highest first, then by coin. The last one is chosen by a coin of the whole batch, so that
    the mean is exact.

    Args:
        coins: [B] in 0..1.
        chances: [B], probability of the counter side without correction.
        level: wanted number of counter pictures.
        full_rate: probability of the counter side with correction.
    """
    chances = chances.double()
    batch_coin = float(torch.frac(coins.double().sum() * 997.0))
    chosen = torch.zeros(len(coins), dtype=torch.bool)
    expected = float(chances.sum())
    for index in sorted(range(len(coins)), key=lambda index: (-float(chances[index]), float(coins[index]))):
        gain = max(full_rate - float(chances[index]), 1e-6)
        part = (level - expected + 1e-9) / gain
        chosen[index] = part >= 1 or part > max(batch_coin, 1e-6)
        if part < 1:
            break
        expected += gain
    return chosen


def thinned(
    coins: Tensor, target: float, calibration: Calibration | None = None, lean: Tensor | None = None,
    shown: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Choose the pictures of one group that are corrected -> bool [B].

    A batch that expects less than its level is corrected up to it. Where the base rate reaches the target that is rare:
    such batches are of other wordings, or of another model than the calibrated one.

    Args:
        coins: [B] in 0..1.
        target: wanted share of counter pictures.
        calibration: the group's Calibration; without it, all pictures are assumed to show the stereotype.
        lean: [B] from `first_look.first_look`, or None; without it, all pictures have the base rate as their chance.
        shown: bool [B], pictures that show the counter side already, since an earlier stage corrected them; or None.
    """
    full_rate, base_rate = (calibration.full_rate, calibration.base_rate) if calibration else (1.0, 0.0)
    target = min(target, full_rate)
    chances = torch.full((len(coins),), base_rate)
    level = len(coins) * target
    if calibration and calibration.lean_slope and lean is not None:
        chances = torch.as_tensor(calibration.chance(lean))
        level = _level(calibration, target, len(coins))
    if shown is not None:
        chances = torch.where(shown, full_rate, chances)
    return chosen_images(coins, chances, level, full_rate)


@lru_cache(maxsize=64)
def _level(calibration: Calibration, target: float, count: int) -> float:
    """The level of batches of `count` pictures whose leans are distributed as in a Calibration."""
    noise = torch.randn(SIMULATED_BATCHES, count, generator=torch.Generator().manual_seed(0))
    chances = torch.as_tensor(calibration.chance(calibration.lean_mean + calibration.lean_spread * noise))
    return min(level_of(chances, max(target, float(chances.mean()) + SPARE_SHARE)), count * target)
