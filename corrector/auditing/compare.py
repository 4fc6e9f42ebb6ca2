"""Compare the reports of several checkpoints, which must have the same axis and settings."""

import html

from ..files.whole_files import write_whole
from ..pages.drawing import document, table_html
from .plan import AuditError
from .report_file import interval, rate_rows, title_of
from .statistics import gap


def compare(reports, names):
    """Compare stereotype rates with those of the first report, by group and judge, plain and corrected.

    Args:
        reports: two or more reports, dicts.
        names: what messages call them.

    Returns:
        Rows {group, judge, corrected, rates, gaps}: of each report the figure's row, and its difference to the first
        report's as (value, low, high), which takes pictures for independent (Newcombe 1998).

    Raises:
        AuditError: if there are fewer than two reports, or their axis or settings differ, or no judge is in all.
    """
    first = reports[0]
    if len(reports) < 2:
        raise AuditError("Only one report was given; a comparison needs two or more.")
    for other, name in zip(reports[1:], names[1:], strict=True):
        if other["axis_hash"] != first["axis_hash"]:
            raise AuditError(
                f'{name} is of the axis "{title_of(other)}" ({other["axis_hash"]}) and {names[0]} of '
                f'"{title_of(first)}" ({first["axis_hash"]}); only reports of the same axis can be compared.'
            )
        for key, value in first["settings"].items():
            if other["settings"][key] != value:
                raise AuditError(
                    f'{name} has another "{key}" ({other["settings"][key]}) than {names[0]} ({value}); audit both with '
                    "the same settings."
                )
    rates = [{(group, judge): both for group, judge, *both in rate_rows(report)} for report in reports]
    shared = [key for key in rates[0] if all(key in other for other in rates)]
    if not shared:
        raise AuditError("These reports have no judge in common; audit both with the same kind of judge.")
    rows = []
    for group, judge in shared:
        for corrected in (False, True) if first["settings"]["strengths"] else (False,):
            found = [each[group, judge][corrected] for each in rates]
            counts = [(round(row["value"] * row["n"]), row["n"]) for row in found]
            gaps = [gap(count, counts[0]) for count in counts]
            rows.append({"group": group, "judge": judge, "corrected": corrected, "rates": found, "gaps": gaps})
    return rows


def compare_table(rows, names):
    """Rows of `compare` -> a text table."""
    lines = ["Stereotype rates with 95 % Wilson intervals, and the difference to the first report."]
    for row in rows:
        lines.append(f"{row['group']}, {row['judge']} judge, {'corrected' if row['corrected'] else 'plain'}")
        lines += [f"  {name:<32}{cell}" for name, cell in zip(names, _cells(row), strict=True)]
    return "\n".join(lines)


def _cells(row):
    """The rate of each report as text, with the difference to the first report after a semicolon."""
    gaps = ["", *(f"; {value:+.3f} [{low:+.3f}, {high:+.3f}]" for value, low, high in row["gaps"][1:])]
    return [f"{interval(rate)}, n = {rate['n']}{gap}" for rate, gap in zip(row["rates"], gaps, strict=True)]


def write_compare_page(rows, names, title, path):
    """Rows of `compare` -> a self-contained HTML page.

    Args:
        rows: as `compare` returns them.
        names: one column heading per report.
        title: of the axis.
        path: the HTML file; it is replaced atomically.
    """
    lines = []
    for row in rows:
        cells = row["group"], row["judge"], "corrected" if row["corrected"] else "plain", *_cells(row)
        lines.append([html.escape(cell) for cell in cells])
    body = f"""<h1>{html.escape(title)}, side by side</h1>
<p class="said">Stereotype rates with 95 % Wilson intervals; after a semicolon the difference to the first model.</p>
{table_html(("Group", "Judge", "Pictures", *names), lines, kind="compared")}"""
    write_whole(path, document(f"audit: {title}, side by side", body))
