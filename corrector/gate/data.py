"""The words, the grammar and the hand-written checks of the gate: JSON files beside this one, each with its schema."""

from functools import cache
from pathlib import Path
from typing import TypedDict

from ..files.json_files import UnreadableError, read_json

FOLDER = Path(__file__).parent


class Length(TypedDict("Length", {"from": int})):
    """A range of numbers of words, from "from" to less than `below`, and how often it is drawn."""

    below: int
    share: float


class Production(TypedDict, total=False):
    """A text with fields in braces, how often it is drawn, and whether an article or an opener may stand before it."""

    share: float
    text: str
    article: bool
    opener: bool


class GrammarData(TypedDict):
    """grammar.json; its schema documents each field."""

    lengths: list[Length]
    forms: dict[str, dict[str, float]]
    rules: dict[str, list[Production]]
    chances: dict[str, float]
    counts: dict[str, list[int]]
    texts: dict[str, list[str]]
    replaced: dict[str, str]


class Check(TypedDict, total=False):
    """Hand-written prompts of one category; `people` and `places` are in place of `texts`, by what an axis is about."""

    in_scope: bool
    asks: str
    texts: list[str]
    people: list[str]
    places: list[str]


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


def _read(name: str):
    """A data file, checked against its schema. Raises UnreadableError, which names the file and the field."""
    path = FOLDER / f"{name}.json"
    try:
        data = read_json(path, read_json(path.with_suffix(".schema.json")))
    except UnreadableError as error:
        raise UnreadableError(f"{path}: {error}") from None
    del data["$schema"]
    return data
