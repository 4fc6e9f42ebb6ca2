"""Shared drawing helpers: colours and style of our HTML pages, picture grids, and pictures as data URIs."""

import base64
import io

import numpy as np

PLAIN, CORRECTED = "#b0562e", "#2f6f8f"  # distinct in greyscale and for colour-blind readers
GAP = 6  # pixels between the pictures of a grid


def montage_of(grid):
    """{before, after}: uint8 [N, H, W, 3] -> one picture, a row of each: uint8 [2 H + gap, N W + gaps, 3]."""
    lines = []
    for pictures in (grid["before"], grid["after"]):
        padded = np.pad(pictures, ((0, 0), (0, GAP), (0, GAP), (0, 0)), constant_values=255)
        lines.append(np.concatenate(list(padded), axis=1))
    return np.concatenate(lines)[:-GAP, :-GAP]


def data_uri(picture):
    """uint8 [H, W, 3] -> a PNG as a data: URI."""
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
