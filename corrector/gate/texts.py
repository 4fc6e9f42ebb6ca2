"""A grammar of prompts that trains the gate: what people write about an axis' groups, and about anything else.

A prompt is somebody or something, what may be asked of a side of the axis, and other details, as a sentence or as a
list of tags, of 1 to 120 words. Each comes with its labels: which group it names, and what it asks for. Words, forms
and how often each occurs are in vocabulary.json and grammar.json.
"""

import math
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..axis.axis import SCHEMA, Axis, load_axis
from .axis_words import AxisWords
from .data import grammar
from .draws import Draws
from .prompt_gate import COUNTER, EXPLICIT, NEITHER, OUT_OF_SCOPE, STEREOTYPE
from .subjects import Subjects
from .wordings import misspelt, named_words, noun_of, words_in, words_of

Wish = tuple[str, int]  # a text or "", and what it asks for: one of EXPLICIT by its index


class Labelled(NamedTuple):
    """A prompt and its labels: the index of the group that it names or OUT_OF_SCOPE, and its index in EXPLICIT."""

    text: str
    group: int
    explicit: int


class Grammar(Draws):
    """The prompts of one axis.

    Args:
        axis: Axis.
        seed: of all choices.
        held_out, others: as for AxisWords.
    """

    def __init__(self, axis: Axis, seed: int, held_out: bool = False, **others: Sequence[str]):
        super().__init__(random.Random(f"{seed} {held_out}"), AxisWords(axis, held_out, **others))
        self.fields = {
            "context": self.context,
            "stereotype": lambda: self.request(STEREOTYPE),
            "counter": lambda: self.request(COUNTER),
            "another": lambda: self.pick(self.words.another),
            "stereotype_denied": lambda: self.denial(STEREOTYPE),
            "counter_denied": lambda: self.denial(COUNTER),
        }
        self.subjects = Subjects(self.rng, self.words)

    # What is asked for

    def request(self, side: int) -> str:
        """A phrase or paraphrase of a side."""
        requests = self.words.sides[side]
        paraphrased = requests.paraphrases and self.chance("paraphrase")
        return self.pick(requests.paraphrases if paraphrased else requests.phrases)

    def denial(self, side: int, phrase: str = "") -> str:
        """That a side is not wanted, in words that name it: a phrase of it, or any."""
        phrase = phrase or self.request(side)
        if words_in("negation") & set(words_of(phrase)):  # "without electricity"
            return self.fill(self.draw("denial_of_a_negation"), phrase=phrase)
        noun = noun_of(phrase)
        if self.chance("last word"):
            noun = self.head_of(noun, side)
        doing = self.pick(self.words.sides[side].verbs)
        nouns = dict(noun=noun, second_noun=noun_of(self.request(side)), third_noun=noun_of(self.request(side)))
        return self.fill(self.draw("denial"), phrase=phrase, doing=doing, **nouns)

    def head_of(self, noun: str, side: int) -> str:
        """The last word of what a phrase names ("hat" of "black hat"), or all of it if that word says too little."""
        head, other = noun.split()[-1], COUNTER if side == STEREOTYPE else STEREOTYPE
        requests = self.words.sides[other]
        words = {word for text in requests.phrases + requests.paraphrases for word in words_of(text)}
        return noun if head in words | words_in("function_word") else head

    def wish(self) -> Wish:
        """What a prompt asks for."""
        production = self.production("wish")
        asks = production.get("asks", "neither")
        if asks != "one side":
            text, explicit = self.written(production), EXPLICIT.index(asks)
            return text, COUNTER if asks == "neither" and text in self.words.axis.counter.paraphrases else explicit
        side, other = self.rng.sample((STEREOTYPE, COUNTER), 2)
        text = self.written(
            production, instead_of=self.draw("instead_of"), side=lambda: self.request(side),
            noun_of_other_side=lambda: noun_of(self.request(other)),
        )  # fmt: skip
        return text, side

    def denied(self, phrase: str = "") -> Wish:
        """What a prompt that does not want the stereotype asks for; "no hat" may ask for the counter side."""
        text = self.denial(STEREOTYPE, phrase)
        return text, COUNTER if text in self.words.axis.counter.paraphrases else NEITHER

    def wishes(self, group: int) -> list[Wish]:
        """What one prompt asks for, or two that differ in nothing else."""
        if group == OUT_OF_SCOPE and self.chance("nobody asks for nothing"):
            return [("", NEITHER)]
        asked, explicit = self.wish()
        if group == OUT_OF_SCOPE or explicit not in (STEREOTYPE, COUNTER) or self.chance("single"):
            return [(asked, explicit)]
        requests = self.words.sides[STEREOTYPE]
        can_be_denied = explicit == STEREOTYPE and asked in requests.phrases + requests.paraphrases
        if can_be_denied and self.words.english and self.chance("denied twin"):
            return [(asked, explicit), self.denied(asked)]
        return [(asked, explicit), (self.context() if self.chance("context twin") else "", NEITHER)]

    # The whole prompt

    def texts(self) -> list[Labelled]:
        """One text, or two with unlike wishes."""
        subject, group = self.subjects.subject()
        if not subject:
            return [Labelled("", OUT_OF_SCOPE, NEITHER)]
        texts, wishes = [], self.wishes(group)
        state = self.rng.getstate()
        for asked, explicit in wishes:
            self.rng.setstate(state)
            text = self.tagged(subject, asked) if self.chance("tags") else self.sentence(subject, asked)
            if self.chance("misspelt"):
                text = misspelt(self.rng, text)
            texts.append(Labelled(text.lower() if self.chance("small letters") else text, group, explicit))
        return texts

    def context(self) -> str:
        """A detail that asks for neither side: where, doing what, looking how."""
        if self.words.related and self.chance("related context"):
            return self.pick(self.words.related)
        coloured = self.words.lists["coloured"] and self.chance("coloured context")
        return self.draw("coloured" if coloured else "situation")

    def length(self) -> int:
        """The number of words that a prompt should have."""
        lengths = grammar()["lengths"]
        length = self.rng.choices(lengths, [length["share"] for length in lengths])[0]
        return self.rng.randrange(length["at_least"], length["below"])

    def sentence(self, subject: str, asked: str) -> str:
        """A sentence, perhaps with details of style after it or before it."""
        parts = [part for part in (subject, asked) if part]
        if self.chance("context of a sentence"):
            parts.insert(self.rng.randrange(1, len(parts) + 1), self.context())
        if asked and self.chance("request first"):
            parts = [asked, *(part for part in parts if part != asked)]
        text = self.draw("sentence_joint").join(parts)
        before, after = [], []
        for detail in self.details(self.length() - len(text.split())):
            (before if self.chance("detail before") else after).append(detail)
        return self.draw("detail_joint").join([*before, text, *after])

    def tagged(self, subject: str, asked: str) -> str:
        """A list of tags, some of them weighted as in ComfyUI and A1111."""
        parts = [part for part in (subject, asked) if part]
        if self.chance("context of tags"):
            parts.append(self.context())
        details = list(self.details(self.length() - sum(len(part.split()) for part in parts)))
        tags = [self.weighted(detail, "weight") for detail in details]
        at = self.rng.choice((0, 0, len(tags), self.rng.randrange(len(tags) + 1)))
        tags[at:at] = [self.weighted(part, "weight of the subject") for part in parts]
        if self.chance("shuffled tags"):
            self.rng.shuffle(tags)
        if self.chance("underscores"):
            tags = [tag.replace(" ", "_") for tag in tags]
        return self.draw("tag_joint").join(tags)

    def details(self, words: int) -> Iterator[str]:
        """Details of at least so many words together: mostly style, some of what else is in the picture."""
        while words > 0:
            if self.words.words and self.chance("words as detail"):
                detail = " ".join(self.word() for _ in range(self.count("words of a detail")))
            else:
                detail = self.fill("{detail}")
            words -= max(1, len(detail.split()))
            yield detail

    def weighted(self, tag: str, chance: str) -> str:
        if not self.chance(chance):
            return tag
        weight = self.count("tenths of a weight") / 10
        return self.fill(self.draw("weighted"), tag=tag, weight=str(weight))


def gate_texts(
    axis: Axis, count: int, seed: int, held_out: bool = False, longest: float = math.inf, **others: Sequence[str]
) -> list[Labelled]:
    """Training prompts of an axis, of at most `longest` words each; `others` as for AxisWords."""
    prompts, texts = Grammar(axis, seed, held_out, **others), []
    while len(texts) < count:
        texts += [labelled for labelled in prompts.texts() if len(labelled.text.split()) <= longest]
    return texts[:count]


def gate_others(axis: Axis, folder: Path, space: str) -> dict[str, tuple[str, ...]]:
    """What training prompts of the gate may also name -> {"other_groups", "other_details"} for `gate_texts`.

    Groups are those of the axes in `folder` for the same kind of model; none shares a word with the axis' own. Details
    are the phrases of the axes whose ids begin alike.
    """
    axes = [load_axis(path) for path in sorted(folder.glob("*.json")) if path.name != SCHEMA.name]
    alike = [other for other in axes if other.id.split("-")[0] == axis.id.split("-")[0] and other.id != axis.id]
    axes = [other for other in axes if other.id.startswith("miniature-") == (space == "miniature")]
    words = named_words(axis)
    groups = dict.fromkeys(group for other in axes for group in other.groups if not words & set(words_of(group)))
    details = tuple(p for other in alike for p in other.stereotype.phrases + other.counter.phrases)
    return {"other_groups": tuple(groups), "other_details": details}
