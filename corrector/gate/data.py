"""The words, the grammar and the hand-written checks of the gate: JSON files beside this one, each with its schema."""

from functools import cache
from pathlib import Path
from typing import Any, TypedDict

from ..files.json_files import UnreadableError, read_json

DATA_FOLDER = Path(__file__).parent


# The schemas document each field.
class Length(TypedDict):
    at_least: int
    below: int
    share: float


class Text(TypedDict):
    share: float
    text: str


class Production(Text, total=False):
    article: bool
    opener: bool
    when: str
    in_scope: bool
    asks: str


class GrammarData(TypedDict):
    lengths: list[Length]
    rules: dict[str, list[Production]]
    chances: dict[str, float]
    counts: dict[str, list[int]]
    texts: dict[str, list[str]]
    replaced: dict[str, str]


class Category(TypedDict):
    error: str
    in_scope: bool


class Check(Category, total=False):
    asks: str
    texts: list[str]
    people: list[str]
    places: list[str]


class Names(TypedDict):
    person: list[str]
    place: list[str]
    names: dict[str, list[str]]


class Language(Names, total=False):
    joint: list[str]
    within: list[str]
    people: dict[str, list[str]]


@cache
def vocabulary() -> dict[str, list[str]]:
    """vocabulary.json: lists of words by name."""
    return _read("vocabulary")


@cache
def grammar() -> GrammarData:
    return _read("grammar")


@cache
def checks() -> dict[str, Check]:
    """checks.json: hand-written prompts by category."""
    return _read("checks")


@cache
def languages() -> dict[str, Language]:
    """languages.json: names in other languages, by language."""
    return _read("languages")


def _read(name: str) -> Any:
    """A data file, checked against its schema. Raises UnreadableError, which names the file and the field."""
    path = DATA_FOLDER / f"{name}.json"
    try:
        data = read_json(path, read_json(path.with_suffix(".schema.json")))
    except UnreadableError as error:
        raise UnreadableError(f"{path}: {error}") from None
    del data["$schema"]
    return data
