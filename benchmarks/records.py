"""What a benchmark measured, in one JSON file: its parts, each with its rows and where they come from."""

import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "benchmarks" / "figures"
PACKAGES = ("torch", "diffusers", "transformers", "numpy")  # whose versions may change a figure
MEASURED_CODE = ("benchmarks", "corrector", "nodes", "sd_webui", "weights", "axes")


class Estimate(NamedTuple):
    """A figure with its 95 % interval, or without one, and the number of pictures, prompts or runs that it is of."""

    value: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Row:
    """Figures of one setting.

    Args:
        settings: what was measured, such as {"group": "Orvane", "cfg": 7.0}.
        figures: {name: Estimate}.
        seed: the first one; None if it is not recorded or nothing is random.
    """

    settings: dict[str, str | float | bool]
    figures: dict[str, Estimate]
    seed: int | None = None


@dataclass(frozen=True)
class Part:
    """Rows that were measured in one go.

    Args:
        rows: list of Row.
        commit: of the code that was measured; None if it is not recorded.
        recorded_in: the commit that brought the figures, where `commit` is None.
        versions: {package: version}, and of Python; None if they are not recorded.
        cpu: name and number of cores, or None.
    """

    rows: list[Row]
    commit: str | None = None
    recorded_in: str | None = None
    versions: dict[str, str] | None = None
    cpu: str | None = None

    @property
    def seeds(self) -> list[int]:
        """The first seeds of all rows, without those of other rows' ranges."""
        return sorted({row.seed for row in self.rows if row.seed is not None})

    @property
    def n(self) -> list[int]:
        """The fewest and the most that a figure is of."""
        counts = [estimate.n for row in self.rows for estimate in row.figures.values()]
        return [min(counts), max(counts)]


def measured_here(rows: list[Row]) -> Part:
    """Rows with the commit, the versions and the processor of this machine."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return Part(rows, current_commit(), None, versions, processor())


def current_commit() -> str | None:
    """The short hash of HEAD, with "+" if the code differs from it; None outside a repository."""

    def git(*arguments: str) -> str:
        return subprocess.check_output(["git", *arguments], cwd=ROOT, text=True, stderr=subprocess.DEVNULL).strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", *MEASURED_CODE)
        return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{names[0] if names else platform.processor()}, {cores} cores"


def load(name: str, folder: Path = FIGURES) -> dict[str, Part]:
    """The parts of a benchmark, or {} if it was not run yet."""
    path = folder / f"{name}.json"
    if not path.is_file():
        return {}
    parts = {}
    for part, content in json.loads(path.read_text(encoding="utf-8")).items():
        rows = [
            Row(row["settings"], {name: Estimate(*values) for name, values in row["figures"].items()}, row["seed"])
            for row in content["rows"]
        ]
        parts[part] = Part(rows, *(content[field] for field in ("commit", "recorded_in", "versions", "cpu")))
    return parts


def save(name: str, parts: dict[str, Part], folder: Path = FIGURES) -> None:
    """Write NAME.json, a line a row; an Estimate is [value, low, high, n]."""
    blocks = []
    for title, part in parts.items():
        head = {**asdict(part), "seeds": part.seeds, "n": part.n}
        rows = ",\n  ".join(json.dumps(row) for row in head.pop("rows"))
        blocks.append(f'{json.dumps(title)}: {json.dumps(head)[:-1]}, "rows": [\n  {rows}\n]}}')
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text("{\n" + ",\n".join(blocks) + "\n}\n", encoding="utf-8")
