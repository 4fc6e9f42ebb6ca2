"""The demo's figures as one picture and one self-contained HTML page, before beside after.

`rows`: dicts {figure, group, cfg, plain, corrected, low, high, n, seed, unit, model}, where low and high are the 95 %
interval of the corrected share. `grids`: dicts {title, before, after, captions} with uint8 pictures [N, H, W, 3] of the
same seeds.
"""

import html

from ..files.whole_files import write_whole
from ..latents.statistics import rate
from ..pages.drawing import GAP, bar_html, document, draw_rates, figure_html, montage_of, png, table_html

SAID = (
    "Measured on the miniature, a small model with planted stereotypes of invented peoples that ships with "
    "RS-Corrector. Nothing here was measured on Stable Diffusion."
)
COLUMNS = ("Figure", "Group", "CFG", "Plain", "Corrected", "95 % interval", "n", "Seed", "Chart")


def rates_of(row):
    """The plain and the corrected rate of a row, each {value, low, high} with its Wilson interval."""
    plain = rate(round(row["plain"] * row["n"]), row["n"])
    corrected = row["corrected"], row["low"], row["high"]
    return [dict(zip(("value", "low", "high"), measured, strict=True)) for measured in (plain, corrected)]


def draw_demo(rows, grids, path_png):
    """One picture: the grids two in a row, pictures before above those after, then every rate with its interval.

    Four grids and their rates fit on a screen 1366 pixels wide and 768 high.
    """
    from matplotlib.figure import Figure

    montages, lines = [montage_of(grid) for grid in grids], -(-len(grids) // 2)
    height = 6.4 * min(0.34, max(montage.shape[0] / montage.shape[1] for montage in montages)) + 0.3
    parts = [lines * height + 0.4, 0.55 + 0.19 * len(rows)]
    figure = Figure(figsize=(13.2, sum(parts)), dpi=100, layout="constrained", facecolor="white")
    above, below = figure.subfigures(2, 1, height_ratios=parts)
    above.suptitle(f"The same seeds without and with correction. {SAID}", fontsize=8.5)
    panels = above.subplots(lines, 2, squeeze=False).flat
    for panel, grid, montage in zip(panels, grids, montages, strict=False):
        side = grid["before"].shape[1]
        panel.imshow(montage, interpolation="lanczos")
        panel.set_title(grid["title"], fontsize=9, fontweight="bold", loc="left", pad=3)
        panel.set_yticks([side / 2, side * 1.5 + GAP], ["before", "after"], fontsize=8)
        panel.tick_params(length=0)
        panel.set_xticks([])
        panel.spines[:].set_visible(False)
    for panel in panels:  # an odd number of grids leaves one empty
        panel.set_axis_off()
    panel = below.subplots()
    draw_rates(
        panel, [f"{row['group']}, {row['figure']}, CFG {row['cfg']:g}" for row in rows], [rates_of(row) for row in rows]
    )
    for place, row in enumerate(reversed(rows)):
        text = f"{row['plain']:.2f} -> {row['corrected']:.2f}  [{row['low']:.2f}, {row['high']:.2f}]"
        panel.text(1.03, place, f"{text}   n = {row['n']}, seed {row['seed']}", va="center", fontsize=8)
    panel.set_xlabel("share of pictures: plain (round) and corrected (diamond), with 95 % Wilson intervals", fontsize=8)
    figure.savefig(path_png, bbox_inches="tight")


def write_page(rows, grids, path_html):
    """One HTML page that needs no other file and no network, for narrow and wide screens, light and dark."""
    lines, sections = [], ""
    for row in rows:
        cells = [row["figure"], row["group"], f"{row['cfg']:g}", f"{row['plain']:.3f}", f"{row['corrected']:.3f}"]
        cells += [f"{row['low']:.3f} to {row['high']:.3f}", row["n"], row["seed"]]
        lines.append([*(html.escape(str(cell)) for cell in cells), bar_html(*rates_of(row))])
    for grid in grids:
        each = zip(grid["before"], grid["after"], grid["captions"], strict=True)
        figures = [figure_html({"Before": png(before), "After": png(after)}, words) for before, after, words in each]
        heading = f'<h2>{html.escape(grid["title"])}</h2><p class="soft">Before above after.</p>'
        sections += f'<section>{heading}<div class="grid">{"".join(figures)}</div></section>\n'
    body = f"""<h1>RS-Corrector: the same seeds, without and with correction</h1>
<p class="said">{SAID}</p>
<p class="soft">The interval is that of the corrected figure. Charts run from 0 to 1:
<b class="plain">&#9679; plain</b>, <b class="corrected">&#9670; corrected</b>.</p>
{table_html(COLUMNS, lines)}
{sections}"""
    write_whole(path_html, document("demo: before and after", body))
