"""Which preference files there are: the user's own folder first, then the shipped `weights/`.

On the page, in the API and in infotext a preference is a name, or a name with its hash: "villages [9e2684dfc8]".
With a hash, no other file passes for it.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ..corrector.correction.update import CorrectionError
from ..corrector.preference.file import PreferenceFileError, file_hash, load_preferences

SHIPPED = Path(__file__).resolve().parents[1] / "weights"
FOLDER = "rs_corrector"  # inside the host's folder of models
NONE = "None"
SUFFIX = ".safetensors"
WITH_HASH = re.compile(r"(.*?)\s*\[([0-9a-f]{10})\]")


def split_hash(text):
    """'name [hash]' or 'name' -> (name without ".safetensors", hash or "")."""
    text = str(text or "").strip()
    found = WITH_HASH.fullmatch(text)
    name, digest = found.groups() if found else (text, "")
    return name.removesuffix(SUFFIX), digest


@dataclass(frozen=True)
class Loaded:
    """What a file holds: one preference, or several of as many axes; its hash is the one that is shown and written."""

    hash: str
    preferences: tuple


def together(files):
    """The preferences of several `Loaded`, all of which act. Raises CorrectionError where two are of one axis."""
    found = {preference.hash: preference for loaded in files for preference in loaded.preferences}
    axes = {}
    for preference in found.values():
        if other := axes.get(preference.axis.id):
            raise CorrectionError(
                f'"{other.name}" and "{preference.name}" both correct {preference.axis.title}, which would be '
                "corrected twice; pick only one file that holds it."
            )
        axes[preference.axis.id] = preference
    return list(found.values())


class Shelf:
    """The preference files of some folders; a name that comes twice is the first folder's."""

    def __init__(self, *folders):
        self.folders = [Path(folder) for folder in folders]

    def files(self):
        """{name: path}; names have no suffix, and a / where the file lies in a folder of its own."""
        found = {}
        for folder in self.folders:
            for path in sorted(folder.rglob(f"*{SUFFIX}")) if folder != SHIPPED else sorted(folder.glob(f"*{SUFFIX}")):
                found.setdefault(path.relative_to(folder).with_suffix("").as_posix(), path)
        return found

    def names(self):
        return list(self.files())

    def path(self, name):
        """Only what `files` lists: a name from an infotext never leads out of the folders."""
        path = self.files().get(name)
        if path is None:
            raise PreferenceFileError(
                f'The preference "{name}" is not in models/{FOLDER}; put its file there and press Refresh, or pick '
                "another."
            )
        return path

    def load(self, text):
        """'name' or 'name [hash]' -> Loaded. Raises PreferenceFileError in a sentence."""
        name, digest = split_hash(text)
        path = self.path(name)
        stat = path.stat()
        loaded = _loaded(path, stat.st_mtime_ns, stat.st_size)
        if digest and loaded.hash != digest:
            raise PreferenceFileError(
                f'The preference "{name}" is another file than the one that was asked for: its hash is '
                f"{loaded.hash}, and {digest} was asked for. Put the right file into models/{FOLDER}, or pick "
                f'"{name}" in the list to use this one.'
            )
        return loaded

    def pasted(self, text):
        """What the page shows for an infotext's preference -> (value, what is wrong with it or "")."""
        name, digest = split_hash(text)
        try:
            path = self.path(name)
        except PreferenceFileError as error:
            return str(text), str(error)
        found = file_hash(path)
        if digest and digest != found:
            return str(text), (
                f'The picture was made with another file named "{name}" (hash {digest}; the one here has {found}). '
                "Put that file back, or pick the name in the list to use the one that is here."
            )
        return name, ""


@lru_cache(maxsize=4)
def _loaded(path, changed, size):
    return Loaded(file_hash(path), tuple(load_preferences(path)))
