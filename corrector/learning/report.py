"""The report of a learned preference as one picture."""

import html
import textwrap
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from PIL import Image, ImageDraw

from ..files.errors import printable
from ..files.whole_files import write_whole
from ..pages.drawing import CORRECTED, GAP, PLAIN, TEXT_IS_TEXT, data_uri, document, montage_of, png
from ..preference.preference import GATE_FIGURES
from .pairs import SIDES
from .store import PairError

SOFTWARE = "RS-Corrector: report of a preference"
MOST_COLUMNS = 12  # pairs in the picture, of all groups together
STYLE = {
    "figure.facecolor": "white", "figure.titlesize": 9, "axes.titlesize": 9, "axes.labelsize": 8, "legend.fontsize": 7,
    "xtick.labelsize": 7, "ytick.labelsize": 7,
}  # fmt: skip


def draw_report(preference, pairs, path=None, pictures=None):
    """Held-out figures, skin tones and some pairs -> uint8 [H, W, 3]; only text if matplotlib cannot draw them.

    Args:
        preference: as `learn` returns it.
        pairs: Pairs that it was learned from.
        path: where to save the picture, or None.
        pictures: decoded pairs [G, 2, n, 3, H, W] in -1..1, or None.
    """
    try:
        drawn = _report(preference, pairs, pictures)
    except Exception as error:  # a missing package or a strange text must not cost what was learned
        drawn = _written_report(preference, error)
    if path:
        write_whole(path, png(drawn, SOFTWARE))
    return drawn


def report_path(preference: Path) -> Path:
    """Where the report of a preference file is written, beside it. Raises PairError if another picture is there."""
    path = preference.with_suffix(".png")
    if path.exists() and SOFTWARE.encode() not in path.read_bytes()[:1000]:
        raise PairError(
            f"{path}: there is a picture of this name, which the report of the preference would replace; move it away, "
            "or choose another name for the preference."
        )
    return path


def write_page(preference, drawn, path):
    """Write the report as a self-contained HTML page; `drawn` is uint8 [H, W, 3] from `draw_report`."""
    title = f"{preference.name}: {preference.axis.title}"
    lines = "".join(f'<p class="said">{html.escape(line)}</p>' for line in _said(preference))
    picture = f'<img class="chart" src="{data_uri(png(drawn))}" alt="Held-out figures, skin tones and pairs">'
    write_whole(path, document(f"preference: {preference.name}", f"<h1>{html.escape(title)}</h1>{lines}{picture}"))


def verdict(preference):
    """Whether a preference is sound, as (level, sentence) with the levels of audit findings."""
    training = preference.training
    if weak := training.get("weak"):
        return "failure", f"weak: {weak}"
    told, explained = training["judge_cross_fitted_accuracy"], training["update_r2"]
    return "success", f"sound: pairs told apart in {told:.0%}, {explained:.0%} of the model's own update explained"


def _report(preference, pairs, pictures):
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    montage = None if pictures is None else _pair_montage(pictures)
    heights = [4.8, 0.4 if montage is None else 11.2 * montage.shape[0] / montage.shape[1] + 0.8]
    with matplotlib.rc_context(STYLE | TEXT_IS_TEXT):
        figure = Figure(figsize=(12, sum(heights)), dpi=90, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        above, below = figure.subfigures(2, 1, height_ratios=heights)
        above.suptitle("\n".join(_said(preference)))
        beliefs, tones = above.subplots(1, 2)
        _beliefs(beliefs, preference)
        _tones(tones, pairs)
        if montage is not None:
            panel = below.subplots()
            panel.imshow(montage, interpolation="nearest")
            middle = (montage.shape[0] - GAP) / 4
            panel.set_yticks([middle, montage.shape[0] - middle], SIDES, fontsize=10)
            panel.set_xticks([])
            panel.tick_params(length=0)
            panel.spines[:].set_visible(False)
            panel.set_title("pairs from the same seeds, group after group", loc="left")
        canvas.draw()
        return np.array(canvas.buffer_rgba())[..., :3]


def _said(preference):
    """The lines of text of a report."""
    training, axis = preference.training, preference.axis
    lines = [
        f"{preference.name}: {axis.title}. {training.get('pairs_a_side_and_group', '?')} pairs a group of "
        f"{', '.join(axis.groups)}; seed {training.get('seed', '?')}.",
        f"Measured on the model that it was learned on ({preference.space} latents), and on nothing else.",
    ]
    known = {"update_r2": "update R2", "push_r2": "push R2", "judge_cross_fitted_accuracy": "judge"}
    figures = [f"{name} {training[key]:.2f}" for key, name in known.items() if key in training]
    gate = training.get(GATE_FIGURES, {})
    figures += [f"gate on {name} {gate[name]:.2f}" for name in ("group", "explicit") if gate.get(name) is not None]
    lines += [f"Held out: {', '.join(figures)}."] if figures else []
    return lines + [f"WEAK: {sentence}." for sentence in preference.weaknesses]


def _beliefs(panel, preference):
    """How much of the model's own belief is explained at held-out points, by sigma."""
    found = preference.training.get("belief_r2_by_sigma", {})
    panel.bar(list(found), [max(value, 0) for value in found.values()], color=CORRECTED)
    panel.set(ylim=(0, 1.02), xlabel="sigma", title="held out: explained variance of the model's belief")
    panel.grid(alpha=0.3, axis="y")


def _tones(panel, pairs):
    """Lightness of both sides minus the group's mean."""
    tones = pairs.lightness - pairs.lightness.mean(dim=(1, 2), keepdim=True)  # [G, 2, N]
    edges = torch.linspace(float(tones.min()), float(tones.max()) + 1e-3, 25).numpy()
    for side, name, colour in zip(tones.transpose(0, 1).flatten(1), SIDES, (PLAIN, CORRECTED), strict=True):
        panel.hist(side.numpy(), bins=edges, alpha=0.6, color=colour, label=f"{name}, {len(side)}")
        panel.axvline(float(side.mean()), color=colour, linewidth=1)
    panel.set(title="skin lightness of the pairs", xlabel="CIE L* less the group's mean")
    panel.legend()


def _pair_montage(pictures):
    """[G, 2, n, 3, H, W] in -1..1 -> one line of each side, group after group, uint8."""
    each = max(1, MOST_COLUMNS // len(pictures))
    lines = rearrange(pictures[:, :, :each], "g s n c h w -> s (g n) h w c")[:, :MOST_COLUMNS]
    lines = ((lines.float().nan_to_num().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu().numpy()
    return montage_of({"before": lines[0], "after": lines[1]})


def _written_report(preference, error):
    """The text of a report, for hosts without matplotlib."""
    said = [f"The charts could not be drawn ({printable(str(error))[:200]}); the preference does not need them.", ""]
    if isinstance(error, ImportError):
        said = ["The charts need the package matplotlib, which is not installed here; the preference does not.", ""]
    lines = said + [line for text in _said(preference) for line in textwrap.wrap(text, 110)]
    image = Image.new("RGB", (760, 24 + 18 * len(lines)), "white")
    text = "\n".join(lines).encode("latin-1", "replace").decode("latin-1")
    ImageDraw.Draw(image).multiline_text((12, 12), text, fill="black", spacing=6)
    return np.array(image)
