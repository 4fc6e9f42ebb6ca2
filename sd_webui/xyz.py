"""Axes of X/Y/Z grids: preference, strength, target, start and end. A grid with one of them enables the correction."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from .job import OVERRIDES
from .preferences import NONE, Shelf, split_hash

PREFIX = "[RS-Corrector]"
XYZ_NUMBERS = ("strength", "target", "start", "end")


def register(scripts_data: Iterable[Any], shelf: Shelf) -> None:
    """Add the axes to the grid script, unless it has them. `scripts_data`: modules.scripts.scripts_data."""
    for module in {id(data.module): data.module for data in scripts_data}.values():
        options = getattr(module, "axis_options", [])
        if hasattr(module, "AxisOption") and not any(str(option.label).startswith(PREFIX) for option in options):
            options.extend(_axes(module.AxisOption, shelf))


def _axes(option: Callable[..., Any], shelf: Shelf) -> list[Any]:
    def confirm(p, names):
        for name in names:
            if name not in ("", NONE):
                shelf.load(name)  # raises its error before the first picture

    def axis(name, kind, **options):
        label = partial(_label, name)
        return option(f"{PREFIX} {name}", kind, partial(_override, name), format_value=label, **options)

    preference = axis("preference", str, confirm=confirm, choices=shelf.names)
    return [preference, *(axis(name, float) for name in XYZ_NUMBERS)]


def _label(name: str, p: Any, option: Any, value: Any) -> str:
    """The label of a row or column, such as "strength 0.5" or "from 20 % of the steps"."""
    if name == "preference":
        return split_hash(value)[0] if value not in ("", NONE) else "no preference"
    if name == "strength":
        return f"strength {value:g}" if value else "not corrected"
    share = f"{round(100 * value, 2):g} %"
    return {"target": f"target {share}", "start": f"from {share} of the steps", "end": f"until {share}"}[name]


def _override(name: str, p: Any, value: object, values: object) -> None:
    """Set a cell's value on its `p`, in a new dict because cells share attributes."""
    setattr(p, OVERRIDES, {**getattr(p, OVERRIDES, {}), name: value})
