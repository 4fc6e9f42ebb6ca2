"""A grammar of prompts that trains the gate: what people write about an axis' groups, and about anything else.

A prompt is somebody or something, what may be asked of a side of the axis, and other details, as a sentence or as a
list of tags, of 1 to 120 words. Each comes with its labels: which group it names, and what it asks for.
"""

from ..axis.axis import load_axis
from ..axis.schema import SCHEMA
from ..preference.prompt_gate import ANOTHER, COUNTER, NEITHER, OUT_OF_SCOPE, STEREOTYPE
from .gate_subjects import Subjects
from .wordings import misspelt, named_words, noun_of, words_of

LONGEST = 120  # words


class Grammar(Subjects):
    """The prompts of one axis; Args as for Subjects."""

    # What is asked for

    def request(self, side):
        """A phrase or paraphrase of a side."""
        phrases, paraphrases = self.sides[side]
        return self.pick(paraphrases if paraphrases and self.chance(0.55) else phrases)

    def denial(self, side):
        """That a side is not wanted, in words that name it."""
        phrase = self.request(side)
        named = noun_of(phrase)
        return self.pick(
            f"not {phrase}", f"no {named}", f"without {named}", f"without any {named}", f"not {named}",
            f"anything but {named}", f"definitely not {phrase}", f"never {phrase}", f"there is no {named}",
            f"free of {named}",
            f"no {named}, no {noun_of(self.request(side))}", f"no {named} and no {noun_of(self.request(side))}",
            f"far from any {named}", f"not a {named}", f"isn't {phrase}", f"zero {named}", f"minus the {named}",
            f"avoid {named}", f"except {named}", f"{named} is missing", f"no sign of {named}", f"(no {named}:1.2)",
            f"leaving out the {named}", f"no {named}", f"without {named}", f"not {phrase}",
        )  # fmt: skip

    def wish(self):
        """What a prompt asks for -> (text or "", one of EXPLICIT)."""
        form = self.rng.random()
        if form < 0.20:
            return self.request(STEREOTYPE), STEREOTYPE
        if form < 0.38:
            return self.request(COUNTER), COUNTER
        if form < 0.41:
            side, other = self.rng.sample((STEREOTYPE, COUNTER), 2)
            joint = self.pick("instead of", "rather than", "and not", "but not")
            return f"{self.request(side)} {joint} {noun_of(self.request(other))}", side
        if form < 0.44 and self.another:
            return self.pick(self.another), ANOTHER
        if form < 0.55:
            text = self.denial(STEREOTYPE)
            return text, COUNTER if text in self.axis.counter.paraphrases else NEITHER  # "no hat" may ask for a side
        if form < 0.575:
            return self.denial(COUNTER), STEREOTYPE
        return "", NEITHER

    # The whole prompt

    def text(self):
        """-> (text, group index or OUT_OF_SCOPE, one of EXPLICIT)."""
        form, group = self.rng.random(), OUT_OF_SCOPE
        if form < 0.46:
            subject, group = self.named()
        elif form < 0.59:
            subject = self.thing()
        elif form < 0.64:
            subject = self.neighbour()
        elif form < 0.81:
            subject = self.stranger()
        elif form < 0.98:
            subject = self.nothing()
        else:
            return "", OUT_OF_SCOPE, NEITHER
        asked, explicit = self.wish() if group != OUT_OF_SCOPE or self.chance(0.25) else ("", NEITHER)
        text = self.tagged(subject, asked) if self.chance(0.45) else self.sentence(subject, asked)
        if self.chance(0.04):
            text = misspelt(self.rng, text)
        return text.lower() if self.chance(0.45) else text, group, explicit

    def detail(self):
        """What fills a longer prompt: mostly style, some of what else is in the picture."""
        if self.words and self.chance(0.3):
            return " ".join(self.word() for _ in range(self.pick(1, 1, 2, 2, 3, 5)))
        form = self.rng.random()
        if form < 0.88:
            return self.pick(self.styles) if form < 0.66 else self.context()
        return self.filled(self.pick(self.prose)) if form < 0.96 else self.pick(self.objects)

    def context(self):
        """A detail that asks for neither side: where, doing what, looking how."""
        if self.related and self.chance(0.3):
            return self.pick(self.related)
        if self.details and self.chance(0.2):
            return self.pick(self.details)
        return self.pick(self.contexts)

    def length(self):
        """The number of words that a prompt should have."""
        low, high = self.rng.choices(((1, 8), (8, 20), (20, 45), (45, LONGEST)), (34, 30, 20, 16))[0]
        return self.rng.randrange(low, high)

    def sentence(self, subject, asked):
        """A sentence, perhaps with details of style after it or before it."""
        parts = [part for part in (subject, asked) if part]
        if self.chance(0.35):
            parts.insert(self.rng.randrange(1, len(parts) + 1), self.context())
        if asked and self.chance(0.12):
            parts = [asked, *(part for part in parts if part != asked)]
        text = self.pick(" ", " ", " ", ", ", ", ", " is ", " who is ").join(parts)
        before, after = [], []
        wanted = self.length() - len(text.split())
        while wanted > 0:
            detail = self.detail()
            (before if self.chance(0.25) else after).append(detail)
            wanted -= max(1, len(detail.split()))
        return self.pick(", ", ", ", ", ", ". ", " ").join([*before, text, *after])

    def tagged(self, subject, asked):
        """A list of tags, some of them weighted as in ComfyUI and A1111."""
        parts = [part for part in (subject, asked) if part]
        if self.chance(0.3):
            parts.append(self.context())
        tags, wanted = [], self.length() - sum(len(part.split()) for part in parts)
        while wanted > 0:
            tags.append(self.detail())
            wanted -= max(1, len(tags[-1].split()))
        at = self.pick(0, 0, len(tags), self.rng.randrange(len(tags) + 1))
        tags[at:at] = parts
        if self.chance(0.15):
            self.rng.shuffle(tags)
        return self.pick(", ", ", ", ", ", " , ", " ").join(self.weighted(tag) for tag in tags)

    def weighted(self, tag):
        form = self.rng.random()
        if form < 0.06:
            return f"({tag}:{self.rng.randrange(7, 15) / 10})"
        return f"(({tag}))" if form < 0.08 else f"[{tag}]" if form < 0.09 else tag


def gate_texts(axis, count, seed, held_out=False, **others):
    """Training prompts of an axis -> list of (text, group index or OUT_OF_SCOPE, index in EXPLICIT); see Grammar."""
    grammar = Grammar(axis, seed, held_out, **others)
    return [grammar.text() for _ in range(count)]


def gate_others(axis, folder, space):
    """What training prompts of the gate may also name -> {"other_groups", "other_details"} for `gate_texts`.

    Groups are those of the axes in `folder` for the same kind of model; none shares a word with the axis' own. Details
    are the phrases of the axes whose ids begin alike.
    """
    axes = [load_axis(path) for path in sorted(folder.glob("*.json")) if path.name != SCHEMA.name]
    alike = [other for other in axes if other.id.split("-")[0] == axis.id.split("-")[0] and other.id != axis.id]
    axes = [other for other in axes if other.id.startswith("miniature-") == (space == "miniature")]
    own = named_words(axis)
    groups = dict.fromkeys(group for other in axes for group in other.groups if not own & set(words_of(group)))
    details = tuple(p for other in alike for p in other.stereotype.phrases + other.counter.phrases)
    return {"other_groups": tuple(groups), "other_details": details}
