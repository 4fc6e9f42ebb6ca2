"""Folders that ship with RS-Corrector, and where what can be made again is kept.

The shipped ones are beside the package in the repository, and inside it once installed by pip.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_INSTALLED = (_PACKAGE / "weights").is_dir()
_SHIPPED = _PACKAGE if _INSTALLED else _PACKAGE.parent

AXES = _SHIPPED / "axes"
WEIGHTS = _SHIPPED / "weights"
HOME = Path() if _INSTALLED else _SHIPPED  # where commands write if no folder is named


def cache_folder(name: str) -> Path | None:
    """A folder of the user for what can be made again, where the system has them; None if there is no home folder."""
    variable, *default = {
        "win32": ("LOCALAPPDATA", "AppData", "Local"),
        "darwin": ("", "Library", "Caches"),
    }.get(sys.platform, ("XDG_CACHE_HOME", ".cache"))
    folder = os.environ.get(variable, "")
    if os.path.isabs(folder):  # the XDG specification says to ignore others
        return Path(folder, "rs-corrector", name)
    with suppress(RuntimeError):
        return Path.home().joinpath(*default, "rs-corrector", name)
    return None
