"""X/Y/Z axes: preference, strength, target, start and end of the window. A grid with one of them switches us on."""

from .job import OVERRIDES

PREFIX = "[RS-Corrector]"
NUMBERS = ("strength", "target", "start", "end")


def register(scripts_data, shelf):
    """Extend the grid script's axes, once for each time that it is loaded. `scripts_data`: modules.scripts' own."""
    for module in {id(data.module): data.module for data in scripts_data}.values():
        options = getattr(module, "axis_options", None)
        if options is None or not hasattr(module, "AxisOption"):
            continue
        if any(str(option.label).startswith(PREFIX) for option in options):
            continue
        options.extend(_axes(module.AxisOption, shelf))


def _axes(option, shelf):
    def confirm(p, names):
        for name in names:
            if name not in ("", "None"):
                shelf.load(name)  # raises a sentence before the first picture

    return [
        option(f"{PREFIX} preference", str, apply("preference"), confirm=confirm, choices=shelf.names),
        *(option(f"{PREFIX} {name}", float, apply(name)) for name in NUMBERS),
    ]


def apply(name):
    """-> the grid's function: one cell's value onto its `p`. A new dict each time, since cells share attributes."""

    def override(p, value, values):
        setattr(p, OVERRIDES, {**getattr(p, OVERRIDES, {}), name: value})

    return override
