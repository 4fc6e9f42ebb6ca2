"""The JSON schema of axis files, and one sentence about the first error in a file."""

import json
import re
from functools import cache

from ..latent_space.folders import AXES

SCHEMA = AXES / "axis.schema.json"
KINDS = {"string": "text", "array": "a list", "object": "an object", "integer": "a whole number", "number": "a number"}


@cache
def axis_schema():
    """The published schema of axis files (JSON Schema, draft 2020-12)."""
    return json.loads(SCHEMA.read_text(encoding="utf-8"))


def complaint(data):
    """The first error in the parsed JSON of an axis and how to fix it, or None if it is valid."""
    try:
        from jsonschema import Draft202012Validator
    except ImportError:
        return 'to check an axis the package "jsonschema" is needed; install it with: pip install "jsonschema>=4".'
    # Errors come in the schema's order; stop at the first, as a file can be long.
    error = next(Draft202012Validator(axis_schema()).iter_errors(data), None)
    return _sentence(error) if error else _across_fields(data)


def _sentence(error):
    """A jsonschema error -> a sentence: the field, what is wrong with it, and how to fix it."""
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)[1:]
    inside = f"{path}." if path else ""
    found, limit = error.instance, error.validator_value
    if error.validator == "required":
        return f'the field "{inside}{next(name for name in limit if name not in found)}" is missing; add it.'
    if error.validator == "additionalProperties":
        known = error.schema["properties"]
        return f'unknown field "{inside}{min(set(found) - set(known))}"; known are {", ".join(sorted(known))}.'
    words = error.schema.get("errorMessage", {}).get(error.validator)
    match error.validator:
        case "type":
            words = words or f"must be {KINDS[limit]}"
        case "maxItems":
            words = words or f"has {len(found)} entries; keep {limit} at most"
        case "maxLength":
            words = f"has {len(found)} characters; shorten it to {limit} at most"
        case "maxProperties":
            words = words or f"has {len(found)} entries; keep {limit} at most"
        case "uniqueItems":
            words = f'has "{_twice(found)}" twice; remove one'
    return f'"{path}" {words}.'


def _across_fields(data):
    """Checks across fields, which JSON Schema cannot express."""
    if twice := _twice(data["groups"]):
        return f'"groups" has "{twice}" twice; remove one.'
    owners = {_plain(group): group for group in data["groups"]}
    for group, names in data.get("aliases", {}).items():
        if group not in data["groups"]:
            return f'"aliases" names the group "{group}", which "groups" does not have; add it there, or remove it.'
        for name in names:
            owner = owners.setdefault(_plain(name), group)
            if owner != group or _plain(name) == _plain(group):
                return f'"aliases.{group}" has "{name}", which names {owner} already; remove one.'
    wordings = [
        (side, field, text)
        for side in ("stereotype", "counter")
        for field in ("phrases", "paraphrases")
        for text in data[side].get(field, ())
    ]
    asked = {}
    for side, field, text in wordings:
        other, earlier = asked.setdefault(_plain(text), (side, field))
        if other != side:
            return f'"{other}.{earlier}" and "{side}.{field}" share "{_plain(text)}"; the two sides must differ.'
    for index, template in enumerate(data["neutral"]):
        for side, field, phrase in wordings:
            if re.search(rf"(?<!\w){re.escape(_plain(phrase))}(?!\w)", _plain(template)):
                return (
                    f'"neutral[{index}]" already says "{phrase}" of "{side}.{field}"; neutral prompts name neither '
                    "side, so reword one of the two."
                )
    left, top, right, bottom = data.get("skin_region", (0, 0, 1, 1))
    if not (left < right and top < bottom):
        return '"skin_region" is empty; write left, top, right, bottom, such as [0.4, 0.3, 0.6, 0.5].'
    return None


def _plain(text):
    """Normalise case and spaces, which make no difference in a prompt."""
    return " ".join(text.casefold().split())


def _twice(texts):
    """The first duplicate, ignoring case and spaces, or None."""
    seen = set()
    return next((text for text in texts if _plain(text) in seen or seen.add(_plain(text))), None)
