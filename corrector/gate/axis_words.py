"""The vocabulary of one axis' training prompts: what names its groups and sides, and what asks for neither side."""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..axis.axis import Axis, Side
from .data import grammar, vocabulary
from .listed import ListedWords
from .prompt_gate import COUNTER, STEREOTYPE
from .wordings import content_words, is_about_people, named_words, shortened, spaced, words_in, words_of

HELD_OUT_EVERY = 12  # every twelfth wording is for held-out texts only


class Requests(NamedTuple):
    """How a side is asked for: phrases and their endings, paraphrases, and the verbs that phrases begin with."""

    phrases: tuple[str, ...]
    paraphrases: tuple[str, ...]
    verbs: list[str]


class AxisWords:
    """Words for the prompts of one axis.

    Args:
        axis: Axis.
        held_out: False for training; True for prompts in wordings that training leaves out, to set thresholds.
        other_groups: names of groups that are not of this axis.
        other_details: what prompts may also ask for, such as the phrases of a related axis.
        words: that the host's tokenizer knows; they stand in prompts as text about nothing. If "not" and "without" are
            not among them, the text encoder knows little English: no prompt denies anything, and none is about a thing
            that is called after a group, which it could not tell from wishes and people.
    """

    def __init__(
        self, axis: Axis, held_out: bool = False, other_groups: Iterable[str] = (), other_details: Iterable[str] = (),
        words: Sequence[str] = (),
    ):  # fmt: skip
        self.axis = axis
        self.held_out = held_out
        self.names = [(group, axis.aliases.get(group, ())) for group in axis.groups]
        self.aliases = {alias for _, aliases in self.names for alias in aliases}
        self.neutral = self._split(axis.neutral) if len(axis.neutral) >= HELD_OUT_EVERY else list(axis.neutral)
        self.about_people = is_about_people(axis)
        self.placed = any(re.search(r"\b(in|from) \{group\}", text) for text in axis.neutral)
        self.sides = {
            STEREOTYPE: _requests(axis.stereotype, axis.counter),
            COUNTER: _requests(axis.counter, axis.stereotype),
        }
        self.listed = ListedWords(axis)
        self.asked = {spaced(text) for side in self.sides.values() for text in side.phrases}
        self.english = not words or {"not", "without"} <= set(words)
        self.related = list(other_details)
        self.lists = self._lists(other_groups)
        names = named_words(axis) | content_words([*axis.stereotype.wordings, *axis.counter.wordings, *axis.another])
        starts = {word[:5] for word in names if len(word) > 3}
        self.words = self._split([word for word in words if not {word, word[:4], word[:5]} & (names | starts)])
        self.another_is_listed = bool(axis.another)
        self.another = list(axis.another) or self._guessed()
        for name in ("situation", "coloured", *(["person"] if axis.another else [])):  # nobody is "a cook" by chance
            self.lists[name] = _without(self.lists[name], content_words(self.another))

    def _lists(self, other_groups: Iterable[str]) -> dict[str, list[str]]:
        """The lists of the vocabulary and of the grammar, without what this axis asks for."""
        lists, names = vocabulary() | grammar()["texts"], named_words(self.axis)
        coloured = [f"with {colour} {part}" for colour in lists["colour"] for part in lists["body_part"]]
        coloured += [f"in a {colour} {garment}" for colour in lists["colour"] for garment in lists["garment"]]
        return lists | {
            "any_person": lists["person"],
            "any_object": lists["object"],
            "person": list(lists["person"]),
            "other_people": _without([*other_groups, *lists["other_people"]], names),
            "other_place": _without(lists["other_place"], names),
            "landscape": lists["nature"] + lists["landmark"],
            "situation": self._free(self._split(lists["scene"] + lists["action"])),
            "coloured": self._free(coloured),
            "style": self._free(self._split(lists["style"])),
            "object": self._free(self._split(lists["object"])),
            "opener": self._split(lists["opener"]),
            "prose": self._free(self._split(lists["prose"])),
            "era": self._free(self._split(lists["era"])),
            "plain_sentence": self._split(lists["plain_sentence"]),
        }

    def _split(self, wordings: Sequence[str]) -> list[str]:
        """The wordings for training, or those that are held out."""
        every = HELD_OUT_EVERY
        return [text for index, text in enumerate(wordings) if (index % every == every - 1) == self.held_out]

    def _free(self, wordings: Iterable[str]) -> list[str]:
        """The wordings that ask for no side of the axis: "at a bus stop" is not on a bus."""

        def asks(text: str) -> bool:
            said, words = self.listed.read(text), spaced(text)
            return not {STEREOTYPE, COUNTER}.isdisjoint(said.asked + said.denied) or any(a in words for a in self.asked)

        return [text for text in wordings if not asks(text)]

    def _guessed(self) -> list[str]:
        """Requests for another value of the attribute that the sides name."""
        sides, lists = (self.axis.stereotype.phrases, self.axis.counter.phrases), self.lists
        another = []
        for start, name in grammar()["replaced"].items():
            if any(phrase.startswith(f"{start} ") for phrases in sides for phrase in phrases):
                another += [f"{start} {value}" for value in self._free(lists[name])]
        where = [sum(p.split()[0] in lists["place_word"] for p in phrases) / len(phrases) for phrases in sides]
        if min(where) >= 2 / 3:
            places = self._free(lists["surroundings"])
            another += [f"{at} a {place}" for place in places for at in ("in", "near")]
        return another


def _without(texts: Iterable[str], words: set[str]) -> list[str]:
    """The texts that have none of some words."""
    return [text for text in texts if not words & set(words_of(text))]


def _requests(side: Side, other: Side) -> Requests:
    phrases = shortened(side, other)
    verbs = {text.split()[0] for text in phrases} & words_in("leading_word")
    return Requests(phrases, side.paraphrases, sorted(verbs) or ["in"])
