"""Words and wordings of an axis, as the grammar of training prompts needs them."""

import re

from . import vocabulary

FUNCTION_WORDS = {
    "a", "an", "and", "any", "as", "at", "behind", "by", "from", "front", "full", "half", "her", "his", "in", "into",
    "its", "like", "near", "next", "of", "off", "on", "one", "or", "out", "over", "own", "their", "the", "them", "they",
    "to", "too", "under", "up", "with", "without", "all", "around", "is", "are", "who", "that",
}  # fmt: skip
NEGATIONS = {"no", "not", "without", "never", "far"}
LEADING = FUNCTION_WORDS | {
    "wearing", "dressed", "surrounded", "standing", "sitting", "living", "working", "doing", "holding", "carrying",
    "shown", "framed", "decorated", "bound", "using", "built", "among", "beside", "close", "far",
}  # fmt: skip


def words_of(text):
    """The words of a text in small letters."""
    return re.findall(r"[^\W_]+", text.lower())


PEOPLE_WORDS = {word for noun in vocabulary.PEOPLE for word in words_of(noun)}


def whole_words(vocabulary):
    """The English words of three letters or more among the tokens of a tokenizer, byte-pair or WordPiece; sorted."""
    ended = {token.removesuffix("</w>") for token in vocabulary if token.endswith("</w>")}
    return sorted(word for word in ended or vocabulary if len(word) > 2 and word.isascii() and word.isalpha())


def named_words(axis):
    """The words that name an axis' groups, without those for any person."""
    names = [name for group in axis.groups for name in (group, *axis.aliases.get(group, ()))]
    return {word for name in names for word in words_of(name)} - PEOPLE_WORDS - FUNCTION_WORDS


def shortened(side, other):
    """The phrases of a side and their endings ("in a woven robe", "woven robe", "robe"), less the other side's.

    "far from any technology" has no endings: they ask for the opposite.
    """
    words = [phrase.split() for phrase in side.phrases if not NEGATIONS & set(words_of(phrase))]
    endings = {" ".join(w[i:]) for w in words for i in range(len(w)) if w[i] not in FUNCTION_WORDS}
    others = [f" {' '.join(words_of(text))} " for text in other.wordings]
    own = [text for text in endings if not any(f" {' '.join(words_of(text))} " in said for said in others)]
    return tuple(side.phrases) + tuple(sorted(set(own) - set(side.phrases)))


def noun_of(phrase):
    """What a phrase names: "in a large sombrero" -> "large sombrero"."""
    words = phrase.split()
    while len(words) > 1 and words[0].lower() in LEADING:
        words = words[1:]
    return " ".join(words)


def made_up_word(rng):
    """A word that no text encoder knows: the gate must not take unknown words for a group."""
    return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randrange(3, 9)))


def misspelt(rng, text):
    """One of the longer words with two letters exchanged, or one lost or doubled."""
    words = text.split(" ")
    long = [index for index, word in enumerate(words) if len(word) > 4 and word.isalpha()]
    if long:
        index = rng.choice(long)
        word, at = words[index], rng.randrange(1, len(words[index]) - 1)
        words[index] = rng.choice(
            (word[:at] + word[at + 1] + word[at] + word[at + 2 :], word[:at] + word[at + 1 :], word[:at] + word[at:])
        )
    return " ".join(words)
