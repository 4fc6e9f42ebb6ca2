"""The report of a learned preference as one picture."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from einops import rearrange
from PIL import Image, ImageDraw
from torch import Tensor

from ..files.errors import printable
from ..files.whole_files import write_whole
from ..latents.skin import to_uint8
from ..pages.charts import CORRECTED, draw_histograms, draw_montage, drawn, montage_of, png
from ..pages.templates import write_page
from ..preference.preference import GATE_FIGURES, Preference
from .pairs import SIDES, Pairs
from .store import PairError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SOFTWARE = "RS-Corrector: report of a preference"
MOST_COLUMNS = 12  # pairs in the picture, of all groups together
REPORT_STYLE = {
    "figure.titlesize": 9, "axes.titlesize": 9, "axes.labelsize": 8, "xtick.labelsize": 7, "ytick.labelsize": 7,
}  # fmt: skip


def draw_report(
    preference: Preference, pairs: Pairs, path: Path | None = None, pictures: Tensor | None = None
) -> np.ndarray:
    """Held-out figures, skin tones and some pairs -> uint8 [H, W, 3]; only text if matplotlib cannot draw them.

    Args:
        preference: as `learn` returns it.
        pairs: those that it was learned from.
        path: where to save the picture, or None.
        pictures: decoded pairs [G, 2, n, 3, H, W] in -1..1, or None.
    """
    try:
        picture = _charts(preference, pairs, pictures)
    except Exception as error:  # a missing package or a strange text must not cost what was learned
        picture = _text(preference, error)
    if path:
        write_whole(path, png(picture, SOFTWARE))
    return picture


def report_path(preference: Path) -> Path:
    """Where the report of a preference file is written, beside it. Raises PairError if another picture is there."""
    path = preference.with_suffix(".png")
    if path.exists() and not is_report(path):
        raise PairError(
            f"{path}: there is a picture of this name, which the report of the preference would replace; move it away, "
            "or choose another name for the preference."
        )
    return path


def is_report(path: Path) -> bool:
    """Whether a file is a report of a preference."""
    return path.is_file() and SOFTWARE.encode() in path.read_bytes()[:1000]


def write_report_page(preference: Preference, picture: np.ndarray, path: Path) -> None:
    """Write the report as a self-contained HTML page; `picture` is uint8 [H, W, 3] from `draw_report`."""
    title = f"{preference.name}: {preference.axis.title}"
    lines = summary(preference)
    write_page(path, "learning.html", name=preference.name, title=title, lines=lines, picture=png(picture))


def verdict(preference: Preference) -> tuple[str, str]:
    """Whether a preference is sound, as (level, sentence) with the levels of audit findings."""
    training = preference.training
    if weak := training.get("weak"):
        return "failure", f"weak: {weak}"
    agreement, explained = training["verdict_agreement"], training["update_r2"]
    return "success", f"sound: {agreement:.0%} of pairs are as asked, {explained:.0%} of the model's update explained"


def summary(preference: Preference) -> list[str]:
    """The lines of text of a report."""
    training, axis = preference.training, preference.axis
    lines = [
        f"{preference.name}: {axis.title}. {training.get('pairs_a_side_and_group', '?')} pairs a group of "
        f"{', '.join(axis.groups)}; seed {training.get('seed', '?')}.",
        f"Measured on the model that it was learned on ({preference.space} latents), and on nothing else.",
    ]
    lines += [f"Held out: {figures}."] if (figures := held_out(preference)) else []
    return lines + [f"WEAK: {sentence}." for sentence in preference.weaknesses]


def held_out(preference: Preference) -> str:
    """The figures of training at held-out points and prompts, in a line; "" if there are none."""
    training = preference.training
    names = {"update_r2": "update R2", "verdict_agreement": "pairs as asked"}
    figures = [f"{name} {training[key]:.2f}" for key, name in names.items() if key in training]
    gate = training.get(GATE_FIGURES, {})
    figures += [f"gate on {name} {gate[name]:.2f}" for name in ("group", "explicit") if gate.get(name) is not None]
    return ", ".join(figures)


def _charts(preference: Preference, pairs: Pairs, pictures: Tensor | None) -> np.ndarray:
    montage = None if pictures is None else _pair_montage(pictures)
    heights = [4.8, 0.4 if montage is None else 11.2 * montage.shape[0] / montage.shape[1] + 0.8]

    def fill(figure):
        above, below = figure.subfigures(2, 1, height_ratios=heights)
        above.suptitle("\n".join(summary(preference)))
        updates, tones = above.subplots(1, 2)
        _updates(updates, preference)
        _tones(tones, pairs)
        if montage is not None:
            panel = below.subplots()
            draw_montage(panel, montage, SIDES, interpolation="nearest")
            panel.tick_params(labelsize=10)
            panel.set_title("pairs from the same seeds, group after group", loc="left")

    return drawn((12, sum(heights)), fill, dpi=90, style=REPORT_STYLE)


def _updates(panel: Axes, preference: Preference) -> None:
    """How much of the model's own update is explained at held-out points, by sigma."""
    explained = preference.training.get("update_r2_by_sigma", {})
    panel.bar(list(explained), [max(value, 0) for value in explained.values()], color=CORRECTED)
    panel.set(ylim=(0, 1.02), xlabel="sigma", title="held out: explained variance of the model's update")
    panel.grid(alpha=0.3, axis="y")


def _tones(panel: Axes, pairs: Pairs) -> None:
    """Lightness of both sides minus the group's mean."""
    tones = (pairs.lightness - pairs.lightness.nanmean(dim=(1, 2), keepdim=True)).transpose(0, 1).flatten(1)  # [2, G N]
    tones = [values[values.isfinite()] for values in tones]
    sides = {f"{side}, {len(values)}": values.tolist() for side, values in zip(SIDES, tones, strict=True)}
    draw_histograms(panel, sides, bins=24)
    panel.set(title="skin lightness of the pairs", xlabel="CIE L* less the group's mean")


def _pair_montage(pictures: Tensor) -> np.ndarray:
    """[G, 2, n, 3, H, W] in -1..1 -> one line of each side, group after group, uint8."""
    columns = max(1, MOST_COLUMNS // len(pictures))
    lines = rearrange(pictures[:, :, :columns], "g s n c h w -> s (g n) c h w")[:, :MOST_COLUMNS]
    return montage_of(*map(to_uint8, lines))


def _text(preference: Preference, error: Exception) -> np.ndarray:
    """The report without its charts, for hosts without matplotlib."""
    reason = printable(str(error))[:200]
    texts = [f"The charts could not be drawn ({reason}); the preference does not need them.", "", *summary(preference)]
    text = "\n".join(textwrap.fill(text, 110) for text in texts).encode("latin-1", "replace").decode("latin-1")
    image = Image.new("RGB", (760, 42 + 18 * text.count("\n")), "white")
    ImageDraw.Draw(image).multiline_text((12, 12), text, fill="black", spacing=6)
    return np.array(image)
