"""The plots of docs/measurements.md, from the JSON files: SVG that is the same text for the same figures.

Colours are those of Okabe and Ito, which people who see few colours tell apart; marks differ in shape too.
"""

import io
from collections.abc import Callable, Iterable

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmarks.records import Row
from benchmarks.tables import parts_of

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#595959"
WIDTH = 8.0  # inches, 800 pixels
STYLE = {
    "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True,
    "grid.color": "#DDDDDD", "grid.linewidth": 0.6, "svg.hashsalt": "rs-corrector", "svg.fonttype": "none",
}  # fmt: skip
SAMPLERS = ("Euler", "Euler ancestral", "DPM++ 2M", "DPM++ 2M SDE", "DDIM", "UniPC", "LCM")
Mark = tuple[str, str, str, str]  # figure, label, colour, shape


def dots(axes: Axes, position: float, values: Iterable[float], colour: str, shape: str, shift: float = 0.0) -> None:
    """Values of the groups at one position, side by side so that none hides another."""
    values = sorted(values)
    width = min(0.3, 0.06 * len(values))
    places = [position + shift + width * (i / max(1, len(values) - 1) - 0.5) for i in range(len(values))]
    axes.plot(places, values, shape, color=colour, markersize=4, alpha=0.75, markeredgewidth=0.8, linestyle="none")


def by_setting(marks: tuple[Mark, ...], label: str, limits: tuple[float, float]) -> Figure:
    """Three panels: CFG scales, steps, samplers; a dot for each axis and group of both worlds."""
    names = [f"{world}{part}" for world in ("samplers", "second-world") for part in ("", "-elsewhere", "-scales")]
    parts = parts_of(f"cells/{'+'.join(names)}")
    rows = [row for part in parts for row in part.rows]
    by_cfg: dict[str, list[Row]] = {}
    by_steps: dict[str, list[Row]] = {}
    by_sampler: dict[str, list[Row]] = {name: [] for name in SAMPLERS}
    for row in sorted(rows, key=lambda row: (row.settings["cfg"], row.settings["steps"])):
        sampler, cfg, steps = (row.settings[name] for name in ("sampler", "cfg", "steps"))
        if sampler == "Euler" and steps == 16:
            by_cfg.setdefault(f"{cfg:g}", []).append(row)
        if sampler == "Euler" and cfg == 7:
            by_steps.setdefault(str(steps), []).append(row)
        if (cfg == 7 and steps == 16) or sampler == "LCM":
            by_sampler[str(sampler)].append(row)
    panels = {
        "CFG scale (Euler, 16 steps)": by_cfg,
        "steps (Euler, CFG 7)": by_steps,
        "sampler (CFG 7, 16 steps; LCM: 1, 4)": by_sampler,
    }
    figure = Figure((WIDTH, 3.4), layout="constrained")
    all_axes = figure.subplots(1, 3, sharey=True, width_ratios=[len(panel) for panel in panels.values()])
    for axes, (title, panel) in zip(all_axes, panels.items(), strict=True):
        for position, group in enumerate(panel.values()):
            for number, (name, _, colour, shape) in enumerate(marks):
                values = [row.figures[name].value for row in group if name in row.figures]
                dots(axes, position, values, colour, shape, 0.3 * (number - (len(marks) - 1) / 2))
        slanted = dict(rotation=30, ha="right", rotation_mode="anchor") if panel is by_sampler else {}
        axes.set_xticks(range(len(panel)), panel, **slanted)
        axes.set_xlabel(title)
        axes.grid(axis="x", visible=False)
    all_axes[0].set_ylabel(label)
    all_axes[0].set_ylim(*limits)
    legend(figure, [(text, colour, shape) for _, text, colour, shape in marks])
    return figure


def legend(figure: Figure, entries: Iterable[tuple[str, str, str]]) -> None:
    handles = [Line2D([], [], color=c, marker=m, linestyle="none", markersize=5, label=text) for text, c, m in entries]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False)


def rate() -> Figure:
    marks = (("plain", "plain", ORANGE, "^"), ("corrected", "corrected", BLUE, "o"))
    return by_setting(marks, "share of stereotypes", (-0.04, 1.04))


def skin() -> Figure:
    marks = (
        ("skin L* drift of counter prompts", "prompt asks for the counter side", ORANGE, "^"),
        ("skin L* drift", "corrected", BLUE, "o"),
    )
    return by_setting(marks, "change of skin lightness, L*", (-2.5, 12.5))


def targets() -> Figure:
    """Share reached for each target; groups that the model itself draws above the target are left alone."""
    rows = [row for name in ("targets", "second-world-targets") for row in parts_of(f"cells/{name}")[0].rows]
    figure = Figure((WIDTH, 3.4), layout="constrained")
    axes = figure.subplots()
    for position, target in enumerate((0.25, 0.5, 0.75)):
        axes.plot([position - 0.45, position + 0.45], [target, target], color=GREY, linewidth=1, linestyle="--")
        for above, colour, shape in ((False, BLUE, "o"), (True, ORANGE, "^")):
            values = [
                row.figures["counter share"].value
                for row in rows
                if row.settings["target"] == target and (1 - row.figures["plain"].value > target) == above
            ]
            dots(axes, position, values, colour, shape, 0.2 * (2 * above - 1))
    axes.set_xticks(range(3), ["0.25", "0.5", "0.75"])
    axes.grid(axis="x", visible=False)
    axes.set_xlabel("target share of counter pictures")
    axes.set_ylabel("share reached")
    axes.set_ylim(0, 1)
    legend(figure, [("corrected", BLUE, "o"), ("above the target (dashed) by itself, so left alone", ORANGE, "^")])
    return figure


def peers() -> Figure:
    panels = {
        "villages left": "stereotype",
        "change of skin\nlightness, L*": "skin L* over plain",
        "villages kept\nwhere asked for": "stereotype kept where asked for",
        "change of pictures\nout of scope": "out of scope: change",
    }
    rows = parts_of("peers/methods")[0].rows
    methods = list(dict.fromkeys(str(row.settings["method"]) for row in rows))
    figure = Figure((WIDTH, 4.2), layout="constrained")
    for axes, (title, name) in zip(figure.subplots(1, len(panels), sharey=True), panels.items(), strict=True):
        for cfg, colour, shape in ((2.0, ORANGE, "^"), (7.0, BLUE, "o")):
            for place, method in enumerate(methods):
                cells = [row for row in rows if row.settings["method"] == method and row.settings["cfg"] == cfg]
                values = [row.figures[name].value for row in cells if name in row.figures]
                axes.plot(values, [place + 0.15 * (1 if cfg == 7 else -1)] * len(values), shape, color=colour,
                          markersize=4, alpha=0.75, linestyle="none")  # fmt: skip
        axes.set_title(title, fontsize=9)
        axes.set_yticks(range(len(methods)), methods)
        axes.set_ylim(len(methods) - 0.4, -0.6)
    legend(figure, [("CFG 2", ORANGE, "^"), ("CFG 7", BLUE, "o")])
    return figure


def cost() -> Figure:
    figure = Figure((WIDTH, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.2])
    hosts = {str(row.settings["host"]): row for part in parts_of("overhead/*") for row in part.rows}
    for place, row in enumerate(hosts.values()):
        ratio = row.figures["ratio"]
        left.barh(place, 100 * ratio.value, color=BLUE, height=0.5)
        left.plot([100 * (ratio.low or 0), 100 * (ratio.high or 0)], [place] * 2, color="black", linewidth=2)
    left.set_yticks(range(len(hosts)), hosts)
    left.set_xlabel("time of the correction, % of a step\n(full-size SD1.5 UNet on a CPU; line: range)")
    rows = [row for row in parts_of("peers/methods")[0].rows if "UNet evaluations over plain" in row.figures]
    for place, row in enumerate(rows):
        ours = str(row.settings["method"]).startswith("RS")
        value = row.figures["UNet evaluations over plain"].value
        right.barh(place, value, color=BLUE if ours else GREY, height=0.6)
    right.set_yticks(range(len(rows)), [str(row.settings["method"]) for row in rows])
    right.set_xlabel("UNet evaluations, over a plain run's")
    for axes in (left, right):
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
    return figure


def learning() -> Figure:
    """What each state of learning does over the evaluations it took: a line for each world and seed."""
    panels = {
        "stereotypes left": "corrected", "change of skin lightness, L*": "skin L* drift",
        "change of fine pictures": "change of fine pictures",
    }  # fmt: skip
    runs: dict[tuple, list[Row]] = {}
    for row in parts_of("learning/states")[0].rows:
        runs.setdefault((row.settings["world"], row.seed), []).append(row)
    colours = dict(
        zip(dict.fromkeys(world for world, _ in runs), ((BLUE, "o"), (ORANGE, "^"), (GREY, "s")), strict=False)
    )
    figure = Figure((WIDTH, 3.0), layout="constrained")
    for axes, (title, name) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        for (world, _), states in runs.items():
            places = [row.figures["evaluations"].value for row in states if name in row.figures]
            values = [abs(row.figures[name].value) for row in states if name in row.figures]
            colour, shape = colours[world]
            axes.plot(places, values, color=colour, marker=shape, markersize=4, linewidth=1, alpha=0.75)
        axes.set_xlabel("evaluations of the model")
        axes.set_title(title, fontsize=9)
        axes.set_ylim(bottom=-0.01)
    legend(figure, [(str(world), *look) for world, look in colours.items()])
    return figure


CHARTS: dict[str, Callable[[], Figure]] = {
    "rate": rate, "skin": skin, "learning": learning, "targets": targets, "peers": peers, "cost": cost,
}  # fmt: skip


def svg(name: str) -> str:
    """A chart as the text of an SVG file, without a date."""
    with mpl.rc_context({**mpl.rcParamsDefault, **STYLE}):
        file = io.StringIO()
        CHARTS[name]().savefig(file, format="svg", metadata={"Date": None})
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"
