"""A grammar of prompts that trains the gate: what people write about an axis' groups, and about anything else.

A prompt is somebody or something, what may be asked of a side of the axis, and other details, as a sentence or as a
list of tags, of 1 to 120 words. Each comes with its labels: which group it names, and what it asks for.
"""

import math

from ..axis.axis import load_axis
from ..axis.schema import SCHEMA
from .prompt_gate import ANOTHER, COUNTER, NEITHER, OUT_OF_SCOPE, STEREOTYPE
from .subjects import Subjects
from .wordings import FUNCTION_WORDS, NEGATIONS, misspelt, named_words, noun_of, words_of

LONGEST = 120  # words


class Grammar(Subjects):
    """The prompts of one axis; Args as for Subjects."""

    # What is asked for

    def request(self, side):
        """A phrase or paraphrase of a side."""
        phrases, paraphrases = self.sides[side]
        return self.pick(paraphrases if paraphrases and self.chance(0.55) else phrases)

    def denial(self, side, phrase=None):
        """That a side is not wanted, in words that name it: a phrase of it, or any."""
        phrase = phrase or self.request(side)
        if NEGATIONS & set(words_of(phrase)):  # "without electricity"
            return self.pick(f"not {phrase}", f"anything but {phrase}", f"definitely not {phrase}", f"never {phrase}")
        named = noun_of(phrase)
        if self.chance(0.25):
            named = self.head_of(named, side)
        doing = self.pick(self.verbs[side])
        return self.pick(
            f"not {phrase}", f"not {doing} {named}", f"not {doing} a {named}", f"not {doing} any {named}",
            f"no {named}", f"without {named}", f"without any {named}", f"not {named}",
            f"anything but {named}", f"definitely not {phrase}", f"never {phrase}", f"there is no {named}",
            f"free of {named}",
            f"no {named}, no {noun_of(self.request(side))}", f"no {named} and no {noun_of(self.request(side))}",
            f"far from any {named}", f"not a {named}", f"isn't {phrase}", f"zero {named}", f"minus the {named}",
            f"avoid {named}", f"except {named}", f"{named} is missing", f"no sign of {named}", f"(no {named}:1.2)",
            f"leaving out the {named}", f"no {named}", f"without {named}", f"not {phrase}", f"without a {named}",
        )  # fmt: skip

    def head_of(self, named, side):
        """The last word of what a phrase names ("hat" of "black hat"), or all of it if that word says too little."""
        head, other = named.split()[-1], COUNTER if side == STEREOTYPE else STEREOTYPE
        said = {word for wordings in self.sides[other] for text in wordings for word in words_of(text)}
        return named if head in said | FUNCTION_WORDS else head

    def wish(self):
        """What a prompt asks for -> (text or "", one of EXPLICIT)."""
        form = self.rng.random()
        if form < 0.20:
            return self.request(STEREOTYPE), STEREOTYPE
        if form < 0.38:
            return self.request(COUNTER), COUNTER
        if form < 0.41 and self.english:
            side, other = self.rng.sample((STEREOTYPE, COUNTER), 2)
            joint = self.pick("instead of", "rather than", "and not", "but not")
            return f"{self.request(side)} {joint} {noun_of(self.request(other))}", side
        if form < 0.44 and self.another:
            return self.pick(self.another), ANOTHER
        if form < 0.53 and self.english:
            return self.denied()
        if form < 0.555 and self.english:
            return self.denial(COUNTER), STEREOTYPE
        if form < 0.6 and self.axis.another:  # what is listed is learned as well as the sides are
            return self.pick(self.another), ANOTHER
        return "", NEITHER

    def denied(self, phrase=None):
        """What a prompt that does not want the stereotype asks for; "no hat" may ask for the counter side."""
        text = self.denial(STEREOTYPE, phrase)
        return text, COUNTER if text in self.axis.counter.paraphrases else NEITHER

    def wishes(self, group):
        """What one prompt asks for, or two that differ in nothing else -> list as of `wish`."""
        if group == OUT_OF_SCOPE and self.chance(0.75):
            return [("", NEITHER)]
        asked, explicit = self.wish()
        if group == OUT_OF_SCOPE or explicit not in (STEREOTYPE, COUNTER) or self.chance(0.6):
            return [(asked, explicit)]
        if (
            explicit == STEREOTYPE
            and self.english
            and any(asked in wordings for wordings in self.sides[STEREOTYPE])
            and self.chance(0.65)
        ):
            return [(asked, explicit), self.denied(asked)]
        return [(asked, explicit), (self.context() if self.chance(0.5) else "", NEITHER)]

    # The whole prompt

    def texts(self):
        """One text, or two with unlike wishes -> list of (text, group index or OUT_OF_SCOPE, one of EXPLICIT)."""
        subject, group = self.subject()
        if not subject:
            return [("", OUT_OF_SCOPE, NEITHER)]
        wishes, state, found = self.wishes(group), self.rng.getstate(), []
        for asked, explicit in wishes:
            self.rng.setstate(state)
            text = self.tagged(subject, asked) if self.chance(0.45) else self.sentence(subject, asked)
            if self.chance(0.04):
                text = misspelt(self.rng, text)
            found.append((text.lower() if self.chance(0.45) else text, group, explicit))
        return found

    def subject(self):
        """-> (what a prompt is about, group index or OUT_OF_SCOPE)."""
        form = self.rng.random()
        if form < 0.46:
            return self.named()
        if form < 0.59 and self.english:
            return self.thing(), OUT_OF_SCOPE
        if form < 0.64:
            return self.neighbour(), OUT_OF_SCOPE
        if form < 0.81:
            return self.stranger(), OUT_OF_SCOPE
        return self.nothing() if form < 0.98 else "", OUT_OF_SCOPE

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
        tags = [self.weighted(tag) for tag in tags]
        at = self.pick(0, 0, len(tags), self.rng.randrange(len(tags) + 1))
        tags[at:at] = [self.weighted(part, 0.3) for part in parts]  # what matters most is weighted most
        if self.chance(0.15):
            self.rng.shuffle(tags)
        return self.pick(", ", ", ", ", ", " , ", " ").join(tags)

    def weighted(self, tag, share=0.1):
        if not self.chance(share):
            return tag
        number = self.rng.randrange(7, 15) / 10
        return self.pick(f"({tag}:{number})", f"({tag}:{number})", f"(({tag}))", f"(({tag}))", f"({tag})", f"[{tag}]")


def gate_texts(axis, count, seed, held_out=False, longest=math.inf, **others):
    """Training prompts of an axis -> list of (text, group index or OUT_OF_SCOPE, index in EXPLICIT); see Grammar.

    None has more than `longest` words.
    """
    grammar, found = Grammar(axis, seed, held_out, **others), []
    while len(found) < count:
        found += [labelled for labelled in grammar.texts() if len(labelled[0].split()) <= longest]
    return found[:count]


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
