"""Axes from what people type: the text boxes of a graph, or two prompts that name a group."""

import difflib
import hashlib
import re
import unicodedata
from collections.abc import Sequence

from ..files.errors import short
from .axis import SIDES, Axis, AxisError, Side, axis_from_dict, contradiction

SMALL_WORDS = {  # which name no group
    "a", "an", "and", "are", "as", "at", "before", "behind", "by", "drawing", "for", "from", "her", "his", "in", "is",
    "illustration", "image", "near", "of", "on", "painting", "photo", "photograph", "picture", "portrait", "the",
    "their", "to", "wearing", "with",
}  # fmt: skip
ARTICLES = {"a", "an", "the"}
MOST_WORDS = 300  # of a prompt: text encoders read few more, and a comparison takes quadratic time

# Prompts that the gate of two prompts is trained on.
NEUTRAL_TEMPLATES = (
    "{group}", "a {group}", "a photo of a {group}", "portrait of a {group}", "a painting of a {group}, close-up",
    "a {group} looking at the camera", "a young {group}", "an old {group} smiling", "a drawing of one {group}",
)  # fmt: skip


def axis_from_texts(
    title: str, groups: str, neutral: str, stereotype: str, counter: str, stereotype_description: str = "",
    counter_description: str = "", aliases: str = "", stereotype_paraphrases: str = "", counter_paraphrases: str = "",
    another: str = "",
) -> Axis:  # fmt: skip
    """The contents of text boxes -> Axis, with an id made from the title. Raises AxisError as `axis_from_dict` does.

    Groups and aliases are separated by commas or newlines; all else but the title and the descriptions is one a line.

    Args:
        title: what the axis is about.
        groups, neutral, another: as the schema of axes describes them.
        stereotype, counter: phrases of the two sides, and stereotype_paraphrases, counter_paraphrases: others.
        stereotype_description, counter_description: what each side shows; by default its first phrase.
        aliases: other words for the groups, as for `aliases_from_text`.
    """
    title = " ".join(title.split())
    ascii_title = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    words = re.findall("[a-z0-9]+", ascii_title)
    names = lines_of(groups.replace(",", "\n"))
    hashed = hashlib.sha256(title.encode("utf-8", "surrogatepass")).hexdigest()[:10]

    def side(phrases: str, description: str, paraphrases: str) -> dict[str, object]:
        lines = lines_of(phrases)
        description = description.strip() or "".join(lines[:1])
        return {"description": description, "phrases": lines, "paraphrases": lines_of(paraphrases)}

    return axis_from_dict(
        {
            "id": "-".join(words)[:100] or f"axis-{hashed}",  # a title may have no Latin letters or digits
            "title": title,
            "groups": names,
            "aliases": aliases_from_text(aliases, names),
            "another": lines_of(another),
            "neutral": lines_of(neutral),
            "stereotype": side(stereotype, stereotype_description, stereotype_paraphrases),
            "counter": side(counter, counter_description, counter_paraphrases),
        }
    )


def aliases_from_text(text: str, groups: Sequence[str]) -> dict[str, list[str]]:
    """Lines such as "Orvane: Orvanese, from Orvania" -> {group: [alias]}. Raises AxisError if a line names no group.

    The group may be left out if there is only one.
    """
    aliases: dict[str, list[str]] = {}
    for line in lines_of(text):
        group, colon, names = line.partition(":")
        if not colon:
            if len(groups) != 1:
                example = groups[0] if groups else "the group"
                raise AxisError(f'The line "{line}" of the aliases names no group; write "{example}: {line}".')
            group, names = groups[0], line
        aliases.setdefault(group.strip(), []).extend(lines_of(names.replace(",", "\n")))
    return aliases


def lines_of(text: str) -> list[str]:
    """The non-empty lines of a text box."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def text_axis(
    group: str, stereotype: str, counter: str, aliases: str = "", stereotype_paraphrases: str = "",
    counter_paraphrases: str = "", another: str = "",
) -> Axis:  # fmt: skip
    """Make an Axis from a group and two prompts that name it: what they differ in are its sides.

    More wordings are as for `axis_from_texts`. Raises AxisError if the prompts do not differ or are too long, or if the
    wordings contradict each other.
    """
    group, *prompts = (" ".join(text.split()) for text in (group, stereotype, counter))
    if not group:
        raise AxisError('The group is empty; enter the group that both prompts name, for example "Kenyan woman".')
    for name, prompt in zip(SIDES, prompts, strict=True):
        if _after(group, prompt) is None:
            raise AxisError(
                f'The {name} prompt does not name "{short(group)}"; each prompt must name the group, in the same words.'
            )
        if (words := len(prompt.split())) > MOST_WORDS:
            raise AxisError(f"The {name} prompt has {words} words; at most {MOST_WORDS} are compared, so shorten it.")
    if prompts[0].lower() == prompts[1].lower():
        raise AxisError("The stereotype and counter prompts are the same; they must differ in what should change.")
    sides = {}
    paraphrases = stereotype_paraphrases, counter_paraphrases
    for name, prompt, other, lines in zip(SIDES, prompts, reversed(prompts), paraphrases, strict=True):
        words = differing_words(prompt, other)
        if ARTICLES.issuperset(words.split()):
            raise AxisError(
                f"The {name} prompt has no words that the other lacks, beside articles and punctuation; describe in "
                'each what it should show, for example "in a village" and "in a city".'
            )
        tail = str(_after(group, prompt)).strip(" ,.")  # "in a village"
        phrases = (words, tail) if words in tail.lower() and tail != words else (words,)
        sides[name] = Side(f'"{words}"', phrases, tuple(lines_of(lines)))
    axis = Axis(
        id="text",
        title=f"{group}: {sides['stereotype'].description} / {sides['counter'].description}",
        groups=(group,),
        aliases={name: tuple(names) for name, names in aliases_from_text(aliases, (group,)).items()},
        another=tuple(lines_of(another)),
        neutral=NEUTRAL_TEMPLATES,
        **sides,
        scope="made from two prompts in ComfyUI",
    )
    if error := contradiction(axis.to_dict()):
        raise AxisError(error)
    return axis


def _after(group, prompt):
    """What follows a group's name in a prompt; None if the prompt does not name it, as "woman" does not name "man"."""
    for name in re.finditer(re.escape(group), prompt, re.IGNORECASE):
        before, after = prompt[: name.start()], prompt[name.end() :]
        neighbours = before[-1:] + after[:1]
        if neighbours.lower() == neighbours.upper():  # no letters, or of a script without spaces between words
            return after
    return None


def common_words(stereotype: str, counter: str) -> str:
    """The group that two phrases name: the longest run of words that both have, without small words at its ends.

    Raises AxisError if there is none.
    """
    words, others = ([word.strip(",.") for word in text.split()] for text in (stereotype, counter))
    folded = [[word.lower() for word in part] for part in (words, others)]
    blocks = difflib.SequenceMatcher(None, *folded, autojunk=False).get_matching_blocks()
    runs = []
    for start, _, size in blocks:
        run = words[start : start + size]
        while run and run[0].lower() in SMALL_WORDS:
            run = run[1:]
        while run and run[-1].lower() in SMALL_WORDS:
            run = run[:-1]
        runs.append(run)
    group = max(runs, key=len)
    if not group:
        raise AxisError(
            "The two phrases have no group in common; name the group in both, in the same words, for example "
            '"an African man in a village" and "an African man in a city".'
        )
    return " ".join(group)


def differing_words(prompt: str, other: str) -> str:
    """The words of a prompt that the other prompt lacks at that position."""
    words, others = ([word.strip(",.").lower() for word in text.split()] for text in (prompt, other))
    blocks = difflib.SequenceMatcher(None, words, others, autojunk=False).get_opcodes()
    return " ".join(word for kind, start, end, *_ in blocks if kind != "equal" for word in words[start:end])
