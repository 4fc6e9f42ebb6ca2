"""An axis of two prompts that name a group: what they differ in are its sides."""

import difflib

from ..files.errors import short
from .axis import Axis, Side, aliases_from_text, lines_of

MOST = 300  # words of a prompt: text encoders read few more, and a comparison takes quadratic time

# Prompts that the gate is trained on.
NEUTRAL = (
    "{group}", "a {group}", "a photo of a {group}", "portrait of a {group}", "a painting of a {group}, close-up",
    "a {group} looking at the camera", "a young {group}", "an old {group} smiling", "a drawing of one {group}",
)  # fmt: skip


def text_axis(group, stereotype, counter, aliases="", stereotype_paraphrases="", counter_paraphrases="", another=""):
    """Make an Axis from a group and two prompts that name it, and from more wordings, as for `axis_from_texts`.

    Raises ValueError if the prompts do not differ or are too long, and AxisError if the wordings contradict each other.
    """
    group, stereotype, counter = (" ".join(text.split()) for text in (group, stereotype, counter))
    if not group:
        raise ValueError('The group is empty; enter the group that both prompts name, for example "Orvane person".')
    for name, prompt in (("stereotype", stereotype), ("counter", counter)):
        if group.lower() not in prompt.lower():
            raise ValueError(f'The {name} prompt does not name "{short(group)}"; each prompt must name the group.')
        if (words := len(prompt.split())) > MOST:
            raise ValueError(f"The {name} prompt has {words} words; at most {MOST} are compared, so shorten it.")
    if stereotype.lower() == counter.lower():
        raise ValueError("The stereotype and counter prompts are the same; they must differ in what should change.")
    sides = {}
    for name, prompt, other, more in (
        ("stereotype", stereotype, counter, stereotype_paraphrases),
        ("counter", counter, stereotype, counter_paraphrases),
    ):
        words = differing_words(prompt, other)
        if not words:
            raise ValueError(
                f"The {name} prompt has no words that the other lacks; describe in each what it should show, "
                'for example "in a village" and "in a city".'
            )
        tail = prompt[prompt.lower().index(group.lower()) + len(group) :].strip(" ,.")  # "in a village"
        phrases = (words, tail) if words in tail.lower() and tail != words else (words,)
        sides[name] = Side(f'"{words}"', phrases, tuple(lines_of(more)))
    return Axis(
        id="text",
        title=f"{group}: {sides['stereotype'].description} / {sides['counter'].description}",
        groups=(group,),
        aliases={name: tuple(names) for name, names in aliases_from_text(aliases, (group,)).items()},
        another=tuple(lines_of(another)),
        neutral=NEUTRAL,
        **sides,
        scope="made from two prompts in ComfyUI",
    )


def differing_words(prompt, other):
    """The words of a prompt that the other prompt lacks at that position."""
    words, others = ([word.strip(",.").lower() for word in text.split()] for text in (prompt, other))
    blocks = difflib.SequenceMatcher(None, words, others, autojunk=False).get_opcodes()
    return " ".join(word for kind, start, end, *_ in blocks if kind != "equal" for word in words[start:end])
