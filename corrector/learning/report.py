"""What learning gave, as one picture: held-out curves, skin tones before and after matching, and some pairs."""

import math
import textwrap

import numpy as np
import torch
from einops import rearrange

from ..latent_space.drawing import CORRECTED, GAP, PLAIN, montage_of
from .learn import held_out_curves, split
from .pairs import SIDES, match_tones

MOST_COLUMNS = 12  # pairs that a report shows, of all groups
SIGMAS = (0.1, 0.3, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 14.0)
DRAWS = 8  # of noise, for each held-out picture and sigma


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
    known = {"push_r2": "push R2", "judge_cross_fitted_accuracy": "judge"}
    figures = [f"{name} {training[key]:.2f}" for key, name in known.items() if key in training]
    if "sight" in training:
        ends = dict.fromkeys(f"{end(preference.sight):.2f}" for end in (torch.min, torch.max))
        figures.append(f"sees up to sigma {' to '.join(ends)}")
    gate = training.get("gate_held_out_accuracy", {})
    figures += [f"gate on {name} {value:.2f}" for name, value in gate.items() if name != "n"]
    lines += [f"Held out: {', '.join(figures)}."] if figures else []
    return lines + ([f"WEAK: {training['weak']}."] if training.get("weak") else [])


def _curves(panel, preference, pairs):
    _, held = split(pairs, max(1, pairs.latents.shape[2] // 10))
    accuracy, confidence = held_out_curves(preference.source, held, 0, SIGMAS, DRAWS)
    colours = [f"C{index % 10}" for index in range(len(accuracy))]
    for group, right, sure, colour in zip(preference.axis.groups, accuracy, confidence, colours, strict=True):
        panel.plot(SIGMAS, right, color=colour, label=textwrap.shorten(group, 24))
        panel.plot(SIGMAS, sure, color=colour, linestyle=":")
    for sight, colour in zip(preference.sight.tolist(), colours, strict=True):
        if 0 < sight < math.inf:
            panel.axvline(sight, color=colour, linewidth=1, linestyle="--")
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
    return montage_of({"before": lines[0], "after": lines[1]})


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
