"""Run an audit on a host: sample, correct, decode, judge, measure, save."""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..correction.sampled import sample_corrected
from ..correction.update import Settings
from ..latents.host import Host
from ..latents.skin import to_uint8
from ..latents.statistics import denoising_error, latent_change
from ..latents.statistics import features as features_of
from ..preference.preference import Preference
from .judges import AuditJudge
from .measures import sharpness, skin, structure
from .plan import CHUNK, AuditError, AuditStore, Chunk, Plan

LARGEST_ERROR = 1e6  # denoising error, over the variance of the noise
THUMBNAIL = 144  # pixels; longest side of a thumbnail


@dataclass
class Audit:
    """The audit of one axis on one host.

    Args:
        host: Host.
        plan: Plan.
        judges: at least one judge (see judges.py); the first one decides when sampling may stop and gives the findings.
        preferences: the Preferences that correct; empty audits the plain model alone.

    Raises:
        AuditError: if there is no judge, or a preference without a strength or the reverse.
    """

    host: Host
    plan: Plan
    judges: Sequence[AuditJudge]
    preferences: list[Preference] = field(default_factory=list)

    def __post_init__(self):
        if bool(self.preferences) != bool(self.plan.strengths):
            raise AuditError("A correction needs both a preference and a strength; give both, or neither.")
        if not self.judges:
            raise AuditError("The audit has no judge; give at least one.")

    @property
    def settings(self) -> dict:
        """Everything that the pictures and their labels depend on, as JSON types."""
        return {
            "what": "audit, with denoising errors",
            "axis": self.plan.axis.hash,
            **self.plan.settings,
            "preferences": [[p.name, p.hash] for p in self.preferences],
            "judges": [[judge.name, judge.about["source"]] for judge in self.judges],
            **self.host.identity,
        }

    def run(
        self, folder: str | Path, shard: tuple[int, int] = (0, 1),
        progress: Callable[[int, int, Tensor | None], object] | None = None,
    ) -> AuditStore:  # fmt: skip
        """Sample the chunks that `folder` does not have yet -> AuditStore.

        It can be interrupted at any time: the next call resumes with the first unfinished chunk.

        Args:
            folder: where the chunks are saved.
            shard: (i, n) samples only every n-th chunk, starting with the i-th.
            progress: called as `progress(done, total, latents)` after each chunk, in pictures, with the latents of a
                chunk that was just sampled, else None; an exception that it raises stops the run.

        Raises:
            AuditError: if the shard does not exist.
            PairError: if the folder belongs to another audit.
            BusyError: if another process draws the same shard for it.
        """
        index, count = shard
        if not 0 <= index < count:
            raise AuditError(f"Shard {index + 1} of {count} does not exist; write I/N with I from 1 to N.")
        store, chunks = AuditStore(folder, self.settings), self.plan.chunks[index::count]
        sizes = [len(chunk.seeds) * (1 + len(self.plan.strengths_of(chunk.cell[1]))) for chunk in chunks]
        done = 0
        records = {}  # {name of a chunk: its records}
        with store.at_work(f"part {index + 1} of {count}"):
            for chunk, size in zip(chunks, sizes, strict=True):
                latents = None
                if not self._stopped(store, chunk, records) and store.load(chunk) is None:
                    latents, records_of_chunk, features, thumbnails = self.chunk(chunk)
                    store.save(chunk.name, records_of_chunk, features, thumbnails)
                done += size
                if progress:
                    progress(done, sum(sizes), latents)
        return store

    def _stopped(self, store, chunk, records):
        """Whether the chunks before this one suffice; False if one is missing. Includes shards in the same folder."""
        so_far = []
        for earlier in self.plan.cells[chunk.cell][: chunk.start // CHUNK]:
            if earlier.name not in records:
                loaded = store.load(earlier)
                if loaded is None:
                    return False
                records[earlier.name] = loaded[0]
            so_far += records[earlier.name]
            if self.plan.done(so_far, self.judges[0].name):
                return True
        return False

    def chunk(self, chunk: Chunk) -> tuple[Tensor, list[dict], np.ndarray, list[bytes]]:
        """Sample, judge and measure one chunk -> (latents at the last strength, records, features, thumbnails)."""
        group, kind, cfg = chunk.cell
        base = {"group": self.plan.axis.groups[group], "kind": kind, "cfg": cfg}
        records, features, thumbnails = [], [], []
        conditioning = self.host.encode(list(chunk.prompts))
        latents = plain = torch.zeros(0)
        plain_pixels = np.zeros(0, np.uint8)
        for strength, latents, why in self._variants(chunk):
            finite = latents.isfinite().flatten(1).all(dim=1).tolist()
            clean = latents.nan_to_num()
            pictures = self.host.decode(clean)
            pixels = to_uint8(pictures)
            verdicts = {judge.name: judge.look(clean, pictures, base["group"]) for judge in self.judges}
            if not strength:
                plain, plain_pixels = latents, pixels
            change = latent_change(plain, latents, plain.std()).nan_to_num().tolist()
            tones, sharp = skin(pixels, self.plan.axis.skin_region), sharpness(pixels)
            similar = structure(plain_pixels, pixels)
            errors = denoising_error(self.host, clean, conditioning, chunk.seeds)
            errors = (
                errors.nan_to_num(LARGEST_ERROR, LARGEST_ERROR).clamp(max=LARGEST_ERROR).tolist()
            )  # if it is broken
            for i, (prompt, seed) in enumerate(zip(chunk.prompts, chunk.seeds, strict=True)):
                records.append(
                    base
                    | {"index": chunk.start + i, "strength": strength, "prompt": prompt, "seed": seed}
                    | {"left_alone": why[i], "broken": not finite[i]}
                    | {"sides": {name: side[i] if finite[i] else "unreadable" for name, (side, _) in verdicts.items()}}
                    | {"groups": {name: groups[i] for name, (_, groups) in verdicts.items() if groups}}
                    | {name: round(float(values[i]), 2) for name, values in tones.items()}
                    | {"sharpness": round(float(sharp[i]), 6), "structure": round(float(similar[i]), 4)}
                    | {"change": round(change[i], 4), "denoising_error": round(errors[i], 6)}
                )
                # An unchanged picture reuses the thumbnail of its plain twin, which comes first in the list.
                changed = change[i] or not (strength and finite[i])
                thumbnails.append(thumbnail_of(pixels[i]) if changed else thumbnails[i])
            features.append(features_of(clean))
        return latents, records, np.concatenate(features), thumbnails

    def _variants(self, chunk: Chunk) -> Iterator[tuple[float, Tensor, list[str]]]:
        """Yield (strength, latents on the CPU, why each picture was left alone) of plain, then corrected pictures."""
        (_, kind, cfg), prompts, seeds = chunk.cell, list(chunk.prompts), list(chunk.seeds)
        options = {"cfg": cfg, "steps": self.plan.steps}
        with torch.no_grad():
            plain = self.host.sample(self.host.encode(prompts), seeds, **options).cpu()
        yield 0.0, plain, [""] * len(seeds)
        for strength in self.plan.strengths_of(kind):
            settings = Settings(strength=strength, target=self.plan.target)
            latents, why = sample_corrected(
                self.host, prompts, seeds, self.preferences, settings, plain=plain, **options
            )
            # A picture was left alone if every preference left it alone.
            why = ["; ".join(sorted(set(each) - {""})) if all(each) else "" for each in zip(*why, strict=True)]
            yield strength, latents, why


def thumbnail_of(picture: np.ndarray) -> bytes:
    """uint8 [H, W, 3] -> JPEG bytes. (WebP would be half the size and take five times as long.)"""
    from PIL import Image

    image, file = Image.fromarray(picture), io.BytesIO()
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    image.save(file, "JPEG", quality=85)
    return file.getvalue()
