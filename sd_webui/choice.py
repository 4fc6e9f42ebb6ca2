"""The user's settings, from the page, the API or an X/Y/Z grid: positional values -> a validated Choice.

The order of ARGUMENTS is the API's and is frozen: add at the end, never rename, never move.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..corrector.correction.update import CorrectionError
from .preferences import NONE


@dataclass(frozen=True)
class Choice:
    """Settings with the defaults of the page; off by default."""

    enabled: bool = False
    preference: str = NONE
    strength: float = 1.0  # 0 off, 1 as calibrated
    target: float = 1.0  # wanted share of counter pictures, from 0.01 to 1
    start: float = 0.0  # fraction of the run
    end: float = 1.0
    cap: float = 0.0  # maximum RMS change of a picture in one step, in latent units; 0 for no cap
    hires_strength: float = 1.0  # factor on `strength` in the hires pass
    second_preference: str = NONE
    verdict: bool = True  # whether the model that is asked also says what finished pictures show
    thrifty: bool = False  # whether it is asked as little as possible, and without a verdict

    @property
    def on(self) -> bool:
        return self.enabled and self.strength > 0

    @property
    def names(self) -> list[str]:
        """The selected preferences. Raises CorrectionError if there is none."""
        selected = [name for name in (self.preference, self.second_preference) if name not in ("", NONE)]
        if not selected:
            raise CorrectionError(
                "RS-Corrector is enabled but no preference is selected; select one, or switch RS-Corrector off."
            )
        return list(dict.fromkeys(selected))


ARGUMENTS = tuple(field.name for field in fields(Choice))
DEFAULTS = Choice()
RANGES = dict(strength=(0, 2), target=(0.01, 1), start=(0, 1), end=(0, 1), cap=(0, 10), hires_strength=(0, 2))
SWITCHES = ("verdict", "thrifty")  # on or off, beside `enabled`


def choose(values: Iterable[object], overrides: Mapping[str, object] | None = None) -> Choice:
    """Validate settings. Raises CorrectionError if one is invalid; while off, the others are ignored.

    Args:
        values: in the order of ARGUMENTS; missing values and None are defaults.
        overrides: settings of a grid by name, which also enable the correction; or None.
    """
    settings = {name: value for name, value in zip(ARGUMENTS, values, strict=False) if value is not None}
    if overrides:
        settings |= {"enabled": True, **overrides}
    if not _truth("enabled", settings.get("enabled", False)):
        return DEFAULTS
    parsed: dict[str, Any] = {name: _number(name, settings[name]) for name in RANGES if name in settings}
    parsed |= {name: _truth(name, settings[name]) for name in SWITCHES if name in settings}
    parsed |= {name: str(settings[name]).strip() for name in ("preference", "second_preference") if name in settings}
    choice = Choice(enabled=True, **parsed)
    if choice.start >= choice.end:
        raise CorrectionError(
            f"The window is empty: it starts at {choice.start:.0%} and ends at {choice.end:.0%} of the run. The start "
            "must be before the end."
        )
    return choice


def _truth(name: str, value: object) -> bool:
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    if isinstance(value, bool | int | float):
        return bool(value)
    raise CorrectionError(f'"{name}" is {value!r}; it must be true or false.')


def _number(name: str, value: object) -> float:
    low, high = RANGES[name]
    try:
        number = float(value)  # pyright: ignore[reportArgumentType] - what is no number is refused below
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not low <= number <= high or isinstance(value, bool):
        label = name.replace("_", " ")
        raise CorrectionError(f"The {label} is {value!r}; it must be a number from {low:g} to {high:g}.")
    return number
