"""Writes settings and outcome to a picture's infotext, and reads them from a pasted one.

Keys match the hosts' pattern (letters, digits, spaces, - and /). Nothing is written while the correction is off.
"""

from collections.abc import Callable, Mapping

from .choice import DEFAULTS, RANGES, SWITCHES, Choice
from .host import Processing
from .preferences import Loaded, Shelf, split_hash

PREFERENCES = {"preference": "RS-Corrector preference", "second_preference": "RS-Corrector second preference"}
NUMBERS = {name: f"RS-Corrector {name.replace('_', ' ')}" for name in RANGES}
SWITCHED = {name: f"RS-Corrector {name}" for name in SWITCHES}
RESULT = "RS-Corrector result"
SHOWN = "RS-Corrector outcome"
ERROR = "RS-Corrector error"
KEYS = (*PREFERENCES.values(), *NUMBERS.values(), *SWITCHED.values(), RESULT, SHOWN, ERROR)
ALWAYS_WRITTEN = ("strength", "target")


def clear(p: Processing) -> None:
    """Remove the keys of an earlier job: grids and loops reuse one `p` or copies of it."""
    for key in KEYS:
        p.extra_generation_params.pop(key, None)


def write(
    p: Processing, choice: Choice, loaded: Mapping[str, Loaded], result: Callable[..., str | None],
    shown: Callable[..., str | None],
) -> None:  # fmt: skip
    """Add settings and outcome to the infotexts of a job.

    Args:
        p: the host's processing object.
        choice: the settings.
        loaded: files by their name in `choice`; a preference that is not loaded yet is written without its hash.
        result: `result(index, use_main_prompt, **)` -> what was done to a picture, which the host calls after sampling.
        shown: the same for what the pictures show, if the model was asked.
    """
    params = p.extra_generation_params
    for argument, key in PREFERENCES.items():
        name = getattr(choice, argument)
        if name in loaded:
            params[key] = f"{split_hash(name)[0]} [{loaded[name].hash}]"
        elif name != DEFAULTS.preference:
            params[key] = name
    for argument, key in NUMBERS.items():
        value = getattr(choice, argument)
        if argument in ALWAYS_WRITTEN or value != getattr(DEFAULTS, argument):
            params[key] = f"{value:g}"
    for argument, key in SWITCHED.items():
        value = getattr(choice, argument)
        if value != getattr(DEFAULTS, argument):
            params[key] = str(value)
    params[RESULT] = result  # a function because hosts index lists differently for grids and batches
    params[SHOWN] = shown


def pasted(argument: str, shelf: Shelf, params: Mapping[str, str]) -> bool | float | str | None:
    """The value of one of choice.ARGUMENTS in a parsed infotext, or None to leave its control unchanged.

    An infotext without our keys switches the correction off, to reproduce the picture.
    """
    enabled = any(key in params for key in PREFERENCES.values())
    if argument == "enabled" or not enabled:
        return enabled if argument == "enabled" else None
    default = getattr(DEFAULTS, argument)
    if argument in PREFERENCES:
        name = params.get(PREFERENCES[argument], default)
        return shelf.pasted(name)[0] if name != default else default
    if argument in SWITCHED:
        return {"True": True, "False": False}.get(params.get(SWITCHED[argument], ""), default)
    try:
        return float(params.get(NUMBERS[argument], default))
    except ValueError:
        return default


def complaints(params: Mapping[str, str], shelf: Shelf) -> list[str]:
    """Warnings for the page: preferences of the infotext that are missing, and its recorded error."""
    sentences = [shelf.pasted(params[key])[1] for key in PREFERENCES.values() if key in params]
    if ERROR in params:
        sentences.append(f"When this picture was made, RS-Corrector reported: {params[ERROR]}")
    return [sentence for sentence in sentences if sentence]
