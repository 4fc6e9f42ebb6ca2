"""The JSON schema of axis files, and one sentence about the first error in a file."""

import json
import re
from functools import cache

from ..files.folders import AXES
from ..files.json_schema import complaint
from ..files.whole_files import RESERVED

SCHEMA = AXES / "axis.schema.json"


@cache
def axis_schema():
    """The published schema of axis files (JSON Schema, draft 2020-12)."""
    return json.loads(SCHEMA.read_text(encoding="utf-8"))


def schema_complaint(data):
    """The first error in the fields of an axis' parsed JSON and how to fix it, or None."""
    return complaint(data, axis_schema())


def complaint_across_fields(data):
    """Checks across fields, which JSON Schema cannot express -> the first error, or None; the fields are valid."""
    if RESERVED.fullmatch(data["id"]):
        return f'"id" is "{data["id"]}", which Windows cannot have as the name of a file; choose another.'
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
        (side, f"{side}.{field}", text)
        for side in ("stereotype", "counter")
        for field in ("phrases", "paraphrases")
        for text in data[side].get(field, ())
    ]
    wordings += [("another", "another", text) for text in data.get("another", ())]
    asked = {}
    for side, field, text in wordings:
        other, earlier = asked.setdefault(_plain(text), (side, field))
        if other != side:
            why = "remove one" if side == "another" else "the two sides must differ"
            return f'"{earlier}" and "{field}" share "{_plain(text)}"; {why}.'
    for index, template in enumerate(data["neutral"]):
        for _, field, phrase in wordings:
            if re.search(rf"(?<!\w){re.escape(_plain(phrase))}(?!\w)", _plain(template)):
                return (
                    f'"neutral[{index}]" already says "{phrase}" of "{field}"; neutral prompts name neither '
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
