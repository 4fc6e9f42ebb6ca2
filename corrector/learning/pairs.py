"""Pairs: latents of an axis' two sides, made by the host's own model from the same seeds. No labels from anywhere."""

import random
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from ..latent_space.skin import lightness
from .store import PairError, PairStore

SIDES = ("stereotype", "counter")


@dataclass
class Pairs:
    """Latents of both sides by group, model space. `lightness` is the mean CIE L* of where skin is, in points."""

    latents: torch.Tensor  # [G, 2, N, C, H, W], sides in the order of SIDES
    lightness: torch.Tensor  # [G, 2, N]
    seeds: torch.Tensor  # [G, N]
    broken: int = 0  # pictures left out because they held NaN or infinity

    def save(self, path):
        tensors = {name: getattr(self, name).contiguous() for name in ("latents", "lightness", "seeds")}
        save_file(tensors | {"broken": torch.tensor(self.broken)}, path)

    @classmethod
    def load(cls, path):
        tensors = load_file(Path(path))
        return cls(**tensors | {"broken": int(tensors.get("broken", 0))})


BROKEN = 0.05  # most pictures with NaN or infinity before a checkpoint counts as broken
WHOLE = 0.75  # fewest pairs of a group without any, since all groups keep as many as the worst


def finite_pictures(latents, lightness):
    """Which pictures hold neither NaN nor infinity, bool [N]: in their latents, or in the lightness of them decoded."""
    return latents.isfinite().flatten(1).all(dim=1) & lightness.isfinite()


def refuse_broken(broken, drawn, planned=None, what="pictures"):
    """Raises PairError where more than BROKEN of what was drawn, or is planned, came out as NaN or infinity."""
    total = planned or drawn
    if broken > BROKEN * total:
        seen = f" (seen in the first {drawn})" if drawn < total else ""
        raise PairError(
            f"{broken} of {total} {what}{seen} came out as NaN or infinity, and at most {BROKEN:.0%} may. The "
            "checkpoint is broken, or half precision is too small for it: load it in float32 and try again."
        )


def make_pairs(host, axis, count, seed, cfg=2.0, steps=16, progress=None, folder=None, batch=50):
    """Sample `count` pictures a side and group from the axis' prompts, both sides from the same seeds -> Pairs.

    With `folder` each batch is kept on disk as it comes, and what is there already is not made again: stopped at any
    moment and called again, it gives the same pairs. `progress(latents)` is called after each batch. Pictures with
    NaN or infinity are left out, and with their twin. Raises PairError where too many are, whose shards the folder then
    forgets, or where the folder will not do.
    """
    rng, store = random.Random(seed), None
    if folder:
        store = PairStore(
            folder,
            dict(axis=axis.hash, count=count, seed=seed, cfg=cfg, steps=steps, batch=batch, **host.identity),
        )
    latents, tones, seeds, broken, made, pictures = [], [], [], {}, 0, 2 * count * len(axis.groups)
    for group_index, group in enumerate(axis.groups):
        numbers = [rng.randrange(2**31) for _ in range(count)]
        neutral = [rng.choice(axis.prompts(group)) for _ in range(count)]
        sides = []
        for side in SIDES:
            prompts = [f"{prompt} {rng.choice(getattr(axis, side).phrases)}" for prompt in neutral]
            shards = []
            for start in range(0, count, batch):
                name = f"{group_index:02d}-{side}-{start:05d}"
                shard = store and store.load(name)
                if not shard:
                    some = slice(start, start + batch)
                    drawn = host.sample(host.encode(prompts[some]), numbers[some], cfg=cfg, steps=steps).cpu()
                    shard = {"latents": drawn, "lightness": lightness(host.decode(drawn), axis.skin_region)}
                    if store:
                        store.save(name, **shard)
                shard["fine"] = finite_pictures(**shard)
                made += len(shard["fine"])
                if not shard["fine"].all():
                    broken[name] = int((~shard["fine"]).sum())
                    with _forgetting(store, broken):
                        refuse_broken(sum(broken.values()), made, pictures)
                shards.append(shard)
                if progress:
                    progress(shard["latents"])
            sides.append({name: torch.cat([shard[name] for shard in shards]) for name in shards[0]})
        whole = sides[0]["fine"] & sides[1]["fine"]
        if whole.float().mean() < WHOLE:
            with _forgetting(store, broken):
                raise PairError(
                    f"Only {int(whole.sum())} of {count} pairs of {group} came out without NaN or infinity, and "
                    f"{WHOLE:.0%} must. Load the checkpoint in float32 and try again, or leave that group out."
                )
        latents.append(torch.stack([side["latents"][whole] for side in sides]))
        tones.append(torch.stack([side["lightness"][whole] for side in sides]))
        seeds.append(torch.tensor(numbers)[whole])
    even = min(len(group) for group in seeds)  # groups keep the same number
    return Pairs(
        torch.stack([group[:, :even] for group in latents]),
        torch.stack([group[:, :even] for group in tones]),
        torch.stack([group[:even] for group in seeds]),
        sum(broken.values()),
    )


@contextmanager
def _forgetting(store, names):
    """What is refused inside is also forgotten by the store, so that another run makes those shards anew."""
    try:
        yield
    except PairError:
        if store:
            store.forget(names)
        raise


def match_tones(pairs, tolerance=1.5):
    """Keep, within each group, pictures of both sides whose skin lightness has a partner within `tolerance` L*.

    -> list over groups of (stereotype indices, counter indices), as long as each other. The baseline "matching alone".
    """
    matched = []
    for stereotype, counter in pairs.lightness:
        free, kept = set(range(len(counter))), ([], [])
        for index in stereotype.argsort().tolist():
            best = min(free, key=lambda j: abs(float(counter[j] - stereotype[index])), default=None)
            if best is not None and abs(float(counter[best] - stereotype[index])) <= tolerance:
                free.remove(best)
                kept[0].append(index)
                kept[1].append(best)
        matched.append(kept)
    return matched
