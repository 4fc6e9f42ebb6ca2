"""What the user can select: preference files, and axes about which the loaded model is asked ("any checkpoint").

Of both, those in the user's folder come before the shipped ones. The page, the API and infotexts give them by name, or
by name with the hash that the file must have: "villages [9e2684dfc8]".
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ..corrector.axis.axis import SCHEMA, load_axis
from ..corrector.correction.update import CorrectionError
from ..corrector.files.errors import RSCorrectorError
from ..corrector.files.folders import WEIGHTS
from ..corrector.preference.file import PreferenceFileError, file_hash, load_preferences
from ..corrector.preference.preference import Preference
from ..corrector.preference.text import Text

FOLDER = "rs_corrector"  # in the host's folder of models
AXES_FOLDER = "axes"  # in that
ANY = " (any checkpoint)"  # after the name of an axis
NONE = "None"
SUFFIX = ".safetensors"
HASH = re.compile(r"[0-9a-f]{10}\]")


def split_hash(text: object) -> tuple[str, str]:
    """'name [hash]' or 'name' -> (name without ".safetensors", hash or "")."""
    text = str(text or "").strip()
    name, _, digest = text.rpartition("[")
    if not HASH.fullmatch(digest):
        name, digest = text, ""
    return name.rstrip().removesuffix(SUFFIX), digest.removesuffix("]")


@dataclass(frozen=True)
class Loaded:
    """The preferences in a file, each for another axis, and the file's hash. That of an axis has no gate yet."""

    hash: str
    preferences: tuple[Preference, ...]


def together(files: Iterable[Loaded]) -> list[Preference]:
    """The preferences of several files. Raises CorrectionError if two are for the same axis."""
    by_axis: dict[str, Preference] = {}
    for preference in (preference for loaded in files for preference in loaded.preferences):
        other = by_axis.setdefault(preference.axis.id, preference)
        if other.hash != preference.hash:
            raise CorrectionError(
                f'"{other.name}" and "{preference.name}" both correct {preference.axis.title}, which would be '
                "corrected twice; select only one file that has it."
            )
    return list(by_axis.values())


class Shelf:
    """The preference files and axes in some folders; if two have the same name, the first folder's is used."""

    def __init__(self, *folders: Path | str, axes: Iterable[Path | str] = ()):
        self.folders = [Path(folder) for folder in folders]
        self.axes = [Path(folder) for folder in axes]

    def files(self) -> dict[str, Path]:
        """Paths by name; names are relative to their folder, and in place of the suffix those of axes have ANY."""
        paths: dict[str, Path] = {}
        for folder in self.folders:
            # Subfolders of the shipped weights hold models.
            for path in sorted(folder.glob(f"*{SUFFIX}") if folder == WEIGHTS else folder.rglob(f"*{SUFFIX}")):
                paths.setdefault(path.relative_to(folder).with_suffix("").as_posix(), path)
        for path in [
            path for folder in self.axes for path in sorted(folder.glob("*.json")) if path.name != SCHEMA.name
        ]:
            paths.setdefault(path.stem + ANY, path)
        return paths

    def names(self) -> list[str]:
        return list(self.files())

    def load(self, text: object) -> Loaded:
        """'name' or 'name [hash]' -> Loaded. Raises PreferenceFileError, or AxisError.

        Only names in `files` are loaded: a name from an infotext cannot lead out of the folders.
        """
        name, digest = split_hash(text)
        folder = f"models/{FOLDER}/{AXES_FOLDER}" if name.endswith(ANY) else f"models/{FOLDER}"
        path = self.files().get(name)
        if path is None:
            raise PreferenceFileError(
                f'The preference "{name}" is not in {folder}; put its file there and press Refresh, or select another.'
            )
        stat = path.stat()
        loaded = _loaded(path, stat.st_mtime_ns, stat.st_size)
        if digest and loaded.hash != digest:
            raise PreferenceFileError(
                f'The preference "{name}" is another file than the requested one: its hash is {loaded.hash} instead of '
                f'{digest}. Put the right file into {folder}, or select "{name}" in the list to use this one.'
            )
        return loaded

    def pasted(self, text: object) -> tuple[str, str]:
        """The preference in an infotext -> (value for the page, warning or "")."""
        try:
            self.load(text)
        except RSCorrectorError as error:
            return str(text), str(error)
        return split_hash(text)[0], ""


@lru_cache(maxsize=4)
def _loaded(path: Path, changed: int, size: int) -> Loaded:
    if path.suffix == SUFFIX:
        return Loaded(file_hash(path), tuple(load_preferences(path)))
    axis = load_axis(path)
    return Loaded(axis.hash, (Preference(axis, "any", Text(), name=axis.title, hash=axis.hash),))
