"""Pairs: latents of an axis' two sides, made by the host's own model from the same seeds. No labels from anywhere."""

import hashlib
import json
import math
import random
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save, save_file

from ..latent_space.whole_files import FULL, why_not, write_whole

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


def lightness(pictures, region):
    """Pictures [N, 3, H, W] in -1..1 -> median CIE L* [N] of the box `region` (left, top, right, bottom in 0..1)."""
    height, width = pictures.shape[-2:]
    left, top, right, bottom = region
    box = pictures[..., round(top * height) : round(bottom * height), round(left * width) : round(right * width)]
    rgb = ((box.float() + 1) / 2).clamp(0, 1)
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)  # IEC 61966-2-1
    luminance = (linear * torch.tensor([0.2126, 0.7152, 0.0722]).view(3, 1, 1)).sum(dim=1)  # [N, h, w]
    cube_root = torch.where(luminance > 216 / 24389, luminance ** (1 / 3), (24389 / 27 * luminance + 16) / 116)
    return (116 * cube_root - 16).flatten(1).median(dim=1).values


SKIN_MARGIN = 0.1  # of the picture's sides: how far around its box an axis' skin may reach


def skin_mask(shape, region):
    """How much of each cell of a latent [..., H, W] lies in `region`, grown by SKIN_MARGIN -> [H, W] in 0..1."""
    height, width = shape[-2:]
    left, top, right, bottom = region

    def covered(cells, start, end):
        edges = torch.arange(cells + 1) / cells
        inside = edges.clamp(start - SKIN_MARGIN, end + SKIN_MARGIN)
        return inside.diff() * cells

    return covered(height, top, bottom)[:, None] * covered(width, left, right)


class PairError(ValueError):
    """Pairs that cannot be made or used; the message says what was found, what was expected and what to do."""


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


class PairStore:
    """A folder of pairs in the making: a shard for each batch of pictures, written whole or not at all.

    `settings` is all that the pictures depend on (checkpoint, axis, seeds, sampler, CFG, size). A folder that holds
    other settings is refused by name, so that pairs of two checkpoints never mix.
    """

    what = "pairs"  # what messages call the pictures

    def __init__(self, folder, settings):
        self.folder, path = Path(folder), Path(folder) / "settings.json"
        settings = json.loads(json.dumps(settings))
        if not path.exists():
            if self.folder.is_dir() and any(other.suffix != ".part" for other in self.folder.iterdir()):
                raise PairError(f"{self.folder}: the folder holds other files; choose an empty or a new one.")
            self._write(path, json.dumps(settings, indent=1).encode())
            return
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            raise PairError(f"{path}: cut off or not JSON; delete the folder and start again.") from None
        for name in sorted(set(found) | set(settings)):
            if found.get(name) != settings.get(name):
                raise PairError(
                    f'{self.folder}: these {self.what} have another "{name}" ({_short(found.get(name))}; now '
                    f"{_short(settings.get(name))}). Choose a new folder for the new settings, or go back to the old."
                )

    def load(self, name):
        """The shard {latents, lightness}, or None where it was never finished."""
        path = self.folder / f"{name}.safetensors"
        try:
            return load_file(path) if path.exists() else None
        except SafetensorError:  # only a disk that lost what was written can do this
            path.unlink()
            return None

    def save(self, name, latents, lightness):
        shard = {"latents": latents.contiguous(), "lightness": lightness.contiguous()}
        self._write(self.folder / f"{name}.safetensors", save(shard))

    def forget(self, names):
        """Shards that are to be made anew."""
        for name in names:
            (self.folder / f"{name}.safetensors").unlink(missing_ok=True)

    def _write(self, path, data):
        try:
            write_whole(path, data)
        except OSError as error:
            kept = f" The {self.what} made so far are kept, and it goes on from there." if error.errno in FULL else ""
            raise PairError(f"{self.folder}: {self.what} cannot be kept: {why_not(error)}.{kept}") from None


def _short(value):
    return str(value) if len(str(value)) < 40 else f"{str(value)[:37]}..."


def digest(settings):
    """Ten hex digits that tell settings, JSON-able, apart."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:10]


def store_name(axis, *settings):
    """The name of a folder for the pairs of an axis at these settings, JSON-able, as `make_pairs` tells them apart."""
    return f"{axis.id}-{digest([axis.hash, *settings])}"


def disk_use(axis, count, shape):
    """Bytes that `count` pairs a group will take; `shape` of one latent."""
    return len(axis.groups) * 2 * count * (4 * math.prod(shape) + 4)


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
                    drawn = host.sample(host.encode(prompts[some]), numbers[some], cfg=cfg, steps=steps)
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
