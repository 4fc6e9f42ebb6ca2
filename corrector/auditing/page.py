"""What an audit writes: its report, and the page, chart and pictures that show it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files.whole_files import why_not, write_whole
from ..pages.charts import png
from ..pages.templates import interval, write_page
from .blind import write_blind_page
from .chart import draw_chart, draw_grid
from .plan import AuditError, AuditStore
from .report import build
from .report_file import Report, figure, places_of, rate_rows, title_of, twins_of, write_report

if TYPE_CHECKING:
    from .run import Audit

PAGE_PICTURES = 400  # on a page; the report lists the others
MOST_WORSE = 40
CHANGED = (  # figures of the side effects of a correction
    "group kept", "asked for stereotype: obeyed", "asked for counter: obeyed", "skin L* drift", "skin ITA drift",
    "skin hue drift", "variety, over plain", "distance to other groups, over plain", "structure kept (SSIM)",
    "sharpness, over plain", "denoising error, over plain",
    "denoising error, over the model's own counter pictures",
)  # fmt: skip


def publish(run: Audit, store: AuditStore, folder: Path) -> tuple[dict[str, Any], list[bytes]]:
    """Write report.json, audit.html, chart.png, grid.png and, if corrected, the blind page -> (report, thumbnails).

    Args:
        run: the Audit.
        store: what its `run` returned.
        folder: where to write.

    Raises AuditError if pictures are missing or a file cannot be written.
    """
    records, features, thumbnails = store.collect(run.plan, run.judges[0].name)
    report = build(run, records, features)
    try:
        write_report(report, folder / "report.json")
        write_audit_page(report, thumbnails, folder / "audit.html")
        write_whole(folder / "chart.png", png(draw_chart(report)))
        write_whole(folder / "grid.png", png(draw_grid(report, thumbnails)))
        if run.preferences:
            write_blind_page(report, thumbnails, folder)
    except OSError as error:
        raise AuditError(
            f"{folder}: the report cannot be written: {why_not(error)}. The pictures of the audit are kept."
        ) from None
    return report, thumbnails


def write_audit_page(report: Report, thumbnails: Sequence[bytes], path: Path) -> None:
    """Write the page of a report.

    Args:
        report: as `build` makes it; with "people" if raters have answered the blind page.
        thumbnails: JPEG bytes, one per entry of report["pictures"].
        path: the HTML file; it is replaced atomically.
    """
    strengths, groups = report["settings"]["strengths"], report["axis"]["groups"]
    worse = report["worse"][:MOST_WORSE]
    per_figure = 2 if strengths else 1
    most = max(1, (PAGE_PICTURES - per_figure * len(worse)) // per_figure // len(groups))
    pictures = []
    for group in groups:
        places = places_of(report, group, strengths[0] if strengths else 0.0)
        pictures.append((group, _captioned(report, thumbnails, places[:most]), len(places)))
    write_page(
        path,
        "audit.html",
        report=report,
        title=title_of(report),
        chart=png(draw_chart(report)),
        narrow_chart=png(draw_chart(report, narrow=True)),
        rates=rate_rows(report),
        changed=_changed(report) if strengths else (),
        sweep=_sweep(report),
        figures=[_cells(row) for row in report["figures"]],
        worse=_captioned(report, thumbnails, [e["picture"] for e in worse], ["; ".join(e["why"]) for e in worse]),
        corrected_count=sum([picture["strength"]] == strengths[:1] for picture in report["pictures"]),
        pictures=pictures,
    )


def _changed(report):
    """Side effects of the correction at the first CFG scale and strength -> [(figure, unit, a row per group)]."""
    strength, lines = report["settings"]["strengths"][0], []
    judges = [None, *(judge["name"] for judge in report["judges"])]  # None: figures without a judge
    for name in CHANGED:
        by_judge = ([figure(report, name, group, strength, j) for j in judges] for group in report["axis"]["groups"])
        rows = [next(filter(None, candidates), None) for candidates in by_judge]
        units = [row["unit"] for row in rows if row]
        lines += [(name, units[0], rows)] if units else []
    return lines


def _sweep(report):
    """Stereotype rates by the first judge at every CFG scale and strength -> (columns, rows), or None if not swept."""
    cfgs, strengths = report["settings"]["cfgs"], report["settings"]["strengths"]
    if len(cfgs) == 1 and len(strengths) < 2:
        return None
    judge = report["judges"][0]["name"]
    rates = {
        (row["group"], row["cfg"], row["strength"]): interval(row)
        for row in report["figures"]
        if row["figure"] == "stereotype rate" and row["judge"] == judge
    }
    columns = ["Group", "CFG", "Plain", *(f"Strength {strength:g}" for strength in strengths)]
    return columns, [
        [group, f"{cfg:g}", *(rates.get((group, cfg, strength), "") for strength in (0.0, *strengths))]
        for group in report["axis"]["groups"]
        for cfg in cfgs
    ]


def _cells(row):
    """A figure as cells of the table of all figures."""
    numbers = ["" if row[key] is None else f"{row[key]:.4g}" for key in ("cfg", "strength", "value")]
    between = "" if row["low"] is None else f"{row['low']:.3f} to {row['high']:.3f}"
    return row["figure"], row["group"] or "", row["judge"] or "", *numbers, between, row["n"], row["unit"]


def _captioned(report, thumbnails, places, reasons=None):
    """Pictures with prompt, seed and reasons -> [({name: JPEG}, caption)]; corrected ones with their plain twins."""
    figures, twins = [], twins_of(report)
    for place, reason in zip(places, reasons or [""] * len(places), strict=True):
        picture, twin = report["pictures"][place], thumbnails[twins[place]]
        caption = f"{picture['prompt']} (seed {picture['seed']})" + (f". {reason}" if reason else "")
        figures.append(
            ({"Before": twin, "After": thumbnails[place]} if picture["strength"] else {"Plain": twin}, caption)
        )
    return figures
