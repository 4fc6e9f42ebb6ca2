"""Pairs: latents of an axis' two sides, sampled by the host's own model from the same seeds."""

import random
from dataclasses import dataclass

import torch

from ..latent_space.skin import lightness
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


def make_pairs(host, axis, count, seed, cfg=2.0, steps=16, progress=None, folder=None, batch=50):
    """Sample pictures of both sides of an axis -> Pairs, without pictures that hold NaN or infinity and their partners.

    Raises PairError if too many are broken, or if the folder cannot be used.

    Args:
        host: its functions encode, sample and decode, and its identity.
        axis: Axis, whose prompts are used.
        count: pictures per side and group.
        seed: of prompts and pictures.
        cfg, steps: CFG scale and number of sampling steps.
        progress: `progress(latents)`, called after each batch.
        folder: batches are saved in it, and an interrupted run resumes from them with the same result.
        batch: pictures at once.
    """
    rng, store = random.Random(seed), None
    if folder:
        settings = dict(axis=axis.hash_of_pictures, count=count, seed=seed, cfg=cfg, steps=steps, batch=batch)
        store = PairStore(folder, settings | host.identity)
    broken, made, planned, groups = {}, 0, 2 * count * len(axis.groups), []
    try:
        for group_index, group in enumerate(axis.groups):
            seeds = [rng.randrange(2**31) for _ in range(count)]
            neutral = [rng.choice(axis.prompts(group)) for _ in range(count)]
            sides = []
            for side in SIDES:
                prompts = [f"{prompt} {rng.choice(getattr(axis, side).phrases)}" for prompt in neutral]
                shards = []
                for start in range(0, count, batch):
                    name, some = f"{group_index:02d}-{side}-{start:05d}", slice(start, start + batch)
                    shard = store and store.load(name, (len(seeds[some]), *host.shape))
                    if not shard:
                        drawn = host.sample(host.encode(prompts[some]), seeds[some], cfg=cfg, steps=steps).cpu()
                        shard = {"latents": drawn, "lightness": lightness(host.decode(drawn), axis.skin_region)}
                        if store:
                            store.save(name, **shard)
                    shard["fine"] = finite_pictures(**shard)
                    made += len(shard["fine"])
                    if not shard["fine"].all():
                        broken[name] = int((~shard["fine"]).sum())
                        refuse_broken(sum(broken.values()), made, planned)
                    shards.append(shard)
                    if progress:
                        progress(shard["latents"])
                sides.append(
                    [torch.cat([shard[name] for shard in shards]) for name in ("latents", "lightness", "fine")]
                )
            latents, tones, fine = map(torch.stack, zip(*sides, strict=True))  # [2, N, ...]
            whole = fine.all(dim=0)
            if whole.float().mean() < WHOLE:
                raise PairError(
                    f"Only {int(whole.sum())} of {count} pairs of {group} came out without NaN or infinity, and "
                    f"{WHOLE:.0%} must. Load the checkpoint in float32 and try again, or leave that group out."
                )
            groups.append((latents[:, whole], tones[:, whole], torch.tensor(seeds)[whole]))
    except PairError:
        if store:
            store.forget(broken)  # so that another run samples them again
        raise
    even = min(len(seeds) for *_, seeds in groups)  # groups keep the same number
    return Pairs(
        torch.stack([latents[:, :even] for latents, _, _ in groups]),
        torch.stack([tones[:, :even] for _, tones, _ in groups]),
        torch.stack([seeds[:even] for *_, seeds in groups]),
        sum(broken.values()),
    )
