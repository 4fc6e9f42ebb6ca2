"""The one loop that draws pictures: batch after batch, each kept in a folder, from which an interrupted run resumes."""

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save
from torch import Tensor

from ..axis.axis import Axis
from ..files.errors import RSCorrectorError, short
from ..files.json_files import UnreadableError, read_json
from ..files.tensor_files import checksum, read_tensors
from ..files.whole_files import DISK_IS_FULL, LOCK_NAME, at_work, clean, locked, why_not, write_whole
from ..latents.host import Host

LARGEST_SHARD = 2**30  # bytes
SETTINGS = "settings.json"
FEWEST_PAIRS = 2  # of a group: a single one says nothing about others
HIGHEST_CFG = 100  # CFG scale at which pictures are drawn
BROKEN_SHARE = 0.05  # largest share of pictures with NaN or infinity


class PairError(RSCorrectorError):
    """Pairs that cannot be made or used; the message says what was found, what was expected and what to do."""


class PictureStore:
    """A folder with one file (shard) per batch of pictures, written atomically. One process at a time draws for it.

    A shard that is damaged or not what its name says counts as missing. Raises PairError if the folder cannot be
    written or has other settings, so that pictures of two checkpoints never mix.

    Args:
        folder: created if it does not exist.
        settings: JSON of all that the pictures depend on: checkpoint, axis, seeds, CFG, size.
        what: the name of the pictures in messages.
    """

    def __init__(self, folder: str | Path, settings: dict, what: str = "pairs"):
        self.folder = Path(folder)
        self.settings = json.loads(json.dumps(settings))
        self.what = what
        path = self.folder / SETTINGS
        with self._writing(), locked(path):  # another process may begin in the folder at the same time
            if not path.exists():
                if any(
                    not file.name.startswith(LOCK_NAME) and file.suffix != ".part" for file in self.folder.iterdir()
                ):
                    raise PairError(f"{self.folder}: the folder holds other files; choose an empty or a new one.")
                write_whole(path, json.dumps(self.settings, indent=1))
        try:
            before = read_json(path)
            if not isinstance(before, dict):
                raise UnreadableError("it is not an object")
        except (OSError, UnreadableError):
            raise PairError(f"{path}: cut off or not JSON; delete the folder and start again.") from None
        for name in sorted(set(before) | set(self.settings)):
            if before.get(name) != self.settings.get(name):
                raise PairError(
                    f'{self.folder}: these {what} have another "{name}" ({short(before.get(name), 40)}; '
                    f"now {short(self.settings.get(name), 40)}). Choose a new folder for the new settings, or go back "
                    "to the old."
                )
        clean(self.folder)

    def at_work(self, part: str = "", wait: bool = False) -> AbstractContextManager[None]:
        """A block in which no other process draws for this folder, or a part of it. Raises BusyError, or waits."""
        return at_work(self.folder / part, self.what, -1 if wait else 0)

    def starts(self, prefix: str) -> list[int]:
        """The numbers of the first pictures of all shards `PREFIX-NUMBER`."""
        return [int(path.stem.rpartition("-")[2]) for path in self.folder.glob(f"{prefix}-*.safetensors")]

    def read(self, name: str, types: Sequence[str] = ("F32",)) -> tuple[dict[str, str], dict[str, Tensor]] | None:
        """(metadata, tensors) of a shard, or None if it is not there or not as it was saved."""
        try:
            metadata, tensors, _ = read_tensors(self.folder / f"{name}.safetensors", LARGEST_SHARD, types)
        except (OSError, UnreadableError):
            return None
        seal = metadata.pop("seal", None)
        return (metadata, tensors) if seal == self._seal(name, tensors, metadata) else None

    def write(self, name: str, tensors: dict[str, Tensor], **metadata: str) -> None:
        """Write a shard, with a seal over its name, its content and the folder's settings."""
        metadata["seal"] = self._seal(name, tensors, metadata)
        self.write_file(f"{name}.safetensors", save(tensors, metadata))

    def _seal(self, name, tensors, metadata):
        return checksum(json.dumps([name, self.settings, metadata], sort_keys=True), tensors)

    def forget(self, names: Iterable[str]) -> None:
        """Delete shards."""
        for name in names:
            (self.folder / f"{name}.safetensors").unlink(missing_ok=True)

    def write_file(self, name: str, data: bytes) -> None:
        with self._writing():
            write_whole(self.folder / name, data)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Turns the error of a folder that cannot be written into a PairError."""
        try:
            yield
        except OSError as error:
            kept = (
                f" The {self.what} made so far are kept, and it goes on from there."
                if error.errno in DISK_IS_FULL
                else ""
            )
            raise PairError(f"{self.folder}: {self.what} cannot be kept: {why_not(error)}.{kept}") from None


class Drawn(NamedTuple):
    """Pictures of a series."""

    latents: Tensor  # [N, C, H, W], model space
    whole: Tensor  # bool [N]: neither latents nor the decoded picture hold NaN or infinity


@dataclass
class Drawing:
    """Draws series of pictures; as a context, it deletes the shards with broken pictures if those are refused.

    Args:
        host: Host.
        store: where batches are kept, or None.
        batch: pictures at once.
        planned: number of pictures of all series.
        progress: `progress(latents)`, called after each batch.
        what: the name of the pictures if too many are broken.
    """

    host: Host
    store: PictureStore | None
    batch: int
    planned: int
    progress: Callable[[Tensor], object] | None = None
    what: str = "pictures"
    count: int = 0  # pictures so far
    broken: dict[str, int] = field(default_factory=dict)  # {shard: pictures with NaN or infinity}

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if self.store and kind and issubclass(kind, PairError):
            self.store.forget(self.broken)  # so that another run draws them again

    def series(self, prefix: str, count: int, sample: Callable[[slice], Tensor]) -> Drawn:
        """`count` pictures, from the store as far as it holds them, whatever the batch size that they were drawn with.

        Raises PairError as soon as too many pictures are broken.

        Args:
            prefix: how the names of the shards begin.
            count: number of pictures.
            sample: `sample(part)` -> the latents of a slice of the pictures.
        """
        starts, batches, start = self.store.starts(prefix) if self.store else [], [], 0
        while start < count:
            name = f"{prefix}-{start:05d}"
            end = min([count, start + self.batch, *(first for first in starts if first > start)])
            shard = self._load(name) or self._draw(name, sample, slice(start, end))
            batches.append(Drawn(*(values[: count - start] for values in shard)))
            start += len(batches[-1].latents)
            self._check(name, batches[-1])
        return Drawn(*map(torch.cat, zip(*batches, strict=True)))

    def _load(self, name):
        _, shard = (self.store and self.store.read(name)) or ({}, {})
        if set(shard) != {"latents", "whole"} or not 0 < len(shard["latents"]) == len(shard["whole"]):
            return None
        return shard["latents"], shard["whole"].bool()

    def _draw(self, name, sample, part):
        latents = sample(part).cpu()
        whole = finite(latents) & finite(self.host.decode(latents))
        if self.store:
            self.store.write(name, {"latents": latents.float().contiguous(), "whole": whole.float()})
        return latents, whole

    def _check(self, name, batch):
        self.count += len(batch.whole)
        if not batch.whole.all():
            self.broken[name] = int((~batch.whole).sum())
            refuse_broken(sum(self.broken.values()), self.count, self.planned, self.what)
        if self.progress:
            self.progress(batch.latents)


def finite(pictures: Tensor) -> Tensor:
    """Which pictures or latents [N, C, H, W] hold neither NaN nor infinity: bool [N]."""
    return pictures.isfinite().flatten(1).all(dim=1)


def refuse_broken(broken: int, drawn: int, planned: int, what: str = "pictures") -> None:
    """Raises PairError if more than BROKEN_SHARE of the planned pictures hold NaN or infinity."""
    if broken > BROKEN_SHARE * planned:
        seen = f" (seen in the first {drawn})" if drawn < planned else ""
        raise PairError(
            f"{broken} of {planned} {what}{seen} came out as NaN or infinity, and at most {BROKEN_SHARE:.0%} may. The "
            "checkpoint is broken, or half precision is too small for it: load it in float32 and try again."
        )


def digest(settings: object) -> str:
    """Ten hex digits for settings, which are JSON-serialisable."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:10]


def store_name(axis: Axis, *settings: object) -> str:
    """Name of a folder for the pairs of an axis at these settings, which are JSON-serialisable."""
    return f"{axis.id}-{digest([axis.hash_of_pictures, *settings])}"


def check_room(folder: str | Path, axis: Axis, count: int, shape: Sequence[int]) -> tuple[int, int]:
    """-> (bytes of `count` pairs per group of latents (C, H, W), bytes free on the disk).

    Raises PairError if the pairs are too few, or the disk has no room for those that the folder lacks.
    """
    if count < FEWEST_PAIRS:
        raise PairError(
            f"{count} pairs a group are too few to learn from; ask for at least {FEWEST_PAIRS}, better 100."
        )
    held = sum(path.stat().st_size for path in Path(folder).glob("*.safetensors"))
    size, free = len(axis.groups) * 2 * count * (4 * math.prod(shape) + 4), shutil.disk_usage(folder).free
    if (needed := size - held) > free:
        raise PairError(
            f"{folder}: {count} pairs per group need {needed / 2**20:.0f} MB more, and the disk has "
            f"{free / 2**20:.0f} MB free. Free some space, or ask for fewer pairs."
        )
    return size, free
