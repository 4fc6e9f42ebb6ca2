"""The tables of the documentation, from the JSON files: each figure is of the group or setting where it is worst.

tables.json says what they are, {key: Table}. A table's key is that of its marker in a page.
"""

import json
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from statistics import fmean

from benchmarks.records import ROOT, Estimate, Part, Row, load

HEADINGS = {
    "cfg": "CFG",
    "half_width": "half-width",
    "calibrated": "calibrated on it",
    "correct": "corrected",
    "text": "text known",
}


@dataclass(frozen=True)
class Column:
    """One figure of a table.

    Args:
        figure: its name in the rows.
        best: the value from which the worst is farthest.
        form: of the number, as in format().
        interval: show the interval too.
        mean: of all rows, with the least and the most, in place of the worst.
    """

    figure: str
    best: float = 0.0
    form: str = ".2f"
    interval: bool = False
    mean: bool = False

    def estimates(self, rows: list[Row]) -> list[Estimate]:
        return [row.figures[self.figure] for row in rows if self.figure in row.figures]

    def worst(self, rows: list[Row]) -> Estimate | None:
        return max(self.estimates(rows), key=lambda estimate: abs(estimate.value - self.best), default=None)

    def text(self, rows: list[Row]) -> str:
        estimate = self.worst(rows)
        values = sorted(each.value for each in self.estimates(rows))
        if self.mean and len(values) > 1:
            mean, least, most = (_text(value, self.form) for value in (fmean(values), values[0], values[-1]))
            return f"{mean} ({least} to {most})"
        return "-" if estimate is None else shown(estimate, self.form, self.interval)


@dataclass(frozen=True)
class Table:
    """Rows of a part, a line for each combination of the settings in `by`.

    Args:
        source: BENCHMARK/PART, some joined by "+", or BENCHMARK/* for all its parts.
        by: names of settings; several joined by "+" share a column.
        columns: {heading: arguments of its Column}.
        where: {setting: values that it may have}.
        upright: a line for each figure, with its n, in place of a column; a column for each combination in `by`.
        origin: a line under it says commit, seeds and n.
    """

    source: str
    by: list[str]
    columns: dict[str, dict]
    where: dict[str, list] = field(default_factory=dict)
    upright: bool = False
    origin: bool = True

    def markdown(self) -> str:
        parts, columns = parts_of(self.source), [Column(**column) for column in self.columns.values()]
        lines: dict[tuple[str, ...], list[Row]] = {}
        for row in [row for part in parts for row in part.rows]:
            if all(row.settings.get(name) in values for name, values in self.where.items()):
                first = tuple(", ".join(setting(row, name) for name in names.split("+")) for names in self.by)
                lines.setdefault(first, []).append(row)
        names = [", ".join(HEADINGS.get(name, name) for name in names.split("+")) for names in self.by]
        table = [[*names, *self.columns], ["---"] * (len(names) + len(columns))]
        table += [[*first, *(column.text(rows) for column in columns)] for first, rows in lines.items()]
        if self.upright:
            combinations = [f"{', '.join(names)}: {', '.join(first)}" for first in lines]
            table = [["figure", *combinations, "n"], ["---"] * (len(lines) + 2)]
            for heading, column in zip(self.columns, columns, strict=True):
                estimate = column.worst(list(chain(*lines.values())))
                texts = map(column.text, lines.values())
                table.append([heading, *texts, str(estimate.n) if estimate else "-"])
        text = "\n".join(f"| {' | '.join(line)} |" for line in table)
        if not self.origin:
            return text
        counted = {column.figure for column in columns if column.interval or column is columns[0]}
        return text + origin(parts, list(chain(*lines.values())), counted)


def setting(row: Row, name: str) -> str:
    value = row.settings.get(name, "")
    if name in ("calibrated", "inpainting", "bfloat16", "text", "another listed"):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def shown(estimate: Estimate, form: str = ".2f", interval: bool = False) -> str:
    """The text of an Estimate."""
    text = _text(estimate.value, form)
    if interval and estimate.low is not None and estimate.high is not None:
        text += f" [{_text(estimate.low, form)}, {_text(estimate.high, form)}]"
    return text


def _text(value: float, form: str) -> str:
    """A number without a negative zero."""
    text = f"{value:{form}}"
    return text if text.strip("+-0.%") else text.replace("-", "")


def parts_of(source: str) -> list[Part]:
    """The parts that BENCHMARK/PART+PART or BENCHMARK/* names. Raises KeyError if there is no such part."""
    benchmark, _, names = source.partition("/")
    parts = _loaded(benchmark)
    chosen = list(parts) if names == "*" else names.split("+")
    if missing := [name for name in chosen if name not in parts]:
        raise KeyError(f"benchmarks/figures/{benchmark}.json has no part {missing[0]!r}; it has: {', '.join(parts)}")
    return [parts[name] for name in chosen]


@cache
def _loaded(benchmark: str) -> dict[str, Part]:
    return load(benchmark)


def origin(parts: list[Part], rows: list[Row], figures: set[str]) -> str:
    """The line under a table: commit, seeds, and n of some figures."""
    recorded = ", ".join(dict.fromkeys(part.recorded_in for part in parts if part.recorded_in))
    commits = ", ".join(dict.fromkeys(part.commit for part in parts if part.commit))
    commit = f"Commit {commits}" if commits else f"Commit not recorded (figures came with {recorded})"
    seeds = sorted({row.seed for row in rows if row.seed is not None})
    counts = [estimate.n for row in rows for name, estimate in row.figures.items() if name in figures]
    return f"\n\n<sub>{commit}; seeds from {', '.join(map(str, seeds[:3])) or 'none'}; n = {span(counts)}.</sub>"


def span(counts: list[int]) -> str:
    """The least and the most, or one number if they are the same."""
    return " to ".join(map(str, dict.fromkeys((min(counts), max(counts)))))


@cache
def tables() -> dict[str, Table]:
    content = json.loads((ROOT / "benchmarks" / "tables.json").read_text(encoding="utf-8"))
    return {key: Table(**table) for key, table in content.items()}


def table(key: str) -> str:
    """The markdown of a table. Raises KeyError if there is none of that key."""
    if key not in tables():
        raise KeyError(f"benchmarks/tables.json has no table {key!r}; it has: {', '.join(tables())}")
    return tables()[key].markdown()
