"""The demo's outcomes as one picture and one self-contained HTML page, before above after."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

from ..pages.charts import draw_montage, montage_of, png
from ..pages.templates import write_page

if TYPE_CHECKING:
    from .demo import Outcome

WIDTH = 96  # letters above the pictures of an outcome


def scope_of(model: str) -> str:
    """What the pictures of a model show and do not show; `model` is its name in a sentence."""
    return (
        f"The model is {model}, a small one with planted stereotypes of invented peoples that ships with RS-Corrector. "
        "Nothing here was measured on Stable Diffusion."
    )


def draw_demo(outcomes: Sequence[Outcome], path: Path, model: str = "the miniature") -> None:
    """One PNG of the outcomes, two in a row; four fit on a screen 1366 pixels wide and 768 high."""
    from matplotlib.figure import Figure

    lines = -(-len(outcomes) // 2)
    figure = Figure(figsize=(13.4, 0.6 + 2.4 * lines), dpi=100, layout="constrained", facecolor="white")
    figure.suptitle(
        f"The same seeds, without and with RS-Corrector. Nothing was learned before.\n{scope_of(model)}", fontsize=9
    )
    panels = figure.subplots(lines, 2, squeeze=False).flatten()
    for panel, outcome in zip(panels, outcomes, strict=False):
        montage = montage_of(outcome.plain, outcome.corrected)
        draw_montage(panel, montage, ("before", "after"), interpolation="lanczos")
        panel.tick_params(labelsize=8)
        texts = [fill(text, WIDTH) for text in (f'"{outcome.prompt}"', *outcome.said)]
        panel.set_title("\n".join(texts), fontsize=8, loc="left", pad=4)
    for panel in panels[len(outcomes) :]:  # an odd number leaves one empty
        panel.set_axis_off()
    figure.savefig(path)


def write_demo_page(outcomes: Sequence[Outcome], path: Path, model: str = "the miniature") -> None:
    """One HTML page that needs no other file and no network, for narrow and wide screens, light and dark."""
    sections = [(outcome, _figures(outcome)) for outcome in outcomes]
    write_page(path, "demo.html", scope=scope_of(model), sections=sections)


def _figures(outcome: Outcome) -> list[tuple[dict[str, bytes], str]]:
    pairs = zip(outcome.seeds, outcome.plain, outcome.corrected, strict=True)
    return [
        ({f"Before, {outcome.prompt}": png(before), f"After, {outcome.prompt}": png(after)}, f"seed {seed}")
        for seed, before, after in pairs
    ]
