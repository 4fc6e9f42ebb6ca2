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


def table(columns, rows, caption=""):
    """Rows of HTML cells -> a table. Each cell carries its column's name, which narrow screens show before it."""
    columns = [html.escape(name) for name in columns]
    heads, lines = "".join(f'<th scope="col">{name}</th>' for name in columns), ""
    for row in rows:
        lines += "<tr>" + "".join(f'<td data-name="{n}">{c}</td>' for n, c in zip(columns, row, strict=True)) + "</tr>"
    caption = caption and f"<caption class='hidden'>{html.escape(caption)}</caption>"
    return f"<table>{caption}<thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table>"
