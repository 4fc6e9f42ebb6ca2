"""Texts as plain words that can be compared: prompts as people write them, with tags, weights and brackets."""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from functools import cache

from ..axis.axis import ANYONE
from .data import grammar, vocabulary

Words = tuple[str, ...]

END = ","  # of a clause
ENDS = ".,;:!?|\n、。，"
WORD = rf"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]|[^\W_]+|[{ENDS}]"  # scripts without spaces: letter by letter
REPLACED = (
    ("_", " "),
    (r"<[^<>]*>|\bBREAK\b", END),  # LoRA tags, and where chunks end in the WebUIs
    (r":\s*[-+]?\d[\d.]*", " "),  # weights
    (r"(?i)n['’]t\b", " not"),
    (r"(?i)['’]s\b", ""),
)
PLURALS = {"arms", "blues", "briefs", "glasses", "goods", "means", "news", "shorts", "woods"}  # no plurals of others
ARTICLES = {"a", "an", "the", "any", "some", "her", "his", "its", "my", "our", "their", "your"}


def plain_words(text: str) -> Words:
    """The words of a text, in small letters without accents, plural endings and articles, and END between clauses."""
    for pattern, replacement in REPLACED:
        text = re.sub(pattern, replacement, text)
    text = "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    words = re.findall(WORD, text.casefold())
    return tuple(END if word in ENDS else _singular(word) for word in words if word not in ARTICLES)


def _singular(word: str) -> str:
    if word in PLURALS:
        return word
    word = re.sub("ies?$", "y", word) if len(word) > 4 else word
    return re.sub("(?<=s[sh]|ch)es$|(?<=x)es$|(?<=..[^siu])s$", "", word)


@cache
def entries_of(*lists: str) -> frozenset[Words]:
    """The entries of lists of the vocabulary and of the grammar's texts, up to the first field."""
    entries = vocabulary() | grammar()["texts"]
    return frozenset(plain_words(entry.partition("{")[0]) for name in lists for entry in entries[name]) - {()}


@cache
def plain_words_in(*lists: str) -> frozenset[str]:
    """The plain words in these lists."""
    return frozenset(word for words in entries_of(*lists) for word in words)


def concerns_nobody(concerns: str, text: Words) -> bool:
    """Whether a prompt is about others alone than those whom an axis `concerns`: women, if it is men."""
    if concerns == ANYONE:
        return False
    others, words = {"men": "women", "women": "men"}.get(concerns, "person"), set(text)
    return not words.isdisjoint(plain_words_in(others)) and words.isdisjoint(plain_words_in(concerns))


def found(text: Words, wordings: Mapping[Words, int]) -> Iterator[tuple[int, int]]:
    """(start, end) of the wordings in a text; of those that overlap, the first and longest."""
    longest, at = max(map(len, wordings), default=0), 0
    while at < len(text):
        ends = range(min(at + longest, len(text)), at, -1)
        end = next((end for end in ends if text[at:end] in wordings), None)
        if end:
            yield at, end
        at = end or at + 1
