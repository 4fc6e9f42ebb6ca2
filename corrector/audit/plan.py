"""What an audit samples: axis x group x seeds of neutral and explicit prompts, in chunks; and the store of it."""

import json
import math
import random
import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ..axis.axis import Axis
from ..learning.store import PairError, PairStore
from .statistics import enough

KINDS = ("neutral", "stereotype", "counter")  # prompts that name no side, and those that ask for one
CHUNK = 20  # pictures of a cell at once, and between two looks at its interval


class AuditError(ValueError):
    """An audit that cannot be made, read or compared; the message says what was found and what to do."""


@dataclass(frozen=True)
class Chunk:
    """Pictures of one cell (group, kind, CFG scale) that are sampled and kept together."""

    cell: tuple[int, str, float]
    start: int
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]

    @property
    def name(self):
        group, kind, cfg = self.cell
        return f"{group:02d}-{kind}-cfg{cfg:g}-{self.start:05d}"


@dataclass(frozen=True)
class Plan:
    """What is sampled. Of `cfgs` and `strengths` the first are the audit's own, the others a sweep.

    `images`: most neutral pictures a group; `explicit`: most that ask for each side, a quarter of them by default.
    `narrow`: half of a 95 % interval at which a cell stops before that; 0 samples all.
    """

    axis: Axis
    images: int = 100
    explicit: int | None = None
    seed: int = 0
    cfgs: tuple[float, ...] = (2.0,)
    strengths: tuple[float, ...] = ()  # empty: the plain model alone
    target: float = 1.0
    steps: int = 16
    narrow: float = 0.0

    def __post_init__(self):
        if self.images < 2:
            raise AuditError(
                f"The audit is of {self.images} {'picture' if self.images == 1 else 'pictures'} a group, and an "
                "interval needs 2 or more; ask for 20 at least to learn something."
            )
        if self.explicit is not None and self.explicit < 1:
            raise AuditError("At least one picture a side must be asked for explicitly, else no judge can be checked.")
        if not 0 <= self.narrow < 0.5:
            raise AuditError(
                f"Intervals of half a width of {self.narrow:g} were asked for; give a number below 0.5, such as 0.05, "
                "or 0 to sample all pictures."
            )
        if len(set(self.cfgs)) < len(self.cfgs) or len(set(self.strengths)) < len(self.strengths):
            raise AuditError("A CFG scale or a strength is given twice; give each once.")
        if any(not strength > 0 for strength in self.strengths):
            raise AuditError("A strength is 0 or less, which is the plain model; give strengths above 0.")

    @property
    def settings(self):
        """What two reports must share to be compared, JSON-able."""
        names = "images", "explicit", "seed", "cfgs", "strengths", "target", "steps", "narrow"
        return json.loads(json.dumps({name: getattr(self, name) for name in names}))

    def strengths_of(self, kind):
        """Explicit prompts are corrected at the audit's own strength only."""
        return self.strengths if kind == "neutral" else self.strengths[:1]

    @cached_property
    def cells(self):
        """{cell: its chunks in order}."""
        cells = {}
        for cfg in self.cfgs:
            for kind in KINDS if cfg == self.cfgs[0] else KINDS[:1]:
                for group in range(len(self.axis.groups)):
                    cells[group, kind, cfg] = list(self._chunks(group, kind, cfg))
        return cells

    @property
    def chunks(self):
        """All chunks, in the order of sampling: a chunk of each cell before the next of any."""
        every = [chunk for chunks in self.cells.values() for chunk in chunks]
        return sorted(every, key=lambda chunk: chunk.start)

    def _chunks(self, group, kind, cfg):
        count = self.images
        if kind != "neutral":
            count = self.explicit or max(1, self.images // 4)
        rng, name = random.Random(f"audit {self.seed} {group} {kind}"), self.axis.groups[group]
        wanted = self.axis.prompts(name, None if kind == "neutral" else kind)
        prompts, seeds = [rng.choice(wanted) for _ in range(count)], [rng.randrange(2**31) for _ in range(count)]
        for start in range(0, count, CHUNK):
            some = slice(start, start + CHUNK)
            yield Chunk((group, kind, cfg), start, tuple(prompts[some]), tuple(seeds[some]))

    def done(self, records, judge):
        """Whether a cell may stop: each of its intervals, plain and of every strength, is as narrow as asked."""
        for strength in (0.0, *self.strengths):
            sides = [record["sides"][judge] for record in records if record["strength"] == strength]
            if sides and not enough(sum(side != "counter" for side in sides), len(sides), self.narrow):
                return False
        return bool(records)


def numbers(text):
    """ "2, 4; 7" -> (2.0, 4.0, 7.0); an empty text -> (). Raises AuditError for what is no number above 0."""
    found = re.findall(r"[^\s,;]+", text)
    try:
        values = tuple(float(word) for word in found)
    except ValueError:
        values = (math.nan,)
    if not all(0 < value < math.inf for value in values):
        raise AuditError(f'"{text}" is not a list of numbers above 0; write them with commas between, as 2, 4, 7.')
    return values


class AuditStore(PairStore):
    """A folder of audited chunks: records, features and thumbnails of each, written whole or not at all."""

    what = "pictures of an audit"

    def load(self, name):
        """-> (records, features [R, F], thumbnails, JPEG bytes each), or None where the chunk was never finished."""
        path = self.folder / f"{name}.safetensors"
        try:
            with safe_open(path, "pt") as file:
                records = json.loads(file.metadata()["records"])
                features, joined = file.get_tensor("features").numpy(), file.get_tensor("thumbnails").numpy().tobytes()
        except FileNotFoundError:
            return None
        except (SafetensorError, ValueError, KeyError, TypeError):  # only a disk that lost what was written can do this
            path.unlink()
            return None
        ends = np.cumsum([record["bytes"] for record in records])
        return records, features, [joined[end - r["bytes"] : end] for r, end in zip(records, ends, strict=True)]

    def save(self, name, records, features, thumbnails):
        records = [record | {"bytes": len(one)} for record, one in zip(records, thumbnails, strict=True)]
        tensors = {
            "features": torch.as_tensor(features, dtype=torch.float32).contiguous(),
            "thumbnails": torch.from_numpy(np.frombuffer(b"".join(thumbnails), dtype=np.uint8).copy()),
        }
        path = self.folder / f"{name}.safetensors"
        self._write(path, save(tensors, {"records": json.dumps(records)}))

    def take(self, other):
        """Finished chunks of another folder of the same audit, as they are."""
        for path in sorted(other.folder.glob("*.safetensors")):
            if not (self.folder / path.name).exists():
                self._write(self.folder / path.name, path.read_bytes())

    def collect(self, plan, judge):
        """All finished chunks of a plan, each cell up to where it may stop -> (records, features, thumbnails).

        Raises AuditError where chunks are missing.
        """
        records, features, thumbnails, missing = [], [], [], 0
        for chunks in plan.cells.values():
            own = []
            for chunk in chunks:
                found = self.load(chunk.name)
                if found is None:
                    missing += 1
                    continue
                own += found[0]
                records += found[0]
                features.append(found[1])
                thumbnails += found[2]
                if plan.done(own, judge):
                    break
        if missing:
            raise AuditError(
                f"{self.folder}: {missing} parts of this audit are missing or cut off. Run the same command again "
                "(each shard of it, where it was split); only what is missing is sampled."
            )
        return records, np.concatenate(features), thumbnails


def open_store(folder, settings):
    """-> AuditStore. Raises AuditError where the folder holds something else."""
    try:
        return AuditStore(folder, settings)
    except PairError as error:
        raise AuditError(str(error)) from None
