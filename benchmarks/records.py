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


def measured_here(rows: list[Row]) -> Part:
    """Rows with the commit, the versions and the processor of this machine."""
    installed = {distribution.name: distribution.version for distribution in metadata.distributions()}
    versions = {package: installed[package] for package in PACKAGES if package in installed}
    return Part(rows, current_commit(), None, {"python": platform.python_version(), **versions}, processor())


def current_commit() -> str | None:
    """The short hash of HEAD, with "+" if tracked files differ from it; None outside a repository."""
    command = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.check_output(command, cwd=ROOT, text=True, stderr=subprocess.DEVNULL).strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {cores()} cores"


def load(name: str, folder: Path = FIGURES) -> dict[str, Part]:
    """The parts of a benchmark, or {} if it was not run yet."""
    path, parts = folder / f"{name}.json", {}
    for title, content in json.loads(path.read_text(encoding="utf-8")).items() if path.is_file() else ():
        rows = [
            Row(row["settings"], {figure: Estimate(*values) for figure, values in row["figures"].items()}, row["seed"])
            for row in content["rows"]
        ]
        parts[title] = Part(rows, *(content[name] for name in ("commit", "recorded_in", "versions", "cpu")))
    return parts


def save(name: str, parts: dict[str, Part], folder: Path = FIGURES) -> None:
    """Write NAME.json, a line a row; an Estimate is [value, low, high, n], `n` of a part its fewest and most."""
    blocks = []
    for title, part in parts.items():
        counts = [estimate.n for row in part.rows for estimate in row.figures.values()]
        seeds = sorted({row.seed for row in part.rows if row.seed is not None})
        head = {**asdict(part), "seeds": seeds, "n": [min(counts), max(counts)]}
        rows = ",\n  ".join(json.dumps(row) for row in head.pop("rows"))
        blocks.append(f'{json.dumps(title)}: {json.dumps(head)[:-1]}, "rows": [\n  {rows}\n]}}')
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text("{\n" + ",\n".join(blocks) + "\n}\n", encoding="utf-8")
