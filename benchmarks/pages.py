"""Writes the measured figures into the documentation, between markers that stay in its pages.

A table, one of benchmarks/tables.py:

    <!-- figures: cells/worst -->
    <!-- end -->

A number in a sentence, of the rows that have the settings after "where", in the format after "as":

    <!-- figure: max corrected of cells/samplers where sampler=Euler, cfg=7 as .3f -->0.020<!-- end -->

It is the "max" or "min", the "largest" absolute value, "all" from lowest to highest, the "interval" of the largest, or
"n", how many pictures they are of.
"""

import re
from pathlib import Path

from benchmarks.charts import CHARTS, svg
from benchmarks.records import ROOT, Estimate
from benchmarks.tables import parts_of, shown, span, table

PICTURES = ROOT / "docs" / "pictures"
END = "<!-- end -->"
BLOCK = re.compile(rf"(<!-- figures: (\S+) -->\n).*?({END})", re.DOTALL)
NUMBER = re.compile(
    r"(<!-- figure: (max|min|largest|all|interval|n) (.+?) of ([\w-]+/[\w*+-]+)(?: where (.+?))?(?: as (\S+))? -->)"
    rf".*?({END})"
)


def number(statistic: str, figure: str, source: str, where: str | None, form: str | None) -> str:
    """The text of a number in a sentence. Raises KeyError if no row has it."""
    conditions = dict(setting.split("=") for setting in where.split(", ")) if where else {}
    estimates = [
        row.figures[figure]
        for part in parts_of(source)
        for row in part.rows
        if figure in row.figures and all(_has(row.settings.get(name), value) for name, value in conditions.items())
    ]
    if not estimates:
        raise KeyError(f"{source} has no figure {figure!r} where {where}")
    if statistic == "n":
        return span([estimate.n for estimate in estimates])
    form = form or ".2f"
    lowest, highest = min(estimates, key=_value), max(estimates, key=_value)
    largest = max(estimates, key=lambda estimate: abs(estimate.value))
    if statistic == "all":
        ends = dict.fromkeys((shown(lowest, form), shown(highest, form)))
        return " to ".join(ends)
    chosen = {"max": highest, "min": lowest, "largest": largest, "interval": largest}[statistic]
    value = chosen._replace(value=abs(chosen.value)) if statistic == "largest" else chosen
    return shown(value, form, statistic == "interval")


def _has(setting: object, value: str) -> bool:
    return f"{setting:g}" == value if isinstance(setting, float) else str(setting or "") == value


def _value(estimate: Estimate) -> float:
    return estimate.value


def rendered(text: str) -> str:
    """A page with what stands between its markers made anew. Raises KeyError if a marker names what is not there."""
    text = BLOCK.sub(lambda match: f"{match[1]}{table(match[2])}\n{match[3]}", text)
    return NUMBER.sub(lambda match: match[1] + number(*match.groups()[1:6]) + match[7], text)


def documents() -> list[Path]:
    return [ROOT / "README.md", ROOT / "benchmarks" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def write_pages() -> None:
    for page in documents():
        before = page.read_text(encoding="utf-8")
        if (after := rendered(before)) != before:
            page.write_text(after, encoding="utf-8")
            print(f"{page.relative_to(ROOT)} is written")
    for name in CHARTS:
        (PICTURES / f"{name}.svg").write_text(svg(name), encoding="utf-8")
