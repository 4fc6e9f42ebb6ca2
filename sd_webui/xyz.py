"""Axes of X/Y/Z grids: preference, strength, target, start and end. A grid with one of them enables the correction."""

from .job import OVERRIDES
from .preferences import NONE, split_hash

PREFIX = "[RS-Corrector]"
NUMBERS = ("strength", "target", "start", "end")


def register(scripts_data, shelf):
    """Add the axes to the grid script, unless it has them. `scripts_data`: modules.scripts.scripts_data."""
    for module in {id(data.module): data.module for data in scripts_data}.values():
        options = getattr(module, "axis_options", None)
        grid = options is not None and hasattr(module, "AxisOption")
        if grid and not any(str(option.label).startswith(PREFIX) for option in options):
            options.extend(_axes(module.AxisOption, shelf))


def _axes(option, shelf):
    def confirm(p, names):
        for name in names:
            if name not in ("", NONE):
                shelf.load(name)  # raises its error before the first picture

    return [
        option(
            f"{PREFIX} preference", str, apply("preference"), format_value=label_of("preference"), confirm=confirm,
            choices=shelf.names,
        ),
        *(option(f"{PREFIX} {name}", float, apply(name), format_value=label_of(name)) for name in NUMBERS),
    ]  # fmt: skip


def label_of(name):
    """-> the grid's function for the label of a row or column, such as "strength 0.5" or "from 20 % of the steps"."""

    def label(p, option, value):
        if name == "preference":
            return split_hash(value)[0] if value not in ("", NONE) else "no preference"
        if name == "strength":
            return f"strength {value:g}" if value else "not corrected"
        share = f"{round(100 * value, 2):g} %"
        return {"target": f"target {share}", "start": f"from {share} of the steps", "end": f"until {share}"}[name]

    return label


def apply(name):
    """-> a function that sets a cell's value on its `p`, in a new dict because cells share attributes."""

    def override(p, value, values):
        setattr(p, OVERRIDES, {**getattr(p, OVERRIDES, {}), name: value})

    return override
