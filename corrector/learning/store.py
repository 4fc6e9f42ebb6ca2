"""A folder of sampled pictures that an interrupted run resumes from."""

import hashlib
import json
import math
import shutil
from contextlib import contextmanager
from pathlib import Path

from safetensors.torch import save

from ..files.errors import RSCorrectorError, short
from ..files.json_files import UnreadableError, read_json
from ..files.tensor_files import checksum, read_tensors
from ..files.whole_files import DISK_IS_FULL, LOCK_NAME, at_work, clean, locked, why_not, write_whole

LARGEST = 2**30  # bytes of a shard
SETTINGS = "settings.json"

FEWEST = 2  # pairs a group: a single one says nothing about others
MOST_CFG = 100  # CFG scale at which pictures are drawn


class PairError(RSCorrectorError):
    """Pairs that cannot be made or used; the message says what was found, what was expected and what to do."""


class PairStore:
    """A folder with one file (shard) per batch of pictures, written atomically. One process at a time draws for it.

    A shard that is damaged or not what its name says counts as not there, and is sampled again.

    Raises PairError if the folder cannot be written or has other settings, so that pairs of two checkpoints never mix.

    Args:
        folder: path; created if it does not exist.
        settings: dict, JSON-serialisable, of all that the pictures depend on: checkpoint, axis, seeds, CFG, size.
    """

    what = "pairs"  # the name of the pictures in messages

    def __init__(self, folder, settings):
        self.folder, path = Path(folder), Path(folder) / SETTINGS
        self.settings = settings = json.loads(json.dumps(settings))
        with self._told(), locked(path):  # another process may begin in the folder at the same time
            if not path.exists():
                if any(
                    not file.name.startswith(LOCK_NAME) and file.suffix != ".part" for file in self.folder.iterdir()
                ):
                    raise PairError(f"{self.folder}: the folder holds other files; choose an empty or a new one.")
                write_whole(path, json.dumps(settings, indent=1))
        try:
            found = read_json(path)
            if not isinstance(found, dict):
                raise UnreadableError("it is not an object")
        except (OSError, UnreadableError):
            raise PairError(f"{path}: cut off or not JSON; delete the folder and start again.") from None
        for name in sorted(set(found) | set(settings)):
            if found.get(name) != settings.get(name):
                raise PairError(
                    f'{self.folder}: these {self.what} have another "{name}" ({short(found.get(name), 40)}; '
                    f"now {short(settings.get(name), 40)}). Choose a new folder for the new settings, or go back to "
                    "the old."
                )
        clean(self.folder)

    def at_work(self, part="", wait=False):
        """A block in which no other process draws pictures for this folder, or for one part of it.

        Raises BusyError if one does, or waits for it.
        """
        return at_work(self.folder / part, self.what, wait)

    def starts(self, prefix):
        """The numbers of the first pictures of all shards `PREFIX-NUMBER`, ascending."""
        return sorted(int(path.stem.rpartition("-")[2]) for path in self.folder.glob(f"{prefix}-*.safetensors"))

    def load(self, name, shape, count=None):
        """The shard {latents, lightness}, or None if it was not finished, is damaged or is that of other pictures.

        `shape` is that of one latent, (C, H, W); `count` that of the pictures, if it must be a certain one.
        """
        found = self._load(name, ("F32",))
        if not found or set(found[1]) != {"latents", "lightness"}:
            return None
        latents, tones = found[1]["latents"], found[1]["lightness"]
        fits = latents.shape[1:] == tuple(shape) and tones.shape == latents.shape[:1]
        return found[1] if fits and (len(latents) == count if count else len(latents)) else None

    def save(self, name, latents, lightness):
        self._save(name, {"latents": latents.float().contiguous(), "lightness": lightness.float().contiguous()})

    def _load(self, name, types):
        """-> (metadata, tensors) of a shard, or None if it is not there or not as it was saved."""
        path = self.folder / f"{name}.safetensors"
        try:
            metadata, tensors, _ = read_tensors(path, LARGEST, types)
        except (OSError, UnreadableError):
            return None
        seal = metadata.pop("seal", None)
        return (metadata, tensors) if seal == self._seal(name, tensors, metadata) else None

    def _save(self, name, tensors, **metadata):
        """Write a shard, with a seal over its name, its content and the folder's settings."""
        metadata["seal"] = self._seal(name, tensors, metadata)
        self._write(self.folder / f"{name}.safetensors", save(tensors, metadata))

    def _seal(self, name, tensors, metadata):
        return checksum(json.dumps([name, self.settings, metadata], sort_keys=True), tensors)

    def forget(self, names):
        """Delete shards."""
        for name in names:
            (self.folder / f"{name}.safetensors").unlink(missing_ok=True)

    def _write(self, path, data):
        with self._told():
            write_whole(path, data)

    @contextmanager
    def _told(self):
        """Tell of a folder that cannot be written by a PairError."""
        try:
            yield
        except OSError as error:
            kept = (
                f" The {self.what} made so far are kept, and it goes on from there."
                if error.errno in DISK_IS_FULL
                else ""
            )
            raise PairError(f"{self.folder}: {self.what} cannot be kept: {why_not(error)}.{kept}") from None


def digest(settings):
    """Ten hex digits for settings, which are JSON-serialisable."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:10]


def store_name(axis, *settings):
    """Name of a folder for the pairs of an axis at these settings, which are JSON-serialisable."""
    return f"{axis.id}-{digest([axis.hash_of_pictures, *settings])}"


def disk_use(axis, count, shape):
    """Bytes of `count` pairs per group; `shape` is that of one latent."""
    return len(axis.groups) * 2 * count * (4 * math.prod(shape) + 4)


def check_room(folder, axis, count, shape):
    """-> (bytes of the pairs, bytes free on the disk).

    Raises PairError if `count` pairs are too few, or the disk has no room for those that the folder lacks.
    """
    if count < FEWEST:
        raise PairError(f"{count} pairs a group are too few to learn from; ask for at least {FEWEST}, better 100.")
    held = sum(path.stat().st_size for path in Path(folder).glob("*.safetensors"))
    whole, free = disk_use(axis, count, shape), shutil.disk_usage(folder).free
    if (needed := whole - held) > free:
        raise PairError(
            f"{folder}: {count} pairs per group need {needed / 2**20:.0f} MB more, and the disk has "
            f"{free / 2**20:.0f} MB free. Free some space, or ask for fewer pairs."
        )
    return whole, free
