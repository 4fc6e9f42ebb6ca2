"""Prompts with which a gate is measured: those written by hand, of checks.json, and an axis' own wordings."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from torch import Tensor

from ..axis.axis import Axis
from .data import checks
from .prompt_gate import ANOTHER, COUNTER, EXPLICIT, NEITHER, OUT_OF_SCOPE, STEREOTYPE, PromptGate
from .texts import Grammar, Labelled
from .wordings import noun_of


class Checked(NamedTuple):
    """A hand-written prompt with its labels, as Labelled, and its category."""

    text: str
    group: int
    explicit: int
    category: str


def check_texts(axis: Axis) -> list[Checked]:
    """The hand-written prompts for an axis, of its groups by turns."""
    subjects, checked = Grammar(axis, 0).subjects, []
    about_people = subjects.words.about_people
    phrases = axis.stereotype.phrases
    for category, check in checks().items():
        explicit = EXPLICIT.index(check.get("asks", "neither"))
        for index, text in enumerate(check.get("texts", check.get("people" if about_people else "places", ()))):
            group = index % len(axis.groups)
            name = axis.groups[group]
            text = text.replace("[who]", "[baker]" if about_people else "[street]")
            for side, wordings in ((STEREOTYPE, axis.stereotype.wordings), (COUNTER, axis.counter.wordings)):
                text = text.replace(f"{{{EXPLICIT[side]}}}", wordings[(7 * index + side) % len(wordings)])
            text = text.replace("{bare}", noun_of(phrases[index % len(phrases)]))
            text = re.sub(r"\[(.+?)\]", lambda noun, name=name: subjects.called(name, noun[1]), text)
            text = re.sub(r"<(.+?)>", lambda thing, name=name: f"{subjects.adjective(name)} {thing[1]}", text)
            checked.append(Checked(text, group if check["in_scope"] else OUT_OF_SCOPE, explicit, category))
    return checked


def own_texts(axis: Axis) -> list[Labelled]:
    """A prompt for each group, alias and wording of an axis."""
    template = axis.neutral[0]
    texts = [
        Labelled(template.replace("{group}", name), index, NEITHER)
        for index, group in enumerate(axis.groups)
        for name in (group, *axis.aliases.get(group, ()))
    ]
    prompt = template.replace("{group}", axis.groups[0])
    sides = (STEREOTYPE, axis.stereotype.wordings), (COUNTER, axis.counter.wordings), (ANOTHER, axis.another)
    return texts + [Labelled(f"{prompt} {wording}", 0, side) for side, wordings in sides for wording in wordings]


def not_read(
    axis: Axis, gate: PromptGate, encode_each: Callable[[Sequence[str]], Iterable[Tensor]]
) -> tuple[list[str], int]:
    """Which of an axis' own wordings its gate does not read -> (prompts, number of all).

    A name is not read if its prompt is not corrected as its group; a request, if its prompt is not left alone.
    """
    texts, missed = own_texts(axis), []
    for (text, group, explicit), tokens in zip(texts, encode_each([text for text, *_ in texts]), strict=True):
        reading = gate.read([tokens[None]])
        is_read = reading.open and reading.group == group if explicit == NEITHER else not reading.open
        missed += [] if is_read else [text]
    return missed, len(texts)
