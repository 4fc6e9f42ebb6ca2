"""Writes settings and outcome to a picture's infotext, and reads them from a pasted one.

Keys match the hosts' pattern (letters, digits, spaces, - and /). Nothing is written while the correction is off.
"""

from .choice import DEFAULTS, RANGES
from .preferences import split_hash

PREFERENCE = "RS-Corrector preference"
SECOND = "RS-Corrector second preference"
RESULT = "RS-Corrector result"
ERROR = "RS-Corrector error"
NUMBERS = {name: f"RS-Corrector {name.replace('_', ' ')}" for name in RANGES}
NAMES = {"preference": PREFERENCE, "second_preference": SECOND, **NUMBERS}
ALWAYS = ("strength", "target")
KEYS = (*NAMES.values(), RESULT, ERROR)


def clear(p):
    """Remove the keys of an earlier job: grids and loops reuse one `p` or copies of it."""
    for key in KEYS:
        p.extra_generation_params.pop(key, None)


def write(p, choice, loaded, result):
    """Add settings and outcome to the infotexts of a job.

    Args:
        p: the host's processing object.
        choice: Choice.
        loaded: {name in `choice`: Loaded}; a preference that is not loaded yet is written without its hash.
        result: `result(index, use_main_prompt, **)` -> the outcome, which the host calls after sampling.
    """
    params = p.extra_generation_params
    for key, name in ((PREFERENCE, choice.preference), (SECOND, choice.second_preference)):
        if name in loaded:
            params[key] = f"{split_hash(name)[0]} [{loaded[name].hash}]"
        elif name != DEFAULTS.preference:
            params[key] = name
    for name, key in NUMBERS.items():
        value = getattr(choice, name)
        if name in ALWAYS or value != getattr(DEFAULTS, name):
            params[key] = f"{value:g}"

    params[RESULT] = result  # a function because hosts index lists differently for grids and batches


def pasted(name, shelf, params):
    """The value of an argument in a parsed infotext, or None to leave its control unchanged.

    Args:
        name: of choice.ARGUMENTS.
        shelf: Shelf of preference files.
        params: {key: text}. Without our keys the correction is switched off, to reproduce the picture.
    """
    enabled, default = PREFERENCE in params or SECOND in params, getattr(DEFAULTS, name)
    if name == "enabled" or not enabled:
        return enabled if name == "enabled" else None
    text = params.get(NAMES[name], default)
    if name not in NUMBERS:
        return shelf.pasted(text)[0] if text != default else default
    try:
        return float(text)
    except ValueError:
        return default


def complaints(params, shelf):
    """Warnings for the page: preferences of the infotext that are missing, and its recorded error."""
    wrong = [shelf.pasted(params[key])[1] for key in (PREFERENCE, SECOND) if key in params]
    if ERROR in params:
        wrong.append(f"When this picture was made, RS-Corrector reported: {params[ERROR]}")
    return [sentence for sentence in wrong if sentence]
