"""Pairs: latents of an axis' two sides, sampled by the host's own model from the same seeds."""

import random
from contextlib import nullcontext
from dataclasses import dataclass

import torch

from ..latents.skin import lightness
from .store import PairError, PairStore

SIDES = ("stereotype", "counter")
BROKEN = 0.05  # largest share of pictures with NaN or infinity
WHOLE = 0.75  # smallest share of pairs of a group without any, since all groups keep as many pairs as the worst


@dataclass
class Pairs:
    """Latents of both sides by group, model space. `lightness` is the median CIE L* of the skin region."""

    latents: torch.Tensor  # [G, 2, N, C, H, W], sides in the order of SIDES
    lightness: torch.Tensor  # [G, 2, N]
    seeds: torch.Tensor  # [G, N]
    broken: int = 0  # pictures left out because they held NaN or infinity

    def part(self, which):
        """The pairs in a slice."""
        return Pairs(self.latents[:, :, which], self.lightness[:, :, which], self.seeds[:, which])


def finite_pictures(latents, lightness):
    """Which pictures hold neither NaN nor infinity, in latents or in the lightness of the decoded picture: bool [N]."""
    return latents.isfinite().flatten(1).all(dim=1) & lightness.isfinite()


def refuse_broken(broken, drawn, planned=None, what="pictures"):
    """Raises PairError if more than BROKEN of the drawn (or planned) pictures hold NaN or infinity."""
    total = planned or drawn
    if broken > BROKEN * total:
        seen = f" (seen in the first {drawn})" if drawn < total else ""
        raise PairError(
            f"{broken} of {total} {what}{seen} came out as NaN or infinity, and at most {BROKEN:.0%} may. The "
            "checkpoint is broken, or half precision is too small for it: load it in float32 and try again."
        )


def make_pairs(host, axis, count, seed, cfg=2.0, steps=16, progress=None, folder=None, batch=50, wait=False):
    """Sample pictures of both sides of an axis -> Pairs, without pictures that hold NaN or infinity and their partners.

    Raises PairError if too many are broken, or if the folder cannot be used, and BusyError if another process uses it.

    Args:
        host: its functions encode, sample and decode, and its identity.
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
    store = None
    if folder:
        store = PairStore(folder, dict(axis=axis.hash_of_pictures, seed=seed, cfg=cfg, steps=steps) | host.identity)
    drawing = _Drawing(host, axis, count, dict(cfg=cfg, steps=steps), progress, store, batch)
    with store.at_work(wait=wait) if store else nullcontext():
        groups = _groups(drawing, seed)
    even = min(len(seeds) for *_, seeds in groups)  # groups keep the same number
    return Pairs(
        torch.stack([latents[:, :even] for latents, _, _ in groups]),
        torch.stack([tones[:, :even] for _, tones, _ in groups]),
        torch.stack([seeds[:even] for *_, seeds in groups]),
        sum(drawing.broken.values()),
    )


def _groups(drawing, seed):
    """-> for each group (latents [2, N, C, H, W], lightness [2, N], seeds [N]) of the pairs that are whole."""
    axis, count, groups = drawing.axis, drawing.count, []
    try:
        for index, group in enumerate(axis.groups):
            seeds, prompts = _plan(axis, group, count, seed)
            sides = [drawing.side(f"{index:02d}-{side}", prompts[side], seeds) for side in SIDES]
            latents, tones, fine = map(torch.stack, zip(*sides, strict=True))  # [2, N, ...]
            whole = fine.all(dim=0)
            if whole.float().mean() < WHOLE:
                raise PairError(
                    f"Only {int(whole.sum())} of {count} pairs of {group} came out without NaN or infinity, and "
                    f"{WHOLE:.0%} must. Load the checkpoint in float32 and try again, or leave that group out."
                )
            groups.append((latents[:, whole], tones[:, whole], torch.tensor(seeds)[whole]))
    except PairError:
        if drawing.store:
            drawing.store.forget(drawing.broken)  # so that another run samples them again
        raise
    return groups


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


@dataclass
class _Drawing:
    """Draws one side of one group after the other, as far as the store does not hold it."""

    host: object
    axis: object
    count: int
    settings: dict  # of `host.sample`
    progress: object
    store: PairStore | None
    batch: int

    def __post_init__(self):
        self.broken, self.made = {}, 0  # {shard: pictures with NaN or infinity}, pictures so far

    def side(self, prefix, prompts, seeds):
        """-> (latents [N, C, H, W], lightness [N], which are finite [N])."""
        known, parts, at = self.store.starts(prefix) if self.store else [], [], 0
        while at < self.count:
            name = f"{prefix}-{at:05d}"
            shard = self.store and self.store.load(name, self.host.shape)
            if not shard:
                end = min([self.count, at + self.batch, *(start for start in known if start > at)])
                shard = self._drawn(prompts[at:end], seeds[at:end])
                if self.store:
                    self.store.save(name, **shard)
            parts.append(self._checked(name, {key: value[: self.count - at] for key, value in shard.items()}))
            at += len(shard["latents"])
            if self.progress:
                self.progress(parts[-1]["latents"])
        return [torch.cat([part[key] for part in parts]) for key in ("latents", "lightness", "fine")]

    def _drawn(self, prompts, seeds):
        latents = self.host.sample(self.host.encode(prompts), seeds, **self.settings).cpu()
        return {"latents": latents, "lightness": lightness(self.host.decode(latents), self.axis.skin_region)}

    def _checked(self, name, shard):
        shard["fine"] = finite_pictures(**shard)
        self.made += len(shard["fine"])
        if not shard["fine"].all():
            self.broken[name] = int((~shard["fine"]).sum())
            refuse_broken(sum(self.broken.values()), self.made, 2 * self.count * len(self.axis.groups))
        return shard
