"""A target share: which pictures of a run are corrected, so that each batch has the share of counter pictures.

p* = (1-rho) p + rho p(. | counter), rho = (target - beta) / (full - beta) (METHOD.md), says how many; which ones is
free. Where a run begins, the model's first prediction already leans to the side on which the picture will come out,
and those likeliest to come out counter by themselves are corrected first: what is left alone are then sure stereotypes,
and the share of the batch is no longer left to chance.
"""

import math

import torch
from einops import reduce

from ..preference.networks import read

DRAWS = 4096  # of a batch, for the level that gives the target on average


def coins_from_noise(noise, seed=0):
    """Starting noise [B, C, H, W] -> one uniform number in 0..1 an image, the same for the same noise at any scale.

    The cosine between the noise and a fixed random direction is normal with variance 1/N; its normal CDF is uniform.
    """
    flat = noise.detach().double().cpu().flatten(1)  # double: the same coin in a batch of any size
    direction = torch.randn(flat.shape[1], generator=torch.Generator().manual_seed(7919 + int(seed))).double()
    cosine = (flat @ direction) / (flat.norm(dim=1) * direction.norm()).clamp(min=1e-12)
    return torch.special.ndtr(cosine * math.sqrt(flat.shape[1])).clamp(0, 1 - 1e-6)


def coins_from_seeds(seeds, seed=0):
    """Seeds of images -> one uniform number in 0..1 an image; for hosts that know each image's own seed."""
    mixed = [(int(s) * 6364136223846793005 + int(seed) * 1442695040888963407 + 11) % (2**63) for s in seeds]
    draws = [torch.rand(2, generator=torch.Generator().manual_seed(value))[1] for value in mixed]
    return torch.stack(draws) if draws else torch.zeros(0)


def first_lean(preference, denoised, x, sigma, groups, target):
    """How far a run's first prediction D leans along the push, <D, P> / |P|^2 -> [B]; None where it would not count.

    denoised, x [B, C, H, W] model space, sigma [B], groups [B] (-1: out of scope, NaN). Since D = q D_c + (1-q) D_s,
    it is the model's own q of this noise and this prompt, plus what is the same for all pictures (METHOD.md, "Text").
    It counts only for a target share, and only at the sigma at which calibration learned what it tells: further down a
    picture is there already.
    """
    known = next((known for known in preference.calibrations if known.lean_slope), None)
    if target == 1 or known is None or not 0.9 < float(sigma.max()) / known.lean_sigma < 1.1:
        return None
    lean, some = torch.full((len(x),), math.nan), (groups >= 0).nonzero()[:, 0]
    if len(some):
        with torch.no_grad():
            push = read(preference.source, x[some].float(), sigma[some].float(), groups[some]).push
        lean[some] = leaning(denoised[some].float(), push).float().cpu()
    return lean


def leaning(denoised, push):
    """<D, P> / |P|^2 -> [B]."""
    along, size = reduce(denoised * push, "b ... -> b", "sum"), reduce(push.square(), "b ... -> b", "sum")
    return along / size.clamp(min=1e-9)


def leans_away(lean, known, cfg):
    """Does a batch lean [B] so far to the stereotype that it is of another model than `known` was measured on?

    That is one and a half standard deviations of single pictures, and four standard errors of the batch. Of 1500
    batches of 8 of the model that was measured none leans so far, and of a derivative's whose rates are others a fifth
    do. At another CFG scale than the measured one leans are others, and nothing is said of the model.
    """
    if lean is None or not known.lean_slope or cfg != known.cfg:
        return False
    away = (known.lean_mean - float(lean.double().mean())) / known.lean_spread
    return away > max(1.5, 4 / math.sqrt(len(lean)))


def level_of(chances, target):
    """How far a batch is filled with counter pictures so that batches have the target share on average.

    chances [D, B]: of each picture to come out counter by itself, in D batches drawn at random. A batch that expects
    more than the level is left alone, so E[max(sum of chances, level)] = B * target.
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
    """Coins [B], chances [B] to come out counter by themselves -> bool [B]: which images are corrected.

    The likeliest first, of equals in the order of the coins, until the batch expects `level` counter pictures; the last
    one by a coin of the whole batch, so that this is exact on average.
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


def thinned(coins, target, known=None, lean=None, cfg=None):
    """The images of one group that a target share corrects -> bool [B].

    `known`: the group's Calibration, without which none is taken to come out counter by itself. `lean` [B]: of
    `first_lean`, or None: then all images of the group are alike; `cfg`: of this run.

    Where the model draws the target by itself, nothing is done; unless the leans say that this is another model than
    the calibrated one: then the batch is filled to its target.
    """
    count = len(coins)
    full_rate, base_rate = (known.full_rate, known.base_rate) if known else (1.0, 0.0)
    chances, batches = torch.full((count,), base_rate), torch.full((1, count), base_rate)
    if known and lean is not None:
        chances = known.chance(lean)
        noise = torch.randn(DRAWS, count, generator=torch.Generator().manual_seed(0))
        batches = known.chance(known.lean_mean + known.lean_spread * noise)
    wanted = min(target, full_rate)
    if base_rate < target:
        level = level_of(batches, wanted)
    elif leans_away(lean, known, cfg):
        level = count * wanted
    else:
        return torch.zeros(count, dtype=torch.bool)
    return chosen_images(coins, chances, level, full_rate)
