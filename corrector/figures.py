"""Report tables -> one picture and one self-contained HTML page, before beside after.

`rows`: dicts {figure, group, plain, corrected, low, high, n, seed, unit, model}; low and high are the 95 % interval of
the corrected figure. `grids`: dicts {title, before, after, captions} with uint8 pictures [N, H, W, 3], same seeds.
"""

import base64
import html
import io
import textwrap

import numpy as np
import torch
from einops import rearrange

from .audit import rate
from .latent_space import add_noise
from .learning import flatten, split
from .pairs import SIDES, match_tones

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

    charted, montages = shares(rows), [_montage(grid) for grid in grids]
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


def _montage(grid):
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


MOST_COLUMNS = 12  # pairs that a report shows, of all groups
SIGMAS = (0.1, 0.3, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 14.0)
DRAWS = 8  # of noise, for each held-out picture and sigma


def held_out_curves(preference, pairs, seed=0):
    """What the log-odds make of held-out pairs -> accuracy [G, sigmas], mean confidence [G, sigmas].

    Log-odds are calibrated where the two are the same: of what is read with 80 % confidence, 80 % is right.
    """
    _, held = split(pairs, max(1, pairs.latents.shape[2] // 10))
    latents, side, group, _ = flatten(held)
    generator = torch.Generator().manual_seed(seed)
    right, sure = torch.zeros(2, len(pairs.latents), len(SIGMAS))
    for column, value in enumerate(SIGMAS):
        sigma = torch.full((len(latents),), value)
        for _ in range(DRAWS):
            x = add_noise(latents, torch.randn(latents.shape, generator=generator), sigma)
            parts = zip(x.split(100), sigma.split(100), group.split(100), strict=True)
            log_odds = torch.cat([preference.source(*part).log_odds.detach() for part in parts])
            right[:, column].index_add_(0, group, ((log_odds > 0) == side.bool()).float())
            sure[:, column].index_add_(0, group, log_odds.abs().sigmoid())
    each = DRAWS * 2 * held.latents.shape[2]
    return right / each, sure / each


def draw_report(preference, pairs, path=None, pictures=None):
    """What learning gave, as one picture -> uint8 [H, W, 3], written to `path` where there is one.

    Curves of held-out pairs, skin tones before and after matching, and `pictures` of some pairs [G, 2, n, 3, H, W] in
    -1..1. Without matplotlib, which is not among a host's own packages, the picture holds the figures as text alone.
    """
    try:
        drawn = _report(preference, pairs, pictures)
    except ImportError:
        drawn = _written_report(preference)
    if path:
        from PIL import Image

        Image.fromarray(drawn).save(path)
    return drawn


def _report(preference, pairs, pictures):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    montage = None if pictures is None else _pair_montage(pictures)
    heights = [3.6, 0.4 if montage is None else 11.2 * montage.shape[0] / montage.shape[1] + 0.8]
    figure = Figure(figsize=(12, 1.2 + sum(heights)), dpi=90, layout="constrained", facecolor="white")
    canvas = FigureCanvasAgg(figure)
    above, below = figure.subfigures(2, 1, height_ratios=[1.2 + heights[0], heights[1]])
    above.suptitle("\n".join(_said(preference)), fontsize=9)
    curves, before, after = above.subplots(1, 3)
    _curves(curves, preference, pairs)
    _tones(before, after, pairs)
    if montage is not None:
        panel = below.subplots()
        panel.imshow(montage, interpolation="nearest")
        middle = (montage.shape[0] - GAP) / 4
        panel.set_yticks([middle, montage.shape[0] - middle], SIDES)
        panel.set_xticks([])
        panel.tick_params(length=0)
        panel.spines[:].set_visible(False)
        panel.set_title("pairs from the same seeds, group after group", fontsize=9, loc="left")
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def _said(preference):
    """What a report says in words, a line each."""
    training, axis = preference.training, preference.axis
    lines = [
        f"{preference.name}: {axis.title}. {training.get('pairs_a_side_and_group', '?')} pairs a group of "
        f"{', '.join(axis.groups)}; seed {training.get('seed', '?')}.",
        f"Measured on the model that it was learned on ({preference.space} latents), and on nothing else.",
    ]
    known = {"push_r2": "push R2", "judge_cross_fitted_accuracy": "judge", "sight": "sees up to sigma"}
    figures = [f"{name} {training[key]:.2f}" for key, name in known.items() if key in training]
    gate = training.get("gate_held_out_accuracy", {})
    figures += [f"gate on {name} {value:.2f}" for name, value in gate.items() if name != "n"]
    lines += [f"Held out: {', '.join(figures)}."] if figures else []
    return lines + ([f"WEAK: {training['weak']}."] if training.get("weak") else [])


def _curves(panel, preference, pairs):
    accuracy, confidence = held_out_curves(preference, pairs)
    colours = [f"C{index % 10}" for index in range(len(accuracy))]
    for group, right, sure, colour in zip(preference.axis.groups, accuracy, confidence, colours, strict=True):
        panel.plot(SIGMAS, right, color=colour, label=textwrap.shorten(group, 24))
        panel.plot(SIGMAS, sure, color=colour, linestyle=":")
    sight = preference.training.get("sight", 0.0)
    if sight > 0:
        panel.axvline(sight, color="grey", linewidth=1, linestyle="--")
    panel.set_xscale("log")
    panel.set_ylim(0.35, 1.02)
    panel.set_xlabel("sigma", fontsize=8)
    panel.set_title("held-out accuracy, and confidence (dotted)", fontsize=9)
    panel.legend(fontsize=7, loc="lower left", ncols=2 if len(accuracy) > 6 else 1)
    panel.tick_params(labelsize=7)
    panel.grid(alpha=0.3)


def _tones(before, after, pairs):
    """Lightness of both sides, less the mean of the group, for all pairs and for those that match."""
    own, _ = split(pairs, max(1, pairs.latents.shape[2] // 10))
    tones = own.lightness - own.lightness.mean(dim=(1, 2), keepdim=True)  # [G, 2, N]
    kept = match_tones(own)
    matched = [torch.cat([tone[side][sides[side]] for tone, sides in zip(tones, kept, strict=True)]) for side in (0, 1)]
    edges = torch.linspace(float(tones.min()), float(tones.max()) + 1e-3, 25).numpy()
    for panel, sides, when in ((before, tones.transpose(0, 1).flatten(1), "before"), (after, matched, "after")):
        for side, name, colour in zip(sides, SIDES, (PLAIN, CORRECTED), strict=True):
            panel.hist(side.numpy(), bins=edges, alpha=0.6, color=colour, label=f"{name}, {len(side)}")
            if len(side):
                panel.axvline(float(side.mean()), color=colour, linewidth=1)
        panel.set_title(f"skin lightness {when} matching", fontsize=9)
        panel.set_xlabel("CIE L* less the group's mean", fontsize=8)
        panel.legend(fontsize=7)
        panel.tick_params(labelsize=7)


def _pair_montage(pictures):
    """[G, 2, n, 3, H, W] in -1..1 -> one line of each side, group after group, uint8."""
    each = max(1, MOST_COLUMNS // len(pictures))
    lines = rearrange(pictures[:, :, :each], "g s n c h w -> s (g n) h w c")[:, :MOST_COLUMNS]
    lines = ((lines.float().nan_to_num().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu().numpy()
    return _montage({"before": lines[0], "after": lines[1]})


def _written_report(preference):
    """The words of a report alone, for a host without matplotlib."""
    from PIL import Image, ImageDraw

    lines = ["The charts need the package matplotlib, which is not installed here; the preference does not.", ""]
    for line in _said(preference):
        lines += textwrap.wrap(line, 110)
    image = Image.new("RGB", (760, 24 + 18 * len(lines)), "white")
    pen = ImageDraw.Draw(image)
    for index, line in enumerate(lines):
        pen.text((12, 12 + 18 * index), line.encode("latin-1", "replace").decode("latin-1"), fill="black")
    return np.array(image)


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
