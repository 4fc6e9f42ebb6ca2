"""Settings and outcome in a picture's infotext, and back: what is written when it is on, and how it is pasted.

Keys match the hosts' pattern (letters, digits, spaces, - and /). Nothing is written while the correction is off.
"""

from .choice import DEFAULTS
from .preferences import split_hash

PREFERENCE = "RS-Corrector preference"
SECOND = "RS-Corrector second preference"
RESULT = "RS-Corrector result"
ERROR = "RS-Corrector error"
NUMBERS = {name: f"RS-Corrector {name.replace('_', ' ')}" for name in ("strength", "target", "start", "end", "cap")}
NUMBERS["hires_strength"] = "RS-Corrector hires strength"
ALWAYS = ("strength", "target")
KEYS = (PREFERENCE, SECOND, *NUMBERS.values(), RESULT, ERROR)


def clear(p):
    """Forget what an earlier run wrote: grids and loops use one object, or its copy, again and again."""
    for key in KEYS:
        p.extra_generation_params.pop(key, None)


def write(p, choice, loaded, result):
    """Settings now, and `result(index, use_main_prompt)` when the host writes a picture's text after sampling.

    `loaded`: the files that are loaded by now, by the names in `choice`.
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

    def outcome(index=0, use_main_prompt=False, **_):
        return result(index, use_main_prompt)

    params[RESULT] = outcome  # hosts call it for each picture; lists they index differently for grids and batches


def write_error(p, sentence):
    p.extra_generation_params[ERROR] = sentence


def pasted_enabled(params):
    """A picture without our keys was made with the correction off: to make it again, it is switched off."""
    return PREFERENCE in params or SECOND in params


def pasted_number(name):
    """-> a function: parsed infotext -> the argument's value; its default where the text does not say."""

    def value(params):
        if not pasted_enabled(params):
            return None  # leaves the control as it is
        try:
            return float(params.get(NUMBERS[name], getattr(DEFAULTS, name)))
        except ValueError:
            return getattr(DEFAULTS, name)

    return value


def pasted_preference(key, shelf):
    """-> a function: parsed infotext -> the name for the list; with its hash where no such file is here."""

    def value(params):
        if not pasted_enabled(params):
            return None
        return shelf.pasted(params[key])[0] if key in params else DEFAULTS.preference

    return value


def complaints(params, shelf):
    """What an infotext asks for and cannot be had here: sentences for the page."""
    wrong = [shelf.pasted(params[key])[1] for key in (PREFERENCE, SECOND) if key in params]
    if ERROR in params:
        wrong.append(f"When this picture was made, RS-Corrector reported: {params[ERROR]}")
    return [sentence for sentence in wrong if sentence]
