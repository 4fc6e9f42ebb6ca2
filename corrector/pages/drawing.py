"""Shared by reports and pages: colours, charts of rates, grids of pictures, and the parts of HTML pages."""

import base64
import html
import io
from pathlib import Path
from string import Template

import numpy as np

from ..files.picture_files import open_picture

PLAIN, CORRECTED, FAILURE = "#b0562e", "#2f6f8f", "#a3262a"  # distinct in greyscale and for colour-blind readers
PAGE = Path(__file__).with_name("page.html")
TEXT_IS_TEXT = {"text.parse_math": False, "text.usetex": False}  # for rc_context: a "$" in a name is no formula
GAP = 6  # pixels between the pictures of a grid


def montage_of(grid):
    """{before, after}: uint8 [N, H, W, 3] -> one picture, a row of each: uint8 [2 H + gap, N W + gaps, 3]."""
    lines = []
    for pictures in (grid["before"], grid["after"]):
        padded = np.pad(pictures, ((0, 0), (0, GAP), (0, GAP), (0, 0)), constant_values=255)
        lines.append(np.concatenate(list(padded), axis=1))
    return np.concatenate(lines)[:-GAP, :-GAP]


def draw_rates(panel, names, rates):
    """Draw rates with their intervals from 0 to 1, plain ones as circles and corrected ones as diamonds.

    Args:
        panel: matplotlib Axes.
        names: one per line, from top to bottom.
        rates: (plain, corrected) per line, each {"value", "low", "high"} or None.
    """
    places = np.arange(len(names))[::-1]
    for place, both in zip(places, rates, strict=True):
        for row, colour, shift, marker in zip(both, (PLAIN, CORRECTED), (0.15, -0.15), "oD", strict=True):
            if row:
                panel.plot([row["low"], row["high"]], [place + shift] * 2, color=colour, linewidth=2)
                panel.plot(row["value"], place + shift, marker, color=colour, markersize=6)
    panel.set_yticks(places, names, fontsize=8)
    panel.set_ylim(-0.7, len(names) - 0.3)
    panel.set_xlim(-0.02, 1.02)
    panel.tick_params(axis="x", labelsize=8)
    panel.grid(axis="x", alpha=0.3)
    panel.spines[["top", "right", "left"]].set_visible(False)


def png(picture, software=None):
    """uint8 [H, W, 3] -> PNG bytes, which may name the software that made them."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    file, about = io.BytesIO(), PngInfo()
    if software:
        about.add_text("Software", software)
    Image.fromarray(picture).save(file, "PNG", optimize=True, pnginfo=about)
    return file.getvalue()


def data_uri(data):
    """PNG or JPEG bytes -> a data: URI."""
    kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def figure_html(pictures, caption):
    """Pictures above each other with a caption. `pictures`: {what each is: PNG or JPEG bytes}; `caption` is text."""
    images, caption = "", html.escape(caption)
    for what, data in pictures.items():
        width, height = open_picture(io.BytesIO(data)).size
        images += (f'<img loading="lazy" decoding="async" src="{data_uri(data)}" '
                   f'alt="{what}: {caption}" width="{width}" height="{height}">')  # fmt: skip
    return f"<figure>{images}<figcaption>{caption}</figcaption></figure>"


def bar_html(plain, corrected=None):
    """An SVG chart of one or two rates {"value", "low", "high"}, on a line from 0 to 1."""
    label = f"plain {plain['value']:.2f}" + (f", corrected {corrected['value']:.2f}" if corrected else "")
    shapes = ""
    for row, name, y in ((plain, "plain", 6), (corrected, "corrected", 14)):
        if row:
            low, high, x = (8 + 144 * row[key] for key in ("low", "high", "value"))
            mark = f'<circle class="plain" cx="{x:.1f}" cy="{y}" r="4"/>' if name == "plain" else (
                f'<path class="corrected" d="M{x:.1f} {y - 5}l5 5-5 5-5-5z"/>')  # fmt: skip
            shapes += f'<path class="of-{name}" d="M{low:.1f} {y}H{high:.1f}"/>{mark}'
    line = '<path class="axis" d="M8 10H152M8 5v10M80 7v6M152 5v10"/>'
    return f'<svg viewBox="0 0 160 20" role="img" aria-label="{label}">{line}{shapes}</svg>'


def table_html(columns, rows, caption="", kind=""):
    """An HTML table. Each cell carries its column's name, which narrow screens show before it.

    Args:
        columns: headings, as text.
        rows: lists of cells, as HTML.
        caption: text for screen readers.
        kind: a class of page.html; "by-group" makes the first cell of each row its heading.
    """
    columns = [html.escape(name) for name in columns]
    heads, lines = "".join(f'<th scope="col">{name}</th>' for name in columns), ""
    for row in rows:
        cells = [f'<td data-name="{name}">{cell}</td>' for name, cell in zip(columns, row, strict=True)]
        if kind == "by-group":
            cells[0] = f'<th scope="row">{row[0]}</th>'
        lines += f"<tr>{''.join(cells)}</tr>"
    caption, kind = caption and f"<caption class='hidden'>{html.escape(caption)}</caption>", kind and f" class='{kind}'"
    return f"<table{kind}>{caption}<thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table>"


def document(title, body):
    """A self-contained page from page.html. `title` is text, `body` is HTML."""
    colours = {"plain": PLAIN, "corrected": CORRECTED, "failure": FAILURE}
    return Template(PAGE.read_text(encoding="utf-8")).substitute(colours, title=html.escape(title), body=body)
