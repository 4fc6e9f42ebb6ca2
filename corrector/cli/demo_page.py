"""The demo's figures as one picture and one self-contained HTML page, before beside after.

`rows`: dicts {figure, group, cfg, plain, corrected, low, high, n, seed, unit, model}, where low and high are the 95 %
interval of the corrected share. `grids`: dicts {title, before, after, captions} with uint8 pictures [N, H, W, 3] of the
same seeds.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..latents.statistics import rate, row_of
from ..pages.charts import draw_montage, draw_rates, montage_of, png
from ..pages.templates import write_page

SCOPE = (
    "Measured on the miniature, a small model with planted stereotypes of invented peoples that ships with "
    "RS-Corrector. Nothing here was measured on Stable Diffusion."
)


def rates_of(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The plain and the corrected rate of a row, each {value, low, high} with its Wilson interval."""
    plain = rate(round(row["plain"] * row["n"]), row["n"])
    return [row_of(plain), {"value": row["corrected"], "low": row["low"], "high": row["high"]}]


def draw_demo(rows: Sequence[Mapping[str, Any]], grids: Sequence[Mapping[str, Any]], path: Path) -> None:
    """One PNG: the grids two in a row, pictures before above those after, then every rate with its interval.

    Four grids and their rates fit on a screen 1366 pixels wide and 768 high.
    """
    from matplotlib.figure import Figure

    montages, lines = [montage_of(grid["before"], grid["after"]) for grid in grids], -(-len(grids) // 2)
    height = 6.4 * min(0.34, max(montage.shape[0] / montage.shape[1] for montage in montages)) + 0.3
    parts = [lines * height + 0.4, 0.55 + 0.19 * len(rows)]
    figure = Figure(figsize=(13.2, sum(parts)), dpi=100, layout="constrained", facecolor="white")
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=parts)[:, 0]
    above.suptitle(f"The same seeds without and with correction. {SCOPE}", fontsize=8.5)
    panels = above.subplots(lines, 2, squeeze=False).flat
    for panel, grid, montage in zip(panels, grids, montages, strict=False):
        draw_montage(panel, montage, ("before", "after"), interpolation="lanczos")
        panel.tick_params(labelsize=8)
        panel.set_title(grid["title"], fontsize=9, fontweight="bold", loc="left", pad=3)
    for panel in panels:  # an odd number of grids leaves one empty
        panel.set_axis_off()
    panel = below.subplots()
    names = [f"{row['group']}, {row['figure']}, CFG {row['cfg']:g}" for row in rows]
    draw_rates(panel, names, [rates_of(row) for row in rows])
    for place, row in enumerate(reversed(rows)):
        text = f"{row['plain']:.2f} -> {row['corrected']:.2f}  [{row['low']:.2f}, {row['high']:.2f}]"
        panel.text(1.03, place, f"{text}   n = {row['n']}, seed {row['seed']}", va="center", fontsize=8)
    panel.set_xlabel("share of pictures: plain (round) and corrected (diamond), with 95 % Wilson intervals", fontsize=8)
    figure.savefig(path, bbox_inches="tight")


def write_demo_page(rows: Sequence[Mapping[str, Any]], grids: Sequence[Mapping[str, Any]], path: Path) -> None:
    """One HTML page that needs no other file and no network, for narrow and wide screens, light and dark."""
    captioned = [
        (
            grid["title"],
            [
                ({"Before": png(before), "After": png(after)}, caption)
                for before, after, caption in zip(grid["before"], grid["after"], grid["captions"], strict=True)
            ],
        )
        for grid in grids
    ]
    write_page(path, "demo.html", scope=SCOPE, rates=[(row, rates_of(row)) for row in rows], grids=captioned)
