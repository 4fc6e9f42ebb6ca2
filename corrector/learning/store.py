"""A folder of sampled pictures that an interrupted run resumes from."""

import hashlib
import json
import math
import shutil
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save

from ..latent_space.errors import RSCorrectorError
from ..latent_space.whole_files import FULL, why_not, write_whole

FEWEST = 2  # pairs a group: a single one says nothing about others


class PairError(RSCorrectorError):
    """Pairs that cannot be made or used; the message says what was found, what was expected and what to do."""


class PairStore:
    """A folder with one file (shard) per batch of pictures, written atomically.

    Raises PairError if the folder cannot be written or has other settings, so that pairs of two checkpoints never mix.

    Args:
        folder: path; created if it does not exist.
        settings: dict, JSON-serialisable, of all that the pictures depend on: checkpoint, axis, seeds, CFG, size.
    """

    what = "pairs"  # the name of the pictures in messages

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

    def starts(self, prefix):
        """The numbers of the first pictures of all shards `PREFIX-NUMBER`, ascending."""
        return sorted(int(path.stem.rpartition("-")[2]) for path in self.folder.glob(f"{prefix}-*.safetensors"))

    def load(self, name):
        """The shard {latents, lightness}, or None if it was not finished."""
        path = self.folder / f"{name}.safetensors"
        try:
            return load_file(path) if path.exists() else None
        except SafetensorError:  # possible if the disk has lost data
            path.unlink()
            return None

    def save(self, name, latents, lightness):
        shard = {"latents": latents.contiguous(), "lightness": lightness.contiguous()}
        self._write(self.folder / f"{name}.safetensors", save(shard))

    def forget(self, names):
        """Delete shards."""
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
    """Ten hex digits for settings, which are JSON-serialisable."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:10]


def store_name(axis, *settings):
    """Name of a folder for the pairs of an axis at these settings, which are JSON-serialisable."""
    return f"{axis.id}-{digest([axis.hash_of_pictures, *settings])}"


def disk_use(axis, count, shape):
    """Bytes of `count` pairs per group; `shape` is that of one latent."""
    return len(axis.groups) * 2 * count * (4 * math.prod(shape) + 4)


def check_room(folder, axis, count, shape):
    """Raises PairError if `count` pairs are too few, or the disk has no room for those that the folder lacks."""
    if count < FEWEST:
        raise PairError(f"{count} pairs a group are too few to learn from; ask for at least {FEWEST}, better 100.")
    held = sum(path.stat().st_size for path in Path(folder).glob("*.safetensors"))
    needed, free = disk_use(axis, count, shape) - held, shutil.disk_usage(folder).free
    if needed > free:
        raise PairError(
            f"{folder}: {count} pairs per group need {needed / 2**20:.0f} MB more, and the disk has "
            f"{free / 2**20:.0f} MB free. Free some space, or ask for fewer pairs."
        )
