"""What the artist chose, from the page, the API or an X/Y/Z grid: positional values -> a checked Choice.

The order of ARGUMENTS is the API's and is frozen: add at the end, never rename, never move.
"""

import math
from dataclasses import dataclass, fields

from ..corrector.correction.update import CorrectionError
from .preferences import NONE


@dataclass(frozen=True)
class Choice:
    """The defaults are those of the page; off by default."""

    enabled: bool = False
    preference: str = NONE
    strength: float = 1.0  # 0 off, 1 as calibrated
    target: float = 1.0  # wanted share of counter pictures, in (0, 1]
    start: float = 0.0  # of the run, in 0..1
    end: float = 1.0
    cap: float = 0.0  # most RMS that one step may change a picture, in latent units; 0 is no cap
    hires_strength: float = 1.0  # times `strength` in the hires pass
    second_preference: str = NONE

    @property
    def on(self):
        return self.enabled and self.strength > 0

    @property
    def names(self):
        """The preferences that were picked. Raises CorrectionError when there is none."""
        picked = [name for name in (self.preference, self.second_preference) if name not in ("", NONE)]
        if not picked:
            raise CorrectionError(
                "RS-Corrector is enabled and no preference is picked; pick one in its list, or switch it off."
            )
        return list(dict.fromkeys(picked))


ARGUMENTS = tuple(field.name for field in fields(Choice))
DEFAULTS = Choice()
RANGES = {"strength": (0, 2), "target": (0.01, 1), "start": (0, 1), "end": (0, 1), "cap": (0, 10)}
RANGES |= {"hires_strength": (0, 2)}


def choose(values, overrides=None):
    """Values in the order of ARGUMENTS, fewer or None for defaults; `overrides`: {name: value} of a grid -> Choice.

    Raises CorrectionError in a sentence that names the argument. While it is off, the other values do not matter.
    """
    given = {name: value for name, value in zip(ARGUMENTS, values, strict=False) if value is not None}
    if overrides:
        given |= {"enabled": True, **overrides}
    enabled = _truth(given.pop("enabled", False))
    if not enabled:
        return DEFAULTS
    numbers = {name: _number(name, given[name]) for name in RANGES if name in given}
    texts = {name: str(given[name]).strip() for name in ("preference", "second_preference") if name in given}
    choice = Choice(enabled=True, **numbers, **texts)
    if choice.start >= choice.end:
        raise CorrectionError(
            f"The window is empty: it starts at {choice.start:.0%} and ends at {choice.end:.0%} of the run. The start "
            "must lie before the end."
        )
    return choice


def _truth(value):
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    if isinstance(value, bool | int | float):
        return bool(value)
    raise CorrectionError(f'"enabled" is {value!r}; it must be true or false.')


def _number(name, value):
    low, high = RANGES[name]
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not low <= number <= high or isinstance(value, bool):
        what = name.replace("_", " ")
        raise CorrectionError(f"The {what} is {value!r}; it must be a number from {low:g} to {high:g}.")
    return number
