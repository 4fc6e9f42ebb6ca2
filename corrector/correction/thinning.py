"""Chooses which pictures of a batch are corrected, so that it has the target share of counter pictures.

The number follows from p* = (1-rho) p + rho p(. | counter), rho = (target - beta) / (full - beta) (METHOD.md); the
choice is free. The model's first prediction already leans to the side that the picture will show. Pictures that lean
most to the counter side are corrected first: the others are almost certain to be stereotypes, which makes the share of
the batch nearly exact.
"""

import math

import torch

from ..preference.networks import read

DRAWS = 4096  # number of simulated batches in `level_of`
FIRST = (0.4, 1.1)  # first sigmas of a run at which its pictures' chances are read, over the calibration's


def coins_from_noise(noise, seed=0):
    """Starting noise [B, C, H, W] -> a uniform number in 0..1 for each picture, independent of the noise's scale.

    The cosine between the noise and a fixed random direction is normal with variance 1/N; its normal CDF is uniform.
    """
    flat = noise.detach().double().cpu().flatten(1)  # double, so that coins do not depend on the batch size
    direction = torch.randn(flat.shape[1], generator=torch.Generator().manual_seed(7919 + int(seed))).double()
    cosine = (flat @ direction) / (flat.norm(dim=1) * direction.norm()).clamp(min=1e-12)
    return torch.special.ndtr(cosine * math.sqrt(flat.shape[1])).clamp(0, 1 - 1e-6)


def coins_from_seeds(seeds, seed=0):
    """Seeds -> a uniform number in 0..1 for each picture, for hosts that know the seed of each picture."""
    mixed = [(int(s) * 6364136223846793005 + int(seed) * 1442695040888963407 + 11) % (2**63) for s in seeds]
    draws = [torch.rand(2, generator=torch.Generator().manual_seed(value))[1] for value in mixed]
    return torch.stack(draws) if draws else torch.zeros(0)


def first_lean(preference, x, sigma, groups, conditional):
    """The log-odds of the model's belief at the first step of a run [B], or None if not applicable.

    They tell how a picture will come out at every CFG scale (METHOD.md), the better the lower sigma is, until little is
    left to decide. So they are read from FIRST times the calibration's first sigma.

    Args:
        preference: Preference.
        x, conditional: [B, C, H, W] in model space: the noisy latent, and the prediction for the user's prompt.
        sigma: [B].
        groups: [B], index of the group; -1 is out of scope and gives NaN.
    """
    known = next((known for known in preference.calibrations if known.lean_slope), None)
    if known is None or not FIRST[0] < float(sigma.max()) / known.lean_sigma < FIRST[1]:
        return None
    lean, some = torch.full((len(x),), math.nan), (groups >= 0).nonzero()[:, 0]
    if len(some):
        with torch.no_grad():
            own = x[some].float(), sigma[some].float(), groups[some], conditional[some].float()
            lean[some] = read(preference.source, *own).log_odds.float().cpu()
    return lean


def leans_away(lean, known):
    """Whether a batch leans [B] so far to the stereotype that its model must differ from the calibrated one.

    The limit is 1.5 standard deviations of a picture and 4 standard errors of the batch. None of 1500 batches of 8 from
    the calibrated model exceeds it; 20 % of batches from a derivative with different base rates do.
    """
    if lean is None or not known.lean_slope:
        return False
    away = (known.lean_mean - float(lean.double().mean())) / known.lean_spread
    return away > max(1.5, 4 / math.sqrt(len(lean)))


def level_of(chances, target):
    """The number of counter pictures to which each batch is corrected, so that the mean share is `target`.

    Batches that already expect more are left alone, so it solves E[max(sum of chances, level)] = B * target, where
    chances [D, B] are the probabilities of the counter side without correction, in D simulated batches.
    """
    expected, wanted = chances.double().sum(dim=1), chances.shape[1] * target
    if float(expected.mean()) >= wanted:
        return 0.0
    low, high = 0.0, wanted
    for _ in range(50):
        level = (low + high) / 2
        low, high = (level, high) if float(expected.clamp(min=level).mean()) < wanted else (low, level)
    return high


def chosen_images(coins, chances, level, full_rate=1.0):
    """Choose pictures until the batch expects `level` counter pictures -> bool [B].

    The order is by chance, highest first, then by coin. The last one is chosen by a coin of the whole batch, so that
    the mean is exact.

    Args:
        coins: [B] in 0..1.
        chances: [B], probability of the counter side without correction.
        level: wanted number of counter pictures.
        full_rate: probability of the counter side with correction.
    """
    chances, whole = chances.double(), float(torch.frac(coins.double().sum() * 997.0))
    order = sorted(range(len(coins)), key=lambda index: (-float(chances[index]), float(coins[index])))
    chosen, expected = torch.zeros(len(coins), dtype=torch.bool), float(chances.sum())
    for index in order:
        gain = max(full_rate - float(chances[index]), 1e-6)
        part = (level - expected + 1e-9) / gain
        chosen[index] = part >= 1 or part > max(whole, 1e-6)
        if part < 1:
            break
        expected += gain
    return chosen


def thinned(coins, target, known=None, lean=None):
    """Choose the pictures of one group that are corrected -> bool [B].

    If the calibrated base rate reaches the target, none is, unless the leans show that this is another model.

    Args:
        coins: [B] in 0..1.
        target: wanted share of counter pictures.
        known: the group's Calibration; without it, all pictures are assumed to show the stereotype.
        lean: [B] from `first_lean`, or None; without it, all pictures have the base rate as their chance.
    """
    count = len(coins)
    full_rate, base_rate = (known.full_rate, known.base_rate) if known else (1.0, 0.0)
    chances, batches = torch.full((count,), base_rate), torch.full((1, count), base_rate)
    if known and known.lean_slope and lean is not None:
        chances = known.chance(lean)
        noise = torch.randn(DRAWS, count, generator=torch.Generator().manual_seed(0))
        batches = known.chance(known.lean_mean + known.lean_spread * noise)
    wanted = min(target, full_rate)
    if base_rate < target:
        level = level_of(batches, wanted)
    elif leans_away(lean, known):
        level = count * wanted
    else:
        return torch.zeros(count, dtype=torch.bool)
    return chosen_images(coins, chances, level, full_rate)
