"""The folders that ship with RS-Corrector: beside the package in the repository, inside it once installed by pip."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_INSTALLED = (_PACKAGE / "weights").is_dir()
_SHIPPED = _PACKAGE if _INSTALLED else _PACKAGE.parent

AXES = _SHIPPED / "axes"
WEIGHTS = _SHIPPED / "weights"
HOME = Path() if _INSTALLED else _SHIPPED  # where commands write if no folder is named
