"""Parts of HTML pages: the whole document, and tables that stay readable on narrow screens."""

import html

from ..latent_space.drawing import STYLE


def document(title, body, style=""):
    """A self-contained page. `title` is text, `body` is HTML, `style` is CSS after the common STYLE."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>RS-Corrector {html.escape(title)}</title>
<link rel="icon" href="data:,">
<style>{STYLE}{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def table(columns, rows, caption="", by_group=False):
    """An HTML table. Each cell carries its column's name, which narrow screens show before it.

    Args:
        columns: headings, as text.
        rows: lists of cells, as HTML.
        caption: text for screen readers.
        by_group: whether the first cell of each row is its heading.
    """
    columns = [html.escape(name) for name in columns]
    heads, lines = "".join(f'<th scope="col">{name}</th>' for name in columns), ""
    for row in rows:
        cells = [f'<td data-name="{name}">{cell}</td>' for name, cell in zip(columns, row, strict=True)]
        if by_group:
            cells[0] = f'<th scope="row">{row[0]}</th>'
        lines += f"<tr>{''.join(cells)}</tr>"
    caption, kind = caption and f"<caption class='hidden'>{html.escape(caption)}</caption>", " class='by-group'"
    return f"<table{kind * by_group}>{caption}<thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table>"
