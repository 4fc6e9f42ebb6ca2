"""A stereotype axis: a documented stereotype of image models, its counter side, and the groups that it concerns.

An axis describes how *models* depict people, never people. It is a JSON file; `axes/axis.schema.json` documents it.
"""

import hashlib
import json
import re
import unicodedata
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from ..files.errors import RSCorrectorError
from ..files.json_files import UnreadableError, read_json
from ..files.whole_files import RESERVED, why_not, write_whole
from .schema import complaint_across_fields, schema_complaint


class AxisError(RSCorrectorError):
    """An axis that cannot be used; the message names the file or field and says how to fix it."""


@dataclass(frozen=True)
class Side:
    """One side of an axis.

    Args:
        description: what is seen.
        phrases: wordings that ask for it, appended to neutral prompts to draw it.
        paraphrases: other ways in which people ask for it, which the gate on the prompt learns to read.
    """

    description: str
    phrases: tuple[str, ...]
    paraphrases: tuple[str, ...] = ()

    @property
    def wordings(self):
        return self.phrases + self.paraphrases


@dataclass(frozen=True)
class Axis:
    """One stereotype axis.

    Args:
        id: short name, also the name of its file: small letters, digits and hyphens.
        title: what the axis is about, in a few words.
        groups: the groups that prompts name.
        neutral: prompt templates with {group} that ask for neither side.
        stereotype: what models draw too often.
        counter: what to draw instead.
        aliases: other words for a group, by group, which the gate on the prompt learns to read: countries and cities,
            adjectives, plurals.
        another: ways to ask for another value of the same attribute, which no side is ("working as a cook", where the
            sides are farmers and office workers): the gate learns to leave such prompts alone.
        skin_region: the box in which portraits show skin: left, top, right, bottom in 0..1. The default is that of the
            miniature's portraits.
        protected: what a correction must leave unchanged.
        author, scope, licence, sources: documentation of the axis; see the schema.
    """

    id: str
    title: str
    groups: tuple[str, ...]
    neutral: tuple[str, ...]
    stereotype: Side
    counter: Side
    aliases: dict[str, tuple[str, ...]] = field(default_factory=dict)
    another: tuple[str, ...] = ()
    skin_region: tuple[float, ...] = (0.41, 0.44, 0.6, 0.51)
    protected: tuple[str, ...] = ("group", "skin tone", "age", "gender")
    author: str = ""
    scope: str = ""
    licence: str = "MIT"
    sources: tuple[dict, ...] = field(default=())

    def __post_init__(self):
        try:
            json.dumps(asdict(self), ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise AxisError(f'Axis "{self.id}": a text holds half of a character; write it again.') from None
        if not self.groups or not all(group.strip() for group in self.groups):
            raise AxisError(f'Axis "{self.id}": "groups" is empty; name at least one group.')
        if not self.neutral or not all("{group}" in template for template in self.neutral):
            raise AxisError(f'Axis "{self.id}": every template in "neutral" must contain {{group}}.')
        for template in self.neutral:
            if set("{}") & set(template.replace("{group}", "")):
                raise AxisError(
                    f'Axis "{self.id}": the template "{template}" has braces other than {{group}}; remove them.'
                )
        for name, side in (("stereotype", self.stereotype), ("counter", self.counter)):
            if not side.phrases or not all(phrase.strip() for phrase in side.phrases):
                raise AxisError(f'Axis "{self.id}": "{name}.phrases" has an empty prompt; write what that side shows.')
        if shared := set(self.stereotype.wordings) & set(self.counter.wordings):
            raise AxisError(
                f'Axis "{self.id}": stereotype and counter share "{min(shared)}"; the two sides must differ.'
            )
        if unknown := set(self.aliases) - set(self.groups):
            raise AxisError(
                f'Axis "{self.id}": "aliases" names the group "{min(unknown)}", which "groups" does not have; add it '
                "there, or remove its aliases."
            )

    def differs(self, other):
        """The first field in which another axis is not this one, apart from documentation and from what only the gate
        on the prompt learns to read; "" if there is none.
        """
        for name in ("id", "groups", "neutral", "skin_region"):
            if getattr(self, name) != getattr(other, name):
                return name
        for name in ("stereotype", "counter"):
            if getattr(self, name).phrases != getattr(other, name).phrases:
                return f"{name}.phrases"
        return ""

    def prompts(self, group, side=None):
        """All prompts of a group: neutral ones, or those of a side, "stereotype" or "counter"."""
        if group not in self.groups:
            raise AxisError(f'Axis "{self.id}" has no group "{group}"; it has {", ".join(self.groups)}.')
        neutral = [template.replace("{group}", group) for template in self.neutral]
        if side is None:
            return neutral
        return [f"{prompt} {phrase}" for prompt in neutral for phrase in getattr(self, side).phrases]

    @property
    def hash(self):
        """Ten hex digits that change with any word of the axis."""
        return hashlib.sha256(json.dumps(self._fields(), sort_keys=True).encode()).hexdigest()[:10]

    @property
    def hash_of_pictures(self):
        """Ten hex digits that change with any word of the axis but those for the gate alone, which draw no pictures."""
        sides = {name: replace(getattr(self, name), paraphrases=()) for name in ("stereotype", "counter")}
        return replace(self, **sides, aliases={}, another=()).hash

    def to_dict(self):
        """The fields as JSON has them: with lists, no tuples."""
        return json.loads(json.dumps({"format": 1, **self._fields()}))

    def _fields(self):
        """All fields as JSON, without empty ones that only the gate learns: axes that have none keep their hash."""
        fields = asdict(self)
        for name in ("aliases", "another"):
            if not fields[name]:
                del fields[name]
        for side in (fields["stereotype"], fields["counter"]):
            if not side["paraphrases"]:
                del side["paraphrases"]
        return fields


def axis_from_dict(data, where="axis"):
    """A parsed JSON object -> Axis, checked field by field. Raises AxisError, which names the field."""
    if isinstance(data, dict) and type(data.get("format")) is int and data["format"] > 1:
        raise AxisError(f"{where}: format {data['format']} is newer than this RS-Corrector; update the extension.")
    if not isinstance(data, dict):
        raise AxisError(f"{where}: expected a JSON object with the fields of an axis, found {type(data).__name__}.")
    if wrong := schema_complaint(data):
        raise AxisError(f"{where}: {wrong}")
    values = {name: value for name, value in data.items() if name not in ("format", "$schema")}
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    values.setdefault("title", values["id"])
    for name in ("stereotype", "counter"):
        side = values[name]
        values[name] = Side(side.get("description", ""), tuple(side["phrases"]), tuple(side.get("paraphrases", ())))
    values["aliases"] = {group: tuple(names) for group, names in values.get("aliases", {}).items()}
    return Axis(**values)


def axis_from_user(data, where="axis"):
    """A user's parsed JSON -> Axis. Raises AxisError as `axis_from_dict`, and if fields contradict each other."""
    if isinstance(data, dict) and not schema_complaint(data) and (wrong := complaint_across_fields(data)):
        raise AxisError(f"{where}: {wrong}")
    return axis_from_dict(data, where)


def axis_from_texts(
    title, groups, neutral, stereotype, counter, stereotype_description="", counter_description="", aliases="",
    stereotype_paraphrases="", counter_paraphrases="", another="",
):  # fmt: skip
    """The contents of text boxes -> Axis, with an id made from the title. Raises AxisError as `axis_from_user` does.

    Args:
        title: what the axis is about.
        groups: names of groups, separated by commas or newlines.
        neutral: prompt templates with {group}, one per line.
        stereotype, counter: phrases of the two sides, one per line.
        stereotype_description, counter_description: what each side shows; by default its first phrase.
        aliases: other words for the groups, a line a group: "Orvane: Orvanese, from Orvania". The group may be left out
            if there is only one.
        stereotype_paraphrases, counter_paraphrases: other ways to ask for a side, one per line.
        another: ways to ask for another value of the same attribute, one per line.
    """
    title = " ".join(title.split())
    ascii_title = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    name = "-".join(re.findall("[a-z0-9]+", ascii_title))[:100]
    sides = {}
    for side, phrases, description, paraphrases in (
        ("stereotype", lines_of(stereotype), stereotype_description, stereotype_paraphrases),
        ("counter", lines_of(counter), counter_description, counter_paraphrases),
    ):
        sides[side] = {
            "description": description.strip() or "".join(phrases[:1]),
            "phrases": phrases,
            "paraphrases": lines_of(paraphrases),
        }
    groups = lines_of(groups.replace(",", "\n"))
    hashed = hashlib.sha256(title.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    return axis_from_user(
        {
            # A title without Latin letters or digits gets a hash as its id.
            "id": name or f"axis-{hashed}",
            "title": title,
            "groups": groups,
            "aliases": aliases_from_text(aliases, groups),
            "another": lines_of(another),
            "neutral": lines_of(neutral),
            **sides,
        }
    )


def aliases_from_text(text, groups):
    """Lines such as "Orvane: Orvanese, from Orvania" -> {group: [alias]}. Raises AxisError if a line names no group."""
    found = {}
    for line in lines_of(text):
        group, colon, names = line.partition(":")
        if not colon and len(groups) == 1:
            group, names = groups[0], line
        elif not colon:
            some = groups[0] if groups else "the group"
            raise AxisError(f'The line "{line}" of the aliases names no group; write "{some}: {line}".')
        found.setdefault(group.strip(), []).extend(lines_of(names.replace(",", "\n")))
    return found


def lines_of(text):
    """The non-empty lines of a text box."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def load_axis(path):
    """Read an axis file. Raises AxisError if it is missing, unreadable or not an axis."""
    path = Path(path)
    try:
        data = read_json(path)
    except FileNotFoundError:
        raise AxisError(f"{path.name}: no such axis file in {path.parent}.") from None
    except OSError as error:
        raise AxisError(f"{path.name}: cannot be read ({error.strerror}); pick an axis file (.json).") from None
    except UnreadableError as error:
        raise AxisError(f"{path.name}: {error}; pick an axis file, which ends in .json.") from None
    return axis_from_user(data, path.name)


def save_axis(axis, folder, name=None):
    """Write an axis file, replacing an older one of that name -> its path.

    Args:
        axis: the Axis.
        folder: where to write; it is made if it is missing.
        name: name of the file, with or without .json; by default the axis' id.

    Raises AxisError if the name is invalid, if the axis breaks the schema, or if the file cannot be written.
    """
    name = axis.id if name is None else str(name).removesuffix(".json")
    if not re.fullmatch("[a-z0-9-]{1,100}", name) or RESERVED.fullmatch(name):
        raise AxisError(
            f'"{name}" cannot name an axis file; use small letters, digits and hyphens only, at most 100, and no name '
            "that Windows reserves, such as con."
        )
    path = Path(folder) / f"{name}.json"
    text = json.dumps(axis.to_dict(), indent=2, ensure_ascii=False) + "\n"
    axis_from_user(json.loads(text), path.name)
    try:
        write_whole(path, text)
    except OSError as error:
        raise AxisError(f"{path}: cannot be written: {why_not(error)}.") from None
    return path
