"""The audit's run against a host's four functions: sample, correct, decode, judge, measure, keep."""

import io
import time
from dataclasses import dataclass, field

import numpy as np
import torch

from ..correction.update import Settings
from ..learning.calibrate import sample_corrected
from .measures import sharpness, skin, structure, to_uint8
from .plan import AuditError, open_store
from .statistics import features as features_of
from .statistics import latent_change

THUMBNAIL = 144  # pixels a side, at most


@dataclass
class Clock:
    """Seconds that a run took, in all and for sampling and decoding."""

    sampling: float = 0.0
    total: float = 0.0
    sampled: int = 0  # pictures


@dataclass
class Audit:
    """One axis audited on one host. `preferences`: what corrects; `judges`: the first one's intervals stop the run.

    `sampler`: corrects, as `sample_corrected` does.
    """

    host: object
    plan: object
    judges: list
    preferences: list = field(default_factory=list)
    clock: Clock = field(default_factory=Clock)
    sampler: object = sample_corrected

    def __post_init__(self):
        if bool(self.preferences) != bool(self.plan.strengths):
            raise AuditError("A correction needs both a preference and a strength; give both, or neither.")
        if not self.judges:
            raise AuditError("Nobody judges the pictures; give a judge.")

    @property
    def settings(self):
        """All that the pictures and what is said of them depend on."""
        return {
            "what": "audit",
            "axis": self.plan.axis.hash,
            **self.plan.settings,
            "preferences": [[p.name, p.hash] for p in self.preferences],
            "judges": [[judge.name, judge.about["source"]] for judge in self.judges],
            **self.host.identity,
        }

    def run(self, folder, shard=(0, 1), progress=None):
        """Sample what is missing in `folder` -> the store. `shard` (i, n): only every n-th chunk, from the i-th on.

        Stopped at any moment and called again, it goes on from the chunk in work. `progress(done, total, latents)` is
        called after each chunk with pictures counted, and may raise to stop.
        """
        index, count = shard
        if not 0 <= index < count:
            raise AuditError(f"Shard {index + 1} of {count} does not exist; write I/N with I from 1 to N.")
        store, started = open_store(folder, self.settings), time.perf_counter()
        mine = self.plan.chunks[index::count]
        sizes = [len(chunk.seeds) * (1 + len(self.plan.strengths_of(chunk.cell[1]))) for chunk in mine]
        done = 0
        seen, stopped = {cell: {} for cell in self.plan.cells}, set()
        for chunk, size in zip(mine, sizes, strict=True):
            latents = None
            if chunk.cell not in stopped and not self._stopped(store, chunk, seen[chunk.cell]):
                found = store.load(chunk.name)
                if found is None:
                    latents, *made = self.chunk(chunk)
                    store.save(chunk.name, *made)
                    found = made
                seen[chunk.cell][chunk.start] = found[0]
            else:
                stopped.add(chunk.cell)
            done += size
            if progress:
                progress(done, sum(sizes), latents)
        self.clock.total += time.perf_counter() - started
        return store

    def _stopped(self, store, chunk, seen):
        """Whether the chunks before this one, where all are there, are enough; other shards' count in one folder."""
        if not self.plan.narrow:
            return False
        records = []
        for earlier in self.plan.cells[chunk.cell]:
            if earlier.start >= chunk.start:
                return False
            if earlier.start not in seen:
                found = store.load(earlier.name)
                if found is None:
                    return False
                seen[earlier.start] = found[0]
            records += seen[earlier.start]
            if self.plan.done(records, self.judges[0].name):
                return True
        return False

    def chunk(self, chunk):
        """Sample, judge and measure one chunk -> (latents of its last variant, records, features, thumbnails)."""
        host, plan, started = self.host, self.plan, time.perf_counter()
        group, kind, cfg = chunk.cell
        prompts, seeds = list(chunk.prompts), list(chunk.seeds)
        with torch.no_grad():
            plain = host.sample(host.encode(prompts), seeds, cfg=cfg, steps=plan.steps)
        variants, why = [plain], [[""] * len(seeds)]
        for strength in plan.strengths_of(kind):
            latents, reasons = self.sampler(
                host, prompts, seeds, self.preferences, Settings(strength=strength, target=plan.target), cfg,
                plain=plain, steps=plan.steps,
            )  # fmt: skip
            variants.append(latents)
            why.append(
                ["; ".join(sorted(set(some) - {""})) if all(some) else "" for some in zip(*reasons, strict=True)]
            )
        decoded = [host.decode(latents.nan_to_num()) for latents in variants]
        self.clock.sampling += time.perf_counter() - started
        self.clock.sampled += len(seeds) * len(variants)
        base = {"group": plan.axis.groups[group], "kind": kind, "cfg": cfg}
        records, features, thumbnails = [], [], []
        pictures = [to_uint8(part) for part in decoded]
        for strength, latents, seen, shown, reasons in zip(
            (0.0, *plan.strengths), variants, decoded, pictures, why, strict=False
        ):
            looks = {judge.name: judge.look(latents.nan_to_num(), seen) for judge in self.judges}
            tones, sharp = skin(shown, plan.axis.skin_region), sharpness(shown)
            fine, alike = latents.isfinite().flatten(1).all(dim=1).tolist(), structure(pictures[0], shown)
            change = latent_change(plain, latents, plain.std()).nan_to_num().tolist()
            for i, seed in enumerate(seeds):
                records.append(
                    base
                    | {"index": chunk.start + i, "strength": strength, "prompt": prompts[i], "seed": seed}
                    | {"left_alone": reasons[i], "broken": not fine[i]}
                    | {"sides": {name: look[0][i] if fine[i] else "unreadable" for name, look in looks.items()}}
                    | {"groups": {name: look[1][i] for name, look in looks.items() if look[1]}}
                    | {name: round(float(values[i]), 2) for name, values in tones.items()}
                    | {"sharpness": round(float(sharp[i]), 6), "structure": round(float(alike[i]), 4)}
                    | {"change": round(change[i], 4)}
                )
            features.append(features_of(latents.nan_to_num()))
            # What was left alone looks as its plain twin, whose thumbnail is there already.
            thumbnails += [
                thumbnail_of(picture) if moved or not (strength and fine[i]) else thumbnails[i]
                for i, (picture, moved) in enumerate(zip(shown, change, strict=True))
            ]
        return variants[-1], records, np.concatenate(features), thumbnails


def thumbnail_of(picture):
    """uint8 [H, W, 3] -> a small JPEG picture, as bytes; WebP would be half as large and take five times as long."""
    from PIL import Image

    image, file = Image.fromarray(picture), io.BytesIO()
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    image.save(file, "JPEG", quality=85)
    return file.getvalue()
