"""Pairs: latents of an axis' two sides, sampled by the host's own model from the same seeds."""

import random
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ..axis.axis import Axis
from ..correction.kept_skin import skin_lightness
from ..latents.host import Host
from .store import Drawing, PairError, PictureStore

SIDES = ("stereotype", "counter")
MOST_STEPS = 8  # of sampling, wherever learning draws pictures: more change little of what is learned
WHOLE_PAIRS = 0.75  # smallest share of a group's pairs without NaN, since all groups keep as many pairs as the worst


@dataclass
class Pairs:
    """Latents of both sides by group, model space. `lightness` is the CIE L* of all skin that both pictures of a pair
    show; NaN where they show none."""

    latents: Tensor  # [G, 2, N, C, H, W], sides in the order of SIDES
    lightness: Tensor  # [G, 2, N]
    seeds: Tensor  # [G, N]
    broken: int = 0  # pictures left out because they held NaN or infinity


def make_pairs(
    host: Host, axis: Axis, count: int, seed: int, cfg: float = 2.0, steps: int = 16,
    progress: Callable[[Tensor], object] | None = None, folder: str | Path | None = None, batch: int = 50,
    wait: bool = False,
) -> Pairs:  # fmt: skip
    """Sample pictures of both sides of an axis -> Pairs, without pictures that hold NaN or infinity and their partners.

    Raises PairError if too many are broken, or if the folder cannot be used, and BusyError if another process uses it.

    Args:
        host: Host.
        axis: Axis, whose prompts are used.
        count: pictures per side and group. The first ones are the same whatever the count.
        seed: of prompts and pictures.
        cfg, steps: CFG scale and number of sampling steps.
        progress: `progress(latents)`, called after each batch.
        folder: batches are saved in it. A run that was interrupted, or that asks for more pairs, goes on from them; the
            result is the same, except with samplers that draw further noise for each batch.
        batch: pictures at once.
        wait: wait for another process that draws for the folder, and use its pictures, instead of raising.
    """
    settings = dict(axis=axis.hash_of_pictures, seed=seed, cfg=cfg, steps=steps) | host.identity
    store = PictureStore(folder, settings) if folder else None
    drawing = Drawing(host, store, batch, 2 * count * len(axis.groups), progress)
    with store.at_work(wait=wait) if store else nullcontext(), drawing:
        numbers = range(len(axis.groups))
        groups = [_group(drawing, axis, number, count, seed, dict(cfg=cfg, steps=steps)) for number in numbers]
    even = min(len(seeds) for _, seeds in groups)  # groups keep the same number
    latents = torch.stack([latents[:, :even] for latents, _ in groups])
    lightness = torch.stack([skin_of_host(host, sides[0], sides[1], axis).T for sides in latents])
    return Pairs(latents, lightness, torch.stack([seeds[:even] for _, seeds in groups]), sum(drawing.broken.values()))


def sides_apart(pairs: Pairs) -> Tensor:
    """How far the sides' mean latents are apart by group [G] (root mean square of their difference), less what so few
    pairs add by chance.
    """
    change = pairs.latents[:, 1] - pairs.latents[:, 0]  # [G, N, C, H, W]
    squared = change.mean(dim=1).square() - change.var(dim=1) / change.shape[1]
    return squared.flatten(1).mean(dim=1).clamp(min=0).sqrt()


def steps_of(host: Host) -> int:
    """Sampling steps of the pictures that learning and calibration draw."""
    return min(host.steps, MOST_STEPS)


def skin_of_host(host: Host, before: Tensor, after: Tensor, axis: Axis) -> Tensor:
    """The lightness of skin in latents [N, C, H, W] of two pictures of one person -> CIE L* [N, 2]."""
    parts = zip(before.split(host.batch), after.split(host.batch), strict=True)
    return torch.cat([skin_lightness(host.decode(one), host.decode(other), axis.skin_region) for one, other in parts])


def _group(drawing, axis, index, count, seed, options):
    """-> (latents [2, N, C, H, W], seeds [N]) of a group's pairs that are whole."""
    group, host = axis.groups[index], drawing.host
    seeds, prompts = _plan(axis, group, count, seed)

    def sample(side, part):
        return host.sample(host.encode(prompts[side][part]), seeds[part], **options)

    sides = [drawing.series(f"{index:02d}-{side}", count, partial(sample, side)) for side in SIDES]
    latents, whole = map(torch.stack, zip(*sides, strict=True))  # [2, N, ...]
    whole = whole.all(dim=0)
    if whole.float().mean() < WHOLE_PAIRS:
        raise PairError(
            f"Only {int(whole.sum())} of {count} pairs of {group} came out without NaN or infinity, and "
            f"{WHOLE_PAIRS:.0%} must. Load the checkpoint in float32 and try again, or leave that group out."
        )
    return latents[:, whole], torch.tensor(seeds)[whole]


def _plan(axis, group, count, seed):
    """The seeds of a group's pairs, and their prompts by side; the first ones are the same whatever the count."""
    seeds, prompts = [], {side: [] for side in SIDES}
    for number in range(count):
        rng = random.Random(f"{seed} {group} {number}")
        seeds.append(rng.randrange(2**31))
        neutral = rng.choice(axis.prompts(group))
        for side in SIDES:
            prompts[side].append(f"{neutral} {rng.choice(getattr(axis, side).phrases)}")
    return seeds, prompts
