"""The demo's figures as one picture and one self-contained HTML page, before beside after.

`rows`: dicts {figure, group, plain, corrected, low, high, n, seed, unit, model}; low and high are the 95 % interval of
the corrected figure. `grids`: dicts {title, before, after, captions} with uint8 pictures [N, H, W, 3], same seeds.
"""

import html

import numpy as np

from ..latent_space.drawing import CORRECTED, GAP, PLAIN, STYLE, data_uri, montage_of
from ..latent_space.statistics import rate


def said_of(rows):
    """On which model the rows were measured, plainly, in one sentence."""
    models = sorted({row["model"] for row in rows})
    if models == ["miniature"]:
        return (
            "Measured on the miniature, a small model with planted stereotypes of invented peoples that ships with "
            "RS-Corrector. Nothing here was measured on Stable Diffusion."
        )
    return f"Measured on: {', '.join(models)}."


def shares(rows):
    """The rows that are shares of pictures -> [(row, (low, high) of the plain share)]; Wilson intervals from SciPy."""
    return [(row, rate(round(row["plain"] * row["n"]), row["n"])[1:]) for row in rows if row["unit"] == "share"]


def draw_demo(rows, grids, path_png):
    """One picture: for each grid the pictures before above those after, then every share with its interval."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    charted, montages = shares(rows), [montage_of(grid) for grid in grids]
    heights = [11.2 * montage.shape[0] / montage.shape[1] + 0.4 for montage in montages]
    parts = [sum(heights) + 0.6, 0.9 + 0.28 * len(charted)]
    figure = Figure(figsize=(12, sum(parts)), dpi=110, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    above, below = figure.subfigures(2, 1, height_ratios=parts)
    above.suptitle(f"The same seeds without and with correction\n{said_of(rows)}", fontsize=10)
    panels = above.subplots(len(grids), 1, height_ratios=heights, squeeze=False)[:, 0]
    for panel, grid, montage in zip(panels, grids, montages, strict=True):
        height = grid["before"].shape[1]
        panel.imshow(montage, interpolation="lanczos")
        panel.set_title(grid["title"], fontsize=11, fontweight="bold", loc="left")
        panel.set_yticks([height / 2, height * 1.5 + GAP], ["before", "after"])
        panel.tick_params(length=0)
        panel.set_xticks([])
        panel.spines[:].set_visible(False)
    _chart(below.subplots(), charted)
    figure.savefig(path_png)


def _chart(panel, charted):
    places = np.arange(len(charted))[::-1]
    for place, (row, plain) in zip(places, charted, strict=True):
        for value, (low, high), colour, shift, marker in (
            (row["plain"], plain, PLAIN, 0.14, "o"),
            (row["corrected"], (row["low"], row["high"]), CORRECTED, -0.14, "D"),
        ):
            panel.plot([low, high], [place + shift] * 2, color=colour, linewidth=2, solid_capstyle="round")
            panel.plot(value, place + shift, marker, color=colour, markersize=6)
        text = f"{row['plain']:.2f} -> {row['corrected']:.2f}  [{row['low']:.2f}, {row['high']:.2f}]"
        text += f"   n = {row['n']}, seed {row['seed']}"
        panel.text(1.03, place, text, va="center", fontsize=8.5)
    panel.set_yticks(places, [f"{row['group']}, {row['figure']}" for row, _ in charted], fontsize=9)
    panel.set_ylim(-0.7, max(len(charted) - 0.3, 0.3))
    panel.set_xlim(-0.02, 1.02)
    panel.grid(axis="x", alpha=0.3)
    panel.spines[["top", "right", "left"]].set_visible(False)
    panel.set_xlabel("share of pictures: plain (round) and corrected (diamond), with 95 % Wilson intervals", fontsize=9)


COLUMNS = ("Figure", "Group", "Plain", "Corrected", "95 % interval", "n", "Seed", "Chart")


def write_page(rows, grids, path_html):
    """One HTML page that needs no other file and no network, for narrow and wide screens, light and dark."""
    lines = "\n".join(_line(row) for row in rows)
    heads = "".join(f'<th scope="col">{name}</th>' for name in COLUMNS)
    page = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>RS-Corrector: before and after</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>RS-Corrector: the same seeds, without and with correction</h1>
<p class="said">{html.escape(said_of(rows))}</p>
<p class="soft">The interval is that of the corrected figure. Charts of shares run from 0 to 1:
<b class="plain">&#9679; plain</b>, <b class="corrected">&#9670; corrected</b>.</p>
<table>
<thead><tr>{heads}</tr></thead>
<tbody>
{lines}
</tbody>
</table>
{"".join(_section(grid) for grid in grids)}
</main>
</body>
</html>
"""
    path_html.write_text(page, encoding="utf-8")


def _line(row):
    shown = [html.escape(str(row["figure"])), html.escape(str(row["group"]))]
    shown += [f"{row['plain']:.3f}", f"{row['corrected']:.3f}", f"{row['low']:.3f} to {row['high']:.3f}"]
    shown += [str(row["n"]), str(row["seed"])]
    chart = _bar(row) if row["unit"] == "share" else html.escape(row["unit"])
    cells = zip(COLUMNS, [*shown, chart], strict=True)
    return "<tr>" + "".join(f'<td data-name="{name}">{cell}</td>' for name, cell in cells) + "</tr>"


def _bar(row):
    """A share as a small chart: plain and corrected with its interval, on a line from 0 to 1."""
    x = {name: 8 + 144 * row[name] for name in ("plain", "corrected", "low", "high")}
    return (
        f'<svg viewBox="0 0 160 20" role="img" aria-label="from {row["plain"]:.2f} to {row["corrected"]:.2f}">'
        '<path class="axis" d="M8 10H152M8 6v8M80 7v6M152 6v8"/>'
        f'<path class="interval" d="M{x["low"]:.1f} 10H{x["high"]:.1f}"/>'
        f'<circle class="plain" cx="{x["plain"]:.1f}" cy="10" r="4.5"/>'
        f'<path class="corrected" d="M{x["corrected"]:.1f} 4l6 6-6 6-6-6z"/></svg>'
    )


def _section(grid):
    figures = []
    for before, after, caption in zip(grid["before"], grid["after"], grid["captions"], strict=True):
        words = html.escape(caption)
        pair = "".join(
            f'<img src="{data_uri(picture)}" alt="{when}: {words}" width="{picture.shape[1]}" '
            f'height="{picture.shape[0]}">'
            for when, picture in (("Before", before), ("After", after))
        )
        figures.append(f"<figure>{pair}<figcaption>{words}</figcaption></figure>")
    heading = f'<h2>{html.escape(grid["title"])}</h2><p class="soft">Before above after.</p>'
    return f'<section>{heading}<div class="grid">{"".join(figures)}</div></section>\n'
