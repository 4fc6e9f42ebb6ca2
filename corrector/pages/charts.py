"""Shared by reports and pages: colours, charts of rates, grids of pictures. matplotlib is imported where it draws."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PLAIN, CORRECTED = "#b0562e", "#2f6f8f"  # distinct in greyscale and for colour-blind readers
TEXT_IS_TEXT = {"text.parse_math": False, "text.usetex": False}  # a "$" in a name is no formula
GAP = 6  # pixels between the pictures of a grid


def drawn(
    size: tuple[float, float], fill: Callable[[Figure], None], dpi: int = 100, style: Mapping[str, Any] | None = None
) -> np.ndarray:
    """A chart as uint8 [H, W, 3].

    Args:
        size: width and height in inches.
        fill: draws on the empty figure.
        dpi: pixels per inch.
        style: matplotlib's rcParams.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    settings: Any = {**TEXT_IS_TEXT, **(style or {})}
    with rc_context(settings):
        figure = Figure(figsize=size, dpi=dpi, layout="constrained", facecolor="white")
        canvas = FigureCanvasAgg(figure)
        fill(figure)
        canvas.draw()
        return np.array(canvas.buffer_rgba())[..., :3]


def draw_rates(panel: Axes, names: Sequence[str], rates: Sequence[Sequence[Mapping | None]]) -> None:
    """Draw rates with their intervals from 0 to 1, plain ones as circles and corrected ones as diamonds.

    Args:
        panel: where to draw.
        names: one per line, from top to bottom.
        rates: (plain, corrected) per line, each {"value", "low", "high"} or None.
    """
    places = np.arange(len(names))[::-1]
    for place, pair in zip(places, rates, strict=True):
        for row, colour, shift, marker in zip(pair, (PLAIN, CORRECTED), (0.15, -0.15), "oD", strict=True):
            if row:
                panel.plot([row["low"], row["high"]], [place + shift] * 2, color=colour, linewidth=2)
                panel.plot(row["value"], place + shift, marker, color=colour, markersize=6)
    panel.set_yticks(places, names, fontsize=8)
    panel.set_ylim(-0.7, len(names) - 0.3)
    panel.set_xlim(-0.02, 1.02)
    panel.tick_params(axis="x", labelsize=8)
    panel.grid(axis="x", alpha=0.3)
    panel.spines[["top", "right", "left"]].set_visible(False)


def draw_histograms(panel: Axes, values: Mapping[str, Sequence[float]], bins: int, alpha: float = 0.55) -> None:
    """Histograms of plain and corrected values, or of two sides, with lines at their means; {label: values}."""
    low, high = min(map(min, values.values())), max(map(max, values.values()))
    edges = np.linspace(low, high + 1e-3, bins + 1)
    for (label, numbers), colour in zip(values.items(), (PLAIN, CORRECTED), strict=False):
        panel.hist(numbers, bins=edges.tolist(), histtype="stepfilled", alpha=alpha, color=colour, label=label)
        panel.axvline(float(np.mean(numbers)), color=colour, linewidth=1)
    panel.legend(fontsize=7)


def draw_montage(panel: Axes, montage: np.ndarray, names: tuple[str, str], **options: Any) -> None:
    """Draw a `montage_of`, with a name at each of its two lines; `options` are those of `imshow`."""
    panel.imshow(montage, **options)
    middle = (montage.shape[0] - GAP) / 4
    panel.set_yticks([middle, montage.shape[0] - middle], names)
    panel.set_xticks([])
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)


def montage_of(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Pictures uint8 [N, H, W, 3] -> one picture, a line of each: uint8 [2 H + gap, N W + gaps, 3]."""
    lines = []
    for pictures in (before, after):
        padded = np.pad(pictures, ((0, 0), (0, GAP), (0, GAP), (0, 0)), constant_values=255)
        lines.append(np.concatenate(list(padded), axis=1))
    return np.concatenate(lines)[:-GAP, :-GAP]


def png(picture: np.ndarray, software: str | None = None) -> bytes:
    """uint8 [H, W, 3] -> PNG, which may name the software that made it."""
    file, about = io.BytesIO(), PngInfo()
    if software:
        about.add_text("Software", software)
    Image.fromarray(picture).save(file, "PNG", optimize=True, pnginfo=about)
    return file.getvalue()
