"""Compare the reports of several checkpoints, which must have the same axis and settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..latents.statistics import gap
from ..pages.templates import interval, write_page
from .plan import AuditError
from .report_file import Report, rate_rows, title_of


def compare(reports: Sequence[Report], names: Sequence[str]) -> list[dict[str, Any]]:
    """Compare stereotype rates with those of the first report, by group and judge, plain and corrected.

    Args:
        reports: two or more reports.
        names: what messages call them.

    Returns:
        Rows {group, judge, pictures, rates, gaps}: of each report the figure's row, and its difference to the first
        report's as (value, low, high), which takes pictures for independent (Newcombe 1998).

    Raises:
        AuditError: if there are fewer than two reports, or their axis or settings differ, or no judge is in all.
    """
    first = reports[0]
    if len(reports) < 2:
        raise AuditError("Only one report was given; a comparison needs two or more.")
    for report, name in zip(reports[1:], names[1:], strict=True):
        if report["axis_hash"] != first["axis_hash"]:
            raise AuditError(
                f'{name} is of the axis "{title_of(report)}" ({report["axis_hash"]}) and {names[0]} of '
                f'"{title_of(first)}" ({first["axis_hash"]}); only reports of the same axis can be compared.'
            )
        for key, value in first["settings"].items():
            if report["settings"][key] != value:
                raise AuditError(
                    f'{name} has another "{key}" ({report["settings"][key]}) than {names[0]} ({value}); audit both with '
                    "the same settings."
                )
    rates = [{(group, judge): pair for group, judge, *pair in rate_rows(report)} for report in reports]
    shared = [key for key in rates[0] if all(key in rates_of_one for rates_of_one in rates)]
    if not shared:
        raise AuditError("These reports have no judge in common; audit both with the same kind of judge.")
    rows = []
    for group, judge in shared:
        for index, pictures in enumerate(("plain", "corrected") if first["settings"]["strengths"] else ("plain",)):
            measured = [rates_of_one[group, judge][index] for rates_of_one in rates]
            counts = [(round(row["value"] * row["n"]), row["n"]) for row in measured]
            gaps = [gap(count, counts[0]) for count in counts]
            rows.append({"group": group, "judge": judge, "pictures": pictures, "rates": measured, "gaps": gaps})
    return rows


def compare_table(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    """Rows of `compare` -> a text table."""
    lines = ["Stereotype rates with 95 % Wilson intervals, and the difference to the first report."]
    for row in rows:
        lines.append(f"{row['group']}, {row['judge']} judge, {row['pictures']}")
        lines += [f"  {name:<32}{cell}" for name, cell in zip(names, _cells(row), strict=True)]
    return "\n".join(lines)


def write_compare_page(rows: Sequence[Mapping[str, Any]], names: Sequence[str], title: str, path: Path) -> None:
    """Write rows of `compare` as a page; `names` head its columns, and `title` is that of the axis."""
    columns = "Group", "Judge", "Pictures", *names
    lines = [(row["group"], row["judge"], row["pictures"], *_cells(row)) for row in rows]
    write_page(path, "compare.html", title=title, columns=columns, rows=lines)


def _cells(row):
    """The rate of each report as text, with the difference to the first report after a semicolon."""
    gaps = ["", *(f"; {value:+.3f} [{low:+.3f}, {high:+.3f}]" for value, low, high in row["gaps"][1:])]
    return [f"{interval(rate)}, n = {rate['n']}{gap}" for rate, gap in zip(row["rates"], gaps, strict=True)]
