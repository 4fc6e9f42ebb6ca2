"""Chooses which pictures of a batch are corrected, so that it has the target share of counter pictures.

The number follows from p* = (1-rho) p + rho p(. | counter), rho = (target - beta) / (full - beta) (METHOD.md); the
choice is free. The model's first prediction already leans to the side that the picture will show. Pictures that lean
most to the counter side are corrected first: the others are almost certain to be stereotypes, which makes the share of
the batch nearly exact.
"""

import math
from functools import lru_cache

import torch

from ..preference.networks import along

CHUNK = 100  # most pictures that the preference's network reads at once
DRAWS = 4096  # number of simulated batches in `level_of`
SPARE = 0.005  # by how much the share may rise where the base rate reaches the target: in batches far below it
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


def first_lean(preference, x, sigma, groups, conditional, denoised, cfg):
    """What the first step of a run says of how its pictures will come out [B], or None if not applicable.

    It is the log-odds of the model's belief, and to them what guidance adds along the push, <D - D_cond, P> / |P|^2,
    which is CFG - 1 times by how much more the model believes in the counter side than without a prompt (METHOD.md:
    D = q D_c + (1 - q) D_s). The lower sigma is the more it tells, until little is left to decide; so it is read from
    FIRST times the calibration's first sigma.

    Args:
        preference: Preference.
        x: [B, C, H, W] in model space, the noisy latent.
        sigma: [B].
        groups: [B], index of the group; -1 is out of scope and gives NaN.
        conditional, denoised: [B, C, H, W], the prediction for the user's prompt, and that after CFG.
        cfg: the CFG scale.
    """
    known = next((known for known in preference.calibrations if known.lean_slope), None)
    if known is None or not FIRST[0] < float(sigma.max()) / known.lean_sigma < FIRST[1]:
        return None
    lean, some = torch.full((len(x),), math.nan), (groups >= 0).nonzero()[:, 0]
    if len(some):
        measured = [preference.calibration(group, cfg) for group in preference.axis.groups]
        weights = torch.tensor([known.lean_guidance if known else 0.0 for known in measured])
        log_odds, guidance = belief_and_guidance(
            preference.source, x[some], sigma[some], groups[some], conditional[some], denoised[some]
        )
        lean[some] = log_odds + weights[groups[some].cpu()] * guidance
    return lean


@torch.no_grad()
def belief_and_guidance(source, x, sigma, group, conditional, denoised):
    """The log-odds of the model's belief [B], and what guidance adds along the push [B], on the CPU."""
    found = []
    for which in torch.arange(len(x)).split(CHUNK):
        own, guided = conditional[which].float(), denoised[which].float()
        reading = source.read(x[which].float(), sigma[which].float(), group[which], own)
        found.append((reading.log_odds.float().cpu(), along(guided - own, reading.push).cpu()))
    return [torch.cat(parts) for parts in zip(*found, strict=True)]


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


def thinned(coins, target, known=None, lean=None, shown=None):
    """Choose the pictures of one group that are corrected -> bool [B].

    A batch that expects less than its level is corrected up to it. Where the base rate reaches the target that is rare:
    such batches are of other wordings, or of another model than the calibrated one.

    Args:
        coins: [B] in 0..1.
        target: wanted share of counter pictures.
        known: the group's Calibration; without it, all pictures are assumed to show the stereotype.
        lean: [B] from `first_lean`, or None; without it, all pictures have the base rate as their chance.
        shown: bool [B], pictures that show the counter side already, since an earlier stage corrected them; or None.
    """
    full_rate, base_rate = (known.full_rate, known.base_rate) if known else (1.0, 0.0)
    wanted, chances = min(target, full_rate), torch.full((len(coins),), base_rate)
    level = len(coins) * wanted
    if known and known.lean_slope and lean is not None:
        chances, level = known.chance(lean), _level(known, wanted, len(coins))
    if shown is not None:
        chances = torch.where(shown, full_rate, chances)
    return chosen_images(coins, chances, level, full_rate)


@lru_cache(maxsize=64)
def _level(known, wanted, count):
    """The level of batches of `count` pictures whose leans are distributed as in a Calibration."""
    noise = torch.randn(DRAWS, count, generator=torch.Generator().manual_seed(0))
    chances = known.chance(known.lean_mean + known.lean_spread * noise)
    return min(level_of(chances, max(wanted, float(chances.mean()) + SPARE)), count * wanted)
