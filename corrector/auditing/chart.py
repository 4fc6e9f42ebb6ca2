"""The report of an audit as a chart, a grid of pictures, and a text table."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence

import numpy as np

from ..files.picture_files import open_picture
from ..pages.charts import GAP, draw_histograms, draw_rates, drawn, montage_of
from .report_file import Report, places_of, rate_rows, title_of

GRID_COLUMNS = 10  # most pictures in a line of the grid
MOST_TONES = 6  # groups whose skin tones are drawn


def draw_chart(report: Report, narrow: bool = False) -> np.ndarray:
    """Chart of rates with intervals, and of skin lightness by group -> uint8 [H, W, 3].

    `narrow`: stack all panels, for a screen 380 pixels wide.
    """
    rows, groups = rate_rows(report), report["axis"]["groups"][:MOST_TONES]
    heights = [0.9 + (0.45 if narrow else 0.32) * len(rows), 1.7 * len(groups) if narrow else 2.4]

    def fill(figure):
        above, below = figure.subfigures(2, 1, height_ratios=heights)
        title = f"{title_of(report)}: {report['axis']['stereotype']['description']}"
        # matplotlib's own wrapping would measure it as a formula.
        above.suptitle(textwrap.fill(title, 48 if narrow else 100), fontsize=9 if narrow else 11)
        _rates(above.subplots(), rows, narrow)
        panels = below.subplots(*((len(groups), 1) if narrow else (1, len(groups))), squeeze=False)
        for panel, group in zip(panels.flat, groups, strict=True):
            _tones(panel, report, group)

    return drawn((3.8 if narrow else 10, sum(heights) + 0.8), fill)


def _rates(panel, rows, narrow):
    between, space = ("\n", "\n") if narrow else (", ", "; ")
    names = [f"{group[:28]}{between}{judge} judge (n = {plain['n']})" for group, judge, plain, _ in rows]
    draw_rates(panel, names, [pair for _, _, *pair in rows])
    marks = f"{space}round: plain, diamond: corrected" if rows[0][3] else ""
    panel.set_xlabel(f"stereotype rate with 95 % intervals{marks}", fontsize=8)


def _tones(panel, report, group):
    """Histograms of skin lightness, plain and corrected."""
    strengths = 0.0, *report["settings"]["strengths"][:1]
    tones = {
        name: [report["pictures"][place]["L"] for place in places_of(report, group, strength)]
        for name, strength in zip(("plain", "corrected"), strengths, strict=False)
    }
    draw_histograms(panel, tones, bins=15)
    panel.set_title(group[:28], fontsize=8)
    panel.set_xlabel("skin, CIE L*", fontsize=8)
    panel.tick_params(labelsize=7)
    panel.locator_params(nbins=4)


def draw_grid(report: Report, thumbnails: Sequence[bytes]) -> np.ndarray:
    """The first neutral pictures of each group, plain above corrected -> uint8 [H, W, 3].

    `thumbnails`: JPEG bytes, one per entry of report["pictures"].
    """
    lines = []
    for group in report["axis"]["groups"]:
        before, *after = (
            np.stack([np.asarray(open_picture(io.BytesIO(thumbnails[place]))) for place in places[:GRID_COLUMNS]])
            for places in (places_of(report, group, s) for s in (0.0, *report["settings"]["strengths"][:1]))
        )
        montage = montage_of(before, *(after or [before]))
        lines.append(montage if after else montage[: before.shape[1]])
    width = max(line.shape[1] for line in lines)
    padded = [np.pad(line, ((0, 3 * GAP), (0, width - line.shape[1]), (0, 0)), constant_values=255) for line in lines]
    return np.concatenate(padded)[: -3 * GAP]


def report_table(report: Report) -> str:
    """The report as text: findings, then all figures."""
    lines = [f"{title_of(report)}: measured on {report['validated_on']}."]
    lines += [f"{f['level'].upper():<8} {f['name']}: {f['words']}" for f in report["findings"]]
    lines.append("")
    lines.append(f"{'figure':<52}{'group':<20}{'judge':<8}{'strength':>8}{'value':>9}  {'95 % interval':<18}{'n':>5}")
    for row in report["figures"]:
        interval = "" if row["low"] is None else f"[{row['low']:.3f}, {row['high']:.3f}]"
        value = "-" if row["value"] is None else f"{row['value']:.3f}"
        where = f"{row['group'] or '':<20}{row['judge'] or '':<8}{row['strength'] or 0:>8g}"
        lines.append(f"{row['figure'][:51]:<52}{where}{value:>9}  {interval:<18}{row['n']:>5}")
    return "\n".join(lines)
