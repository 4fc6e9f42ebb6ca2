"""Report tables -> one picture and one self-contained HTML page, before beside after.

`rows`: dicts {figure, group, plain, corrected, low, high, n, seed, unit, model}; low and high are the 95 % interval of
the corrected figure. `grids`: dicts {title, before, after, captions} with uint8 pictures [N, H, W, 3], same seeds.
"""

import base64
import html
import io

import numpy as np

from ..audit.statistics import rate

PLAIN, CORRECTED = "#b0562e", "#2f6f8f"  # also apart in greyscale and for the colour-blind
GAP = 6  # pixels between the pictures of a grid


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


def montage_of(grid):
    """Pictures before in one line above pictures after in another -> uint8 [2 H + gap, N W + gaps, 3]."""
    lines = []
    for pictures in (grid["before"], grid["after"]):
        padded = np.pad(pictures, ((0, 0), (0, GAP), (0, GAP), (0, 0)), constant_values=255)
        lines.append(np.concatenate(list(padded), axis=1))
    return np.concatenate(lines)[:-GAP, :-GAP]


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
            f'<img src="{_data_uri(picture)}" alt="{when}: {words}" width="{picture.shape[1]}" '
            f'height="{picture.shape[0]}">'
            for when, picture in (("Before", before), ("After", after))
        )
        figures.append(f"<figure>{pair}<figcaption>{words}</figcaption></figure>")
    heading = f'<h2>{html.escape(grid["title"])}</h2><p class="soft">Before above after.</p>'
    return f'<section>{heading}<div class="grid">{"".join(figures)}</div></section>\n'


def _data_uri(picture):
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


STYLE = f"""
:root {{ color-scheme: light dark; --ink: #1d2125; --paper: #fbfaf8; --line: #d9d5cf; --soft: #5b6168;
  --plain: {PLAIN}; --corrected: {CORRECTED}; }}
@media (prefers-color-scheme: dark) {{ :root {{ --ink: #e8e6e3; --paper: #17191c; --line: #3a3e44; --soft: #a3a9b0;
  --plain: #e08a5f; --corrected: #6fb3d2; }} }}
* {{ box-sizing: border-box; }}
body {{ margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }}
main {{ max-width: 1280px; margin: 0 auto; padding: 1.25rem clamp(.75rem, 3vw, 2.5rem) 3rem; }}
h1 {{ font-size: clamp(1.3rem, 3.5vw, 2rem); line-height: 1.2; margin: .5rem 0; }}
h2 {{ font-size: 1.2rem; margin: 2rem 0 0; }}
.soft {{ margin: 0 0 .6rem; color: var(--soft); font-size: .9rem; }}
.said {{ max-width: 70ch; }}
table {{ border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }}
b.plain {{ color: var(--plain); }} b.corrected {{ color: var(--corrected); }}
th, td {{ text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); white-space: nowrap; }}
svg {{ display: block; width: 160px; height: 20px; }}
svg .axis {{ stroke: var(--line); fill: none; }} svg .interval {{ stroke: var(--corrected); stroke-width: 3; }}
svg .plain {{ fill: var(--paper); stroke: var(--plain); stroke-width: 2.5; }}
svg .corrected {{ fill: var(--corrected); }}
@media (max-width: 700px) {{
  table, tbody {{ display: block; }} thead {{ display: none; }}
  tr {{ display: flex; flex-wrap: wrap; gap: 0 1rem; padding: .4rem 0; border-bottom: 1px solid var(--line); }}
  td {{ border: 0; padding: .1rem 0; }}
  td:nth-child(n + 3)::before {{ content: attr(data-name) " "; color: var(--soft); }}
  td:nth-child(-n + 2) {{ font-weight: 600; flex: 1 0 40%; }} td:last-child::before {{ content: none; }}
}}
.grid {{ display: grid; gap: 1rem .75rem; grid-template-columns: repeat(auto-fill, minmax(min(128px, 42%), 1fr)); }}
figure {{ margin: 0; }}
figure img {{ display: block; width: 100%; height: auto; border-radius: 4px; margin-bottom: 4px; }}
figcaption {{ font-size: .78rem; line-height: 1.35; color: var(--soft); overflow-wrap: anywhere; }}
"""
