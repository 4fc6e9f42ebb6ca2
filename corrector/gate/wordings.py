"""Words and wordings of an axis, as the grammar of training prompts needs them."""

import random
import re
from collections.abc import Iterable
from functools import cache

from ..axis.axis import Axis, Side
from .data import vocabulary


@cache
def words_in(*lists: str) -> frozenset[str]:
    """The words in lists of the vocabulary."""
    return frozenset(word for name in lists for entry in vocabulary()[name] for word in words_of(entry))


def words_of(text: str) -> list[str]:
    """The words of a text in small letters."""
    return re.findall(r"[^\W_]+", text.lower())


def spaced(text: str) -> str:
    """The words of a text in small letters, with a space around each: `spaced(a) in spaced(b)` compares whole words."""
    return f" {' '.join(words_of(text))} "


def content_words(texts: Iterable[str]) -> set[str]:
    """The words of some texts, without function words."""
    return {word for text in texts for word in words_of(text)} - words_in("function_word")


def whole_words(tokens: Iterable[str]) -> list[str]:
    """The English words of three letters or more among the tokens of a tokenizer, in small letters; sorted.

    CLIP marks where a word ends; GPT-2, Qwen and SentencePiece mark where one starts; WordPiece marks what goes on.
    """
    tokens = list(tokens)
    ended = {token.removesuffix("</w>") for token in tokens if token.endswith("</w>")}
    started = {token[1:] for token in tokens if token.startswith(("\u0120", "\u2581")) and len(token) > 1}
    words = {word.lower() for word in ended or started or tokens if word.isascii() and word.isalpha()}
    return sorted(word for word in words if len(word) > 2)


def named_words(axis: Axis) -> set[str]:
    """The words that name an axis' groups, without those for any person."""
    names = [name for group in axis.groups for name in (group, *axis.aliases.get(group, ()))]
    return content_words(names) - words_in("person")


def is_about_people(axis: Axis) -> bool:
    """Whether the neutral prompts of an axis are about people, and not about places."""
    neutral = [set(words_of(text.replace("{group}", axis.groups[0]))) for text in axis.neutral]
    return 2 * sum(bool(words_in("person") & words) for words in neutral) >= len(neutral)


def shortened(side: Side, other: Side) -> tuple[str, ...]:
    """The phrases of a side and their endings ("in a woven robe", "woven robe", "robe"), less the other side's.

    "far from any technology" has no endings: they ask for the opposite.
    """
    words = [phrase.split() for phrase in side.phrases if not words_in("negation") & set(words_of(phrase))]
    endings = {" ".join(w[i:]) for w in words for i in range(len(w)) if w[i] not in words_in("function_word")}
    wordings = [spaced(text) for text in other.wordings]
    endings = {text for text in endings if not any(spaced(text) in wording for wording in wordings)}
    return side.phrases + tuple(sorted(endings - set(side.phrases)))


def noun_of(phrase: str) -> str:
    """What a phrase names: "in a large sombrero" -> "large sombrero"."""
    words = phrase.split()
    while len(words) > 1 and words[0].lower() in words_in("function_word", "leading_word"):
        words = words[1:]
    return " ".join(words)


def made_up_word(rng: random.Random) -> str:
    """A word that no text encoder knows: the gate must not take unknown words for a group."""
    return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randrange(3, 9)))


def misspelt(rng: random.Random, text: str) -> str:
    """A text with an error in one of its longer words: two letters exchanged, or one lost or doubled."""
    words = text.split(" ")
    long = [index for index, word in enumerate(words) if len(word) > 4 and word.isalpha()]
    if long:
        index = rng.choice(long)
        word = words[index]
        at = rng.randrange(1, len(word) - 1)
        exchanged = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        words[index] = rng.choice((exchanged, word[:at] + word[at + 1 :], word[:at] + word[at:]))
    return " ".join(words)
