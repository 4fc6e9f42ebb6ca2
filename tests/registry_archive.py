"""The archive that the Comfy registry hands to ComfyUI's users, packed by the rules of `comfy node pack`."""

import subprocess
import zipfile
from pathlib import Path

import pathspec
import pytest

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    tomllib = None

ROOT = Path(__file__).resolve().parents[1]


def archived_files() -> list[str]:
    """What git tracks and .comfyignore does not name, and all that [tool.comfy] includes."""
    if tomllib is None or not (ROOT / ".git").exists():
        pytest.skip("needs Python 3.11 and a git checkout")
    command = ["git", "-c", "safe.directory=*", "ls-files"]  # a container's user need not own the checkout
    listing = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    ignored = pathspec.GitIgnoreSpec.from_lines((ROOT / ".comfyignore").read_text(encoding="utf-8").splitlines())
    files = {name for name in listing.stdout.splitlines() if not ignored.match_file(name)}
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["comfy"]
    for folder in settings["includes"]:
        files |= {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*") if path.is_file()}
    return sorted(name for name in files if (ROOT / name).is_file())


def pack(path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in archived_files():
            archive.write(ROOT / name, name)
    return path
