"""What an audit samples (prompts and seeds of every group, in chunks), and the folder that keeps the results."""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from ..axis.axis import Axis
from ..files.errors import RSCorrectorError
from ..files.json_files import UnreadableError, parse_json
from ..files.tensor_files import LARGEST_HEADER
from ..latents.statistics import rate
from ..learning.store import PictureStore

Cell: TypeAlias = tuple[int, str, float]  # index of the group, kind of the prompts, CFG scale

KINDS = ("neutral", "stereotype", "counter")  # prompts that ask for neither side, or for one of the two
REPORT_SCHEMA = Path(__file__).with_name("audit-report.schema.json")
CHUNK = 20  # pictures sampled at once; after each chunk the confidence interval is checked
FIRST_LOOK = 20  # fewest pictures before sampling may stop: a short run of equal results is often chance


class AuditError(RSCorrectorError):
    """Raised when an audit cannot be run, read or compared; the message says what was found and what to do."""


@dataclass(frozen=True)
class Chunk:
    """Pictures of one cell that are sampled and saved together; `start` is the number of the first in its cell."""

    cell: Cell
    start: int
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]

    @property
    def name(self) -> str:
        group, kind, cfg = self.cell
        return f"{group:02d}-{kind}-cfg{cfg:g}-{self.start:05d}"


@dataclass(frozen=True)
class Plan:
    """The settings of an audit.

    Args:
        axis: the Axis to audit.
        images: maximum number of neutral pictures per group.
        explicit: maximum number of pictures per group and side whose prompt asks for that side; `images // 4` if None.
        seed: prompts and picture seeds are drawn from it.
        cfgs: CFG scales. Findings use the first; the others are a sweep with neutral prompts only.
        strengths: strengths of the correction, in the same order; empty audits the plain model alone.
        target: wanted share of counter pictures, in (0, 1].
        steps: sampling steps.
        narrow: a cell stops early once the half-width of each of its 95 % intervals is at most this; 0 samples all.

    Raises:
        AuditError: if a setting is out of range or a CFG scale or strength is repeated.
    """

    axis: Axis
    images: int = 100
    explicit: int | None = None
    seed: int = 0
    cfgs: tuple[float, ...] = (2.0,)
    strengths: tuple[float, ...] = ()
    target: float = 1.0
    steps: int = 16
    narrow: float = 0.0

    def __post_init__(self):
        if self.images < 2:
            raise AuditError(
                f"Pictures per group: {self.images}. A confidence interval needs 2 or more, and a useful result at "
                "least 20."
            )
        if self.explicit is not None and self.explicit < 1:
            raise AuditError("The audit needs at least 1 explicit picture per side, to check the judges against.")
        if not 0 <= self.narrow < 0.5:
            raise AuditError(f"The half-width is {self.narrow:g}; use one below 0.5, such as 0.05, or 0 to sample all.")
        if len(set(self.cfgs)) < len(self.cfgs) or len(set(self.strengths)) < len(self.strengths):
            raise AuditError("A CFG scale or a strength is given twice; list each only once.")
        if any(not strength > 0 for strength in self.strengths):
            raise AuditError("A strength is 0 or less, which is the plain model; use strengths above 0.")

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that two reports must share to be comparable, as JSON types."""
        names = "images", "explicit", "seed", "cfgs", "strengths", "target", "steps", "narrow"
        return json.loads(json.dumps({name: getattr(self, name) for name in names}))

    def most(self, kind: str) -> int:
        """Maximum number of pictures per group whose prompts are of a kind."""
        return self.images if kind == "neutral" else self.explicit or max(1, self.images // 4)

    def strengths_of(self, kind: str) -> tuple[float, ...]:
        """Strengths at which prompts of a kind are corrected: explicit prompts only at the first one."""
        return self.strengths if kind == "neutral" else self.strengths[:1]

    @cached_property
    def cells(self) -> dict[Cell, list[Chunk]]:
        """The chunks of each cell."""
        return {
            (group, kind, cfg): list(self._chunks(group, kind, cfg))
            for cfg in self.cfgs
            for kind in (KINDS if cfg == self.cfgs[0] else KINDS[:1])
            for group in range(len(self.axis.groups))
        }

    @property
    def chunks(self) -> list[Chunk]:
        """All chunks in sampling order: the first chunk of every cell, then the second of every cell, and so on."""
        return sorted((chunk for chunks in self.cells.values() for chunk in chunks), key=lambda chunk: chunk.start)

    def _chunks(self, group: int, kind: str, cfg: float) -> Iterator[Chunk]:
        rng, count = random.Random(f"audit {self.seed} {group} {kind}"), self.most(kind)
        choices = self.axis.prompts(self.axis.groups[group], None if kind == "neutral" else kind)
        prompts, seeds = [rng.choice(choices) for _ in range(count)], [rng.randrange(2**31) for _ in range(count)]
        for start in range(0, count, CHUNK):
            part = slice(start, start + CHUNK)
            yield Chunk((group, kind, cfg), start, tuple(prompts[part]), tuple(seeds[part]))

    def done(self, records: Sequence[dict], judge: str) -> bool:
        """Whether a cell may stop: its intervals, plain and at every strength, are narrow enough by this judge."""
        hits = {}
        for record in records:
            hits.setdefault(record["strength"], []).append(record["sides"][judge] != "counter")
        return bool(hits) and all(enough(sum(flags), len(flags), self.narrow) for flags in hits.values())


def enough(successes: int, n: int, narrow: float) -> bool:
    """Whether sampling may stop: the half-width of the Wilson interval is at most `narrow` (0: never stop).

    benchmarks/audit.py simulates that intervals keep their coverage despite early stopping.
    """
    if n < FIRST_LOOK or not narrow:
        return False
    _, low, high = rate(successes, n)
    return (high - low) / 2 <= narrow


def numbers(text: str) -> tuple[float, ...]:
    """Parse "2, 4; 7" -> (2.0, 4.0, 7.0); "" -> (). Raises AuditError unless all are finite numbers above 0."""
    try:
        values = tuple(float(word) for word in re.findall(r"[^\s,;]+", text))
    except ValueError:
        values = (math.nan,)
    if all(0 < value < math.inf for value in values):
        return values
    raise AuditError(f'"{text}" is not a list of numbers above 0; write them with commas between, such as 2, 4, 7.')


@cache
def report_schema() -> dict[str, Any]:
    """The published schema of reports (JSON Schema, draft 2020-12)."""
    return json.loads(REPORT_SCHEMA.read_text(encoding="utf-8"))


@cache
def records_schema() -> dict[str, Any]:
    """The schema of a chunk's records: the pictures of a report, each with the size of its thumbnail."""
    picture = report_schema()["properties"]["pictures"]["items"]
    size = {"type": "integer", "minimum": 1, "maximum": 2**24}
    record = picture | {
        "properties": picture["properties"] | {"bytes": size},
        "required": [*picture["required"], "bytes"],
    }
    return {"type": "array", "minItems": 1, "maxItems": 10_000, "items": record}


class AuditStore(PictureStore):
    """A folder with one file per finished chunk: its records, features and thumbnails. Writes are atomic.

    Raises PairError if the folder belongs to another audit, or cannot be written.
    """

    def __init__(self, folder: str | Path, settings: dict):
        super().__init__(folder, settings, "pictures of an audit")

    def load(self, chunk: Chunk) -> tuple[list[dict], np.ndarray, list[bytes]] | None:
        """A Chunk -> (records, features [R, F], thumbnails as JPEG bytes), or None if it is not finished or damaged."""
        try:
            metadata, tensors = self.read(chunk.name, ("F32", "U8")) or ({}, {})
            records = parse_json(metadata.get("records", ""), records_schema(), LARGEST_HEADER)
        except UnreadableError:
            return None
        features, joined = (tensors.get(name, torch.zeros(0)).numpy() for name in ("features", "thumbnails"))
        ends = np.cumsum([record["bytes"] for record in records])
        if len(records) % len(chunk.seeds) or features.shape[:1] != ends.shape or features.ndim != 2:
            return None
        if joined.dtype != np.uint8 or joined.shape != (ends[-1],) or not np.isfinite(features).all():
            return None
        for place, record in enumerate(records):
            own = place % len(chunk.seeds)
            wanted = chunk.prompts[own], chunk.seeds[own], chunk.start + own, chunk.cell[1:]
            if (record["prompt"], record["seed"], record["index"], (record["kind"], record["cfg"])) != wanted:
                return None
        joined = joined.tobytes()
        return records, features, [joined[end - r["bytes"] : end] for r, end in zip(records, ends, strict=True)]

    def save(self, name: str, records: list[dict], features: Any, thumbnails: Sequence[bytes]) -> None:
        """Write one chunk; arguments as `load` returns them. Raises PairError if the disk is full or read-only."""
        records = [record | {"bytes": len(jpeg)} for record, jpeg in zip(records, thumbnails, strict=True)]
        tensors = {
            # Those of broken pictures may be too large for any statistic.
            "features": torch.as_tensor(features, dtype=torch.float32).nan_to_num().clamp(-1e6, 1e6).contiguous(),
            "thumbnails": torch.from_numpy(np.frombuffer(b"".join(thumbnails), dtype=np.uint8).copy()),
        }
        self.write(name, tensors, records=json.dumps(records))

    def take(self, other: PictureStore) -> None:
        """Copy the finished chunks of another folder of the same audit."""
        for path in sorted(other.folder.glob("*.safetensors")):
            if not (self.folder / path.name).exists():
                self.write_file(path.name, path.read_bytes())

    def collect(self, plan: Plan, judge: str) -> tuple[list[dict], np.ndarray, list[bytes]]:
        """All chunks of a plan, each cell up to where it may stop -> (records, features [R, F], thumbnails).

        Raises AuditError if chunks are missing. `judge`: name of the judge that decides when a cell may stop.
        """
        records, features, thumbnails, missing = [], [], [], 0
        for chunks in plan.cells.values():
            first = len(records)
            for chunk in chunks:
                if plan.done(records[first:], judge):
                    break
                loaded = self.load(chunk)
                missing += loaded is None
                some, vectors, pictures = loaded or ([], [], [])
                records += some
                features += list(vectors)
                thumbnails += pictures
        if missing:
            raise AuditError(
                f"{self.folder}: {missing} parts of this audit are missing or damaged. Run the same command again "
                "(every shard if it was split); only the missing parts are sampled."
            )
        return records, np.stack(features), thumbnails
