"""What a prompt says in the words that its axis lists: certain, whatever the network of the gate reads.

Whole words count, without case, accents, articles, plural and possessive endings, weights and LoRA tags. So does what a
wording names: "in a village" is also "near the village". Who names another time asks for what belongs to it. A name of
a group counts on somebody ("an African teacher"), or on a place if the axis is about places, and not on a known thing.
Other names, and names alone, are left to the network.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache

from ..axis.axis import Axis
from .languages import OtherLanguages
from .plain_words import END, Words, concerns_nobody, entries_of, found, plain_words, plain_words_in
from .prompt_gate import ANOTHER, COUNTER, EXPLICIT, NEITHER, OUT_OF_SCOPE, STEREOTYPE, PromptReading
from .wordings import is_about_people, noun_of

NEGATIONS = {"no", "not", "never"}
STARTS = {"and", "but", "or", "that", "who"}  # of something else: "no hat and a suit"
MOST_BETWEEN = 3  # words between a denial and what may be denied
BEFORE_NAMES = ("from", "of", "in", "with")  # first words of names that follow somebody: "of colour"
MOST_LOOKS = 2  # words between a name and a noun: "an African old smiling man"
YEAR = re.compile(r"1[0-8]\d\ds?|19[0-6]\ds?")  # long enough ago that people dressed and lived otherwise
SIZES = {"1024", "1080", "1152", "1200", "1216", "1280", "1344", "1440", "1536", "1600", "1920"}  # of pictures


@dataclass(frozen=True)
class Listed:
    """What a prompt says in listed words.

    Args:
        groups: whom it names, as indices of the axis' groups.
        asked, denied: what it asks for, and what it does not want, as indices of EXPLICIT.
        nobody: whether it names things only, or nobody whom the axis concerns.
    """

    groups: tuple[int, ...] = ()
    asked: tuple[int, ...] = ()
    denied: tuple[int, ...] = ()
    nobody: bool = False

    def heeded(self, reading: PromptReading) -> PromptReading:
        """What the network reads, changed where the words are certain.

        Not to want the stereotype asks for nothing; not to want the counter side asks for the stereotype.
        """
        group, explicit = reading.group, EXPLICIT.index(reading.explicit)
        if self.nobody:
            group = OUT_OF_SCOPE
        elif self.groups and group not in self.groups:
            group = self.groups[0]
        if self.asked:
            explicit = explicit if explicit in self.asked else self.asked[0]
        elif COUNTER in self.denied:
            explicit = STEREOTYPE
        elif explicit in self.denied:
            explicit = NEITHER
        heeded = replace(reading, group=group, explicit=EXPLICIT[explicit])
        return replace(heeded, by_words=heeded != reading)


class ListedWords:
    """The words that an axis lists, to read prompts by."""

    def __init__(self, axis: Axis):
        self.concerns = axis.concerns
        about_people = is_about_people(axis)
        names = [(name, i) for i, group in enumerate(axis.groups) for name in (group, *axis.aliases.get(group, ()))]
        self.names = {plain_words(name): index for name, index in names}
        self.nouns = {words[-1] for words in entries_of("person" if about_people else "place")}
        self.from_names = {"from"} if about_people else {"from", "in"}
        things = entries_of("product", "creature", "nature", *(["landmark"] if about_people else []))
        self.things = dict.fromkeys((entry for entry in things if entry[-1] not in self.nouns), 0)
        self.elsewhere = OtherLanguages(axis, about_people)
        self.requests, self.single_nouns = _requests(axis)
        for neutral in (template.replace("{group}", group) for template in axis.neutral for group in axis.groups):
            words = plain_words(neutral)
            for start, end in list(found(words, self.requests)):  # an axis' own neutral prompt asks for nothing
                self.requests.pop(words[start:end], None)

    def read(self, text: str) -> Listed:
        """What a prompt says."""
        words = plain_words(text)
        names = dict.fromkeys(found(words, self.names))
        in_names = {at for start, end in names for at in range(start, end)}
        asked, denied = [], []
        denied_ends = set()
        for start, end in found(words, self.requests):
            if (start, end) not in names and in_names.issuperset(range(start, end)):
                continue  # "New Delhi" asks for nothing new
            wording, is_denied = words[start:end], _is_denied(words, start, denied_ends)
            if is_denied:
                denied.append(self.requests[wording])
                denied_ends.add(end)
            elif is_denied is False and (wording not in self.single_nouns or _stands_alone(words, start, end)):
                asked.append(self.requests[wording])
        years = [at for at, word in enumerate(words) if YEAR.fullmatch(word) and word not in SIZES]
        asked += [ANOTHER for at in years if _is_denied(words, at) is False]
        groups = [self.names[words[start:end]] for start, end in names if self._is_somebody(words, start, end)]
        groups += self.elsewhere.groups(words)
        only_things = bool(names) and not groups and all(self._is_on_thing(words, end) for _, end in names)
        said = (tuple(dict.fromkeys(indices)) for indices in (groups, asked, denied))
        return Listed(*said, nobody=only_things or concerns_nobody(self.concerns, words))

    def _is_somebody(self, words: Words, start: int, end: int) -> bool:
        """Whether a name in a text is that of somebody, or of a place."""
        name, (before, last) = words[start:end], (END, END, *words[:start])[-2:]
        if last in _parts_of_names() or _is_denied(words, start) is not False:
            return False
        if name[0] in BEFORE_NAMES:
            return last in self.nouns
        if not self.nouns.isdisjoint(name) or (before in self.nouns and last in self.from_names):
            return True
        following = words[end : end + MOST_LOOKS + 1]
        noun = next((word for word in following if word in self.nouns or word not in plain_words_in("look")), END)
        return noun in self.nouns

    def _is_on_thing(self, words: Words, end: int) -> bool:
        """Whether what a name stands before is a known thing, and no part of somebody: "an African coffee farmer"."""
        for start in range(end, min(end + MOST_LOOKS + 1, len(words))):
            thing = next(found(words[start:], self.things), None)
            if thing and thing[0] == 0:
                end = start + thing[1]
                return _ends(words, end) or words[end].endswith("ing")  # "an African elephant bathing"
            if words[start] not in plain_words_in("look", "colour"):
                return False
        return False


def _requests(axis: Axis) -> tuple[dict[Words, int], set[Words]]:
    """What the wordings of an axis, and what they name, ask for -> (that, what they name in a single word)."""
    sides = {STEREOTYPE: axis.stereotype.wordings, COUNTER: axis.counter.wordings, ANOTHER: axis.another}
    listed = {plain_words(text): side for side, texts in sides.items() for text in texts}
    listed = dict.fromkeys(entries_of("era"), ANOTHER) | listed
    nouns = {}
    for side, texts in sides.items():
        others = _spaced(word for words, asks in listed.items() if asks != side for word in (*words, END))
        for text in texts:
            noun = plain_words(noun_of(text))
            if _spaced(noun) not in others and plain_words_in("negation").isdisjoint(plain_words(text)):
                nouns[noun] = side
    return nouns | listed, {noun for noun in nouns.keys() - listed.keys() if len(noun) == 1}


def _spaced(words: Iterable[str]) -> str:
    return f" {' '.join(words)} "


def _is_denied(words: Words, start: int, denied_ends: Iterable[int] = ()) -> bool | None:
    """Whether what starts in a text is denied: "not in front of a hut"; None if in doubt: "not a trace of a hut".

    `denied_ends`: where in the text something that is denied ends, for "no house or hut".
    """
    between = 0  # words that do not lead to what a wording names
    for at in range(start, 0, -1):
        last = words[at - 1]
        if last == "or" and at - 1 in denied_ends:
            return True
        for denial in entries_of("denial", "instead_of"):
            before = at - len(denial)
            if words[max(before, 0) : at] == denial:
                is_denied = not before or words[before - 1] not in NEGATIONS  # "not far from a village"
                return None if between and is_denied else is_denied
        between += last not in _leading()
        if last == END or last in STARTS or between > MOST_BETWEEN:
            return False
    return False


def _stands_alone(words: Words, start: int, end: int) -> bool:
    """Whether a noun is no part of a longer one: "at a bus stop" is not on a bus."""
    before = words[start - 1] if start else END
    return before in _leading() | STARTS | {END} and _ends(words, end)


def _ends(words: Words, end: int) -> bool:
    """Whether no longer noun goes on at a place in a text."""
    return {*words[end : end + 1]} <= _leading() | STARTS | {END}


@cache
def _leading() -> frozenset[str]:
    """Words that lead to what a wording names."""
    return plain_words_in("function_word", "leading_word") - STARTS


@cache
def _parts_of_names() -> frozenset[str]:
    """Words before a name that make it another one ("New Guinea"), or no name of somebody ("dressed as")."""
    return plain_words_in("changed_part", "other_people") - plain_words_in("look") | {"as"}
