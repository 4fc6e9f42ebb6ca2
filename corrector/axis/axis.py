"""A stereotype axis: a documented stereotype of image models, its counter side, and the groups that it concerns.

An axis describes how *models* depict people, never people. It is a JSON file; `axes/axis.schema.json` documents it.
"""

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from ..files.errors import RSCorrectorError
from ..files.folders import AXES
from ..files.json_files import UnreadableError, complaint, read_json
from ..files.whole_files import why_not, write_whole

SIDES = ("stereotype", "counter")
ANYONE = "anyone"  # of its groups, whom an axis concerns if it does not say men, women or children
SCHEMA = AXES / "axis.schema.json"
NAME = "[a-z0-9-]{1,100}"  # of an axis file, without .json


class AxisError(RSCorrectorError):
    """An axis that cannot be used; the message names the file or field and says how to fix it."""


@dataclass(frozen=True)
class Side:
    """One side of an axis; axes/axis.schema.json says what each field is."""

    description: str
    phrases: tuple[str, ...]
    paraphrases: tuple[str, ...] = ()

    @property
    def wordings(self) -> tuple[str, ...]:
        return self.phrases + self.paraphrases

    def two_phrases(self, coin: float) -> str:
        """Two phrases, by a coin in 0..1: a model does not know each of them well enough at a low CFG scale."""
        first = int(coin * len(self.phrases))
        return ", ".join(dict.fromkeys([self.phrases[first], self.phrases[(first + 1) % len(self.phrases)]]))


@dataclass(frozen=True)
class Axis:
    """One stereotype axis, as `axis_from_dict` makes it of checked fields; axes/axis.schema.json says what each is.

    `skin_region` is by default that of the miniature's portraits: left, top, right, bottom in 0..1.
    """

    id: str
    title: str
    groups: tuple[str, ...]
    neutral: tuple[str, ...]
    stereotype: Side
    counter: Side
    aliases: dict[str, tuple[str, ...]] = field(default_factory=dict)
    another: tuple[str, ...] = ()
    concerns: str = ANYONE
    skin_region: tuple[float, ...] = (0.41, 0.44, 0.6, 0.51)
    protected: tuple[str, ...] = ("group", "skin tone", "age", "gender")
    author: str = ""
    scope: str = ""
    licence: str = "MIT"
    sources: tuple[dict, ...] = ()

    def differs(self, other: "Axis") -> str:
        """The first field in which another axis is not this one, apart from documentation and from what only the gate
        on the prompt learns to read; "" if there is none.
        """
        for name in ("id", "groups", "neutral", "skin_region"):
            if getattr(self, name) != getattr(other, name):
                return name
        for name in SIDES:
            if getattr(self, name).phrases != getattr(other, name).phrases:
                return f"{name}.phrases"
        return ""

    def prompts(self, group: str, side: str | None = None) -> list[str]:
        """All prompts of a group: neutral ones, or those of a side, "stereotype" or "counter"."""
        if group not in self.groups:
            raise AxisError(f'Axis "{self.id}" has no group "{group}"; it has {", ".join(self.groups)}.')
        neutral = [template.replace("{group}", group) for template in self.neutral]
        if side is None:
            return neutral
        return [f"{prompt} {phrase}" for prompt in neutral for phrase in getattr(self, side).phrases]

    @property
    def hash(self) -> str:
        """Ten hex digits that change with any word of the axis."""
        return hashlib.sha256(json.dumps(self._fields(), sort_keys=True).encode()).hexdigest()[:10]

    @property
    def hash_of_pictures(self) -> str:
        """Ten hex digits that change with any word of the axis but those for the gate alone, which draw no pictures."""
        stereotype, counter = (replace(side, paraphrases=()) for side in (self.stereotype, self.counter))
        sides = dict(stereotype=stereotype, counter=counter)
        return replace(self, **sides, aliases={}, another=(), concerns=ANYONE).hash

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON has them: with lists, no tuples."""
        return json.loads(json.dumps({"format": 1, **self._fields()}))

    def _fields(self) -> dict[str, Any]:
        """All fields as JSON, without those for the gate that say nothing: axes without them keep their hash."""
        fields = asdict(self)
        of_gate = (fields, ("aliases", "another", "concerns")), *((fields[side], ("paraphrases",)) for side in SIDES)
        for part, names in of_gate:
            for name in names:
                if part[name] in ((), {}, ANYONE):
                    del part[name]
        return fields


@cache
def axis_schema() -> dict[str, Any]:
    """The published schema of axis files (JSON Schema, draft 2020-12)."""
    return json.loads(SCHEMA.read_text(encoding="utf-8"))


def axis_complaint(data: Any) -> str | None:
    """The first error in an axis' parsed JSON as a sentence that names the field and says how to fix it, or None."""
    if not isinstance(data, dict):
        return f"expected a JSON object with the fields of an axis, found {type(data).__name__}."
    if type(data.get("format")) is int and data["format"] > 1:
        return f"format {data['format']} is newer than this RS-Corrector; update the extension."
    return complaint(data, axis_schema()) or contradiction(data) or _neutral_complaint(data)


def contradiction(data: dict[str, Any]) -> str | None:
    """The first contradiction between fields of an axis, each of which is valid, or None."""
    try:
        json.dumps(data, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return "a text holds half of a character; write it again."
    owners: dict[str, str] = {}  # the group that a text names
    for group, text in zip(data["groups"], _plain(data["groups"]), strict=True):
        if text in owners:
            return f'"groups" has "{group}" twice; remove one.'
        owners[text] = group
    for group, names in data.get("aliases", {}).items():
        if group not in data["groups"]:
            return f'"aliases" names the group "{group}", which "groups" does not have; add it there, or remove it.'
        for name, text in zip(names, _plain(names), strict=True):
            owner = owners.setdefault(text, group)
            if owner != group or [text] == _plain([group]):
                return f'"aliases.{group}" has "{name}", which names {owner} already; remove one.'
    places: dict[str, str] = {}  # the field in which a text stands
    for place, texts in _wordings(data):
        for text in texts:
            earlier = places.setdefault(text, place)
            if earlier.partition(".")[0] != place.partition(".")[0]:
                remedy = "remove one" if place == "another" else "the two sides must differ"
                return f'"{earlier}" and "{place}" share "{text}"; {remedy}.'
    left, top, right, bottom = data.get("skin_region", (0, 0, 1, 1))
    if not (left < right and top < bottom):
        return '"skin_region" is empty; write left, top, right, bottom, such as [0.4, 0.3, 0.6, 0.5].'
    return None


def _neutral_complaint(data: dict[str, Any]) -> str | None:
    """The first neutral template that asks for a side or for another value, as a sentence, or None."""
    places = {text: place for place, texts in _wordings(data) for text in texts}
    asks = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, places))})(?!\w)")
    for index, template in enumerate(_plain(data["neutral"])):
        if match := asks.search(template.replace("{group}", "{}")):
            return (
                f'"neutral[{index}]" already says "{match[0]}" of "{places[match[0]]}"; neutral prompts name neither '
                "side, so reword one of the two."
            )
    return None


def _wordings(data: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """The plain texts that ask for a side or for another value, by the name of their field."""
    sides = [(f"{side}.{name}", data[side].get(name, [])) for side in SIDES for name in ("phrases", "paraphrases")]
    return [(place, _plain(texts)) for place, texts in (*sides, ("another", data.get("another", [])))]


def _plain(texts: list[str]) -> list[str]:
    """Normalise case, spaces and punctuation at the ends, which make no difference in a prompt."""
    plain = [" ".join(text.casefold().split()) for text in texts]
    return [text.strip(" .,;:!") or text for text in plain]


def axis_from_dict(data: Any, where: str = "axis") -> Axis:
    """A parsed JSON object -> Axis. Raises AxisError, which begins with `where` and names the field."""
    if error := axis_complaint(data):
        raise AxisError(f"{where}: {error}")
    values: dict[str, Any] = {name: value for name, value in data.items() if name not in ("format", "$schema")}
    for name, value in values.items():
        if isinstance(value, list):
            values[name] = tuple(value)
    values.setdefault("title", values["id"])
    for name in SIDES:
        side = values[name]
        values[name] = Side(side.get("description", ""), tuple(side["phrases"]), tuple(side.get("paraphrases", ())))
    values["aliases"] = {group: tuple(names) for group, names in values.get("aliases", {}).items()}
    return Axis(**values)


def load_axis(path: Path | str) -> Axis:
    """Read an axis file, or the shipped axis of a name. Raises AxisError if it is missing, unreadable or no axis."""
    path = _shipped(path) or Path(path)
    try:
        data = read_json(path)
    except FileNotFoundError:
        raise AxisError(f"{path.name}: no such axis file in {path.parent}.") from None
    except OSError as error:
        raise AxisError(f"{path.name}: cannot be read ({error.strerror}); pick an axis file (.json).") from None
    except UnreadableError as error:
        raise AxisError(f"{path.name}: {error}; pick an axis file, which ends in .json.") from None
    return axis_from_dict(data, path.name)


def given_axis(path: Path | str) -> Axis | None:
    """The axis, as `load_axis`, if a path ends in .json or is the name of a shipped axis; else None."""
    return load_axis(path) if str(path).endswith(".json") or _shipped(path) else None


def _shipped(name: Path | str) -> Path | None:
    """The file of the shipped axis of a name, if there is one."""
    path = AXES / f"{name}.json"
    return path if re.fullmatch(NAME, str(name)) and path.is_file() else None


def save_axis(axis: Axis, folder: Path | str, name: str | None = None) -> Path:
    """Write an axis file, replacing an older one of that name -> its path.

    Args:
        axis: the Axis.
        folder: where to write; it is made if it is missing.
        name: name of the file, with or without .json; by default the axis' id.

    Raises AxisError if the name is invalid, if the axis cannot be used, or if the file cannot be written.
    """
    name = axis.id if name is None else str(name).removesuffix(".json")
    if not re.fullmatch(NAME, name):
        raise AxisError(f'"{name}" cannot name an axis file; use small letters, digits and hyphens only, at most 100.')
    path = Path(folder) / f"{name}.json"
    data = axis.to_dict()
    axis_from_dict(data, path.name)
    try:
        write_whole(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")
    except OSError as error:
        raise AxisError(f"{path}: cannot be written: {why_not(error)}.") from None
    return path
