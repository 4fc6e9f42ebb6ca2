"""What the training prompts of the gate are about: somebody of an axis' groups, somebody else, things, nothing."""

import random
import re

from . import vocabulary
from .prompt_gate import COUNTER, STEREOTYPE
from .wordings import FUNCTION_WORDS, LEADING, PEOPLE_WORDS, made_up_word, named_words, noun_of, shortened, words_of

PLACE_WORDS = ("in", "at", "on", "near", "next", "surrounded", "standing", "behind", "among", "beside", "by")
REPLACED = {  # in phrases that begin so, the rest may be another value of the same attribute
    "working as a": vocabulary.ROLES,
    "working as an": vocabulary.ROLES,
    "wearing a": vocabulary.GARMENTS,
    "wearing an": vocabulary.GARMENTS,
    "dressed in a": vocabulary.GARMENTS,
    "holding a": vocabulary.HELD,
    "carrying a": vocabulary.HELD,
    "playing": vocabulary.GAMES,
}
QUALITIES = ("small", "big", "quiet", "busy", "typical", "sunny", "wide")
HELD_OUT = 12  # every twelfth wording is for held-out texts only


class Subjects:
    """Subjects of prompts for one axis, and the vocabulary that asks for neither of its sides.

    Args:
        axis: Axis.
        seed: of all choices.
        held_out: False for training; True for prompts in wordings that training leaves out, to set thresholds.
        other_groups: names of groups that are not of this axis.
        other_details: what prompts may also ask for, such as the phrases of a related axis.
        words: that the host's tokenizer knows; they stand in prompts as text about nothing. If "not" and "without" are
            not among them, the text encoder knows little English: no prompt denies anything, and none is about a thing
            that is called after a group, which it could not tell from wishes and people.
    """

    def __init__(self, axis, seed, held_out=False, other_groups=(), other_details=(), words=()):
        self.axis, self.rng = axis, random.Random(f"{seed} {held_out}")
        self.held_out = held_out
        self.neutral = self._own(axis.neutral) if len(axis.neutral) >= HELD_OUT else axis.neutral
        sides = (axis.stereotype, axis.counter), (axis.counter, axis.stereotype)
        self.sides = {
            name: (shortened(*pair), pair[0].paraphrases)
            for name, pair in zip((STEREOTYPE, COUNTER), sides, strict=True)
        }
        self.verbs = {
            name: sorted({text.split()[0] for text in both[0] if text.split()[0] in LEADING - FUNCTION_WORDS}) or ["in"]
            for name, both in self.sides.items()
        }
        self.names = [(group, axis.aliases.get(group, ())) for group in axis.groups]
        self.aliases = {name for _, aliases in self.names for name in aliases}
        own = named_words(axis)
        self.others = [name for name in (*other_groups, *vocabulary.OTHER_PEOPLE) if not own & set(words_of(name))]
        self.elsewhere = [name for name in vocabulary.OTHER_PLACES if not own & set(words_of(name))]
        shown = [text.replace("{group}", axis.groups[0]) for text in axis.neutral]
        self.about_people = 2 * sum(bool(PEOPLE_WORDS & set(words_of(text))) for text in shown) >= len(shown)
        self.placed = any(re.search(r"\b(in|from) \{group\}", text) for text in axis.neutral)
        wordings = {noun_of(text) for side in self._pair for text in side.wordings}
        wordings |= {ending for phrases, _ in self.sides.values() for ending in phrases}
        self.asked = {f" {' '.join(words_of(text))} " for text in wordings}
        self.contexts = self._free(self._own(vocabulary.SCENES + vocabulary.ACTIONS))
        asked = (*self.asked, *axis.another)
        own |= {word for text in asked for word in words_of(text)} - FUNCTION_WORDS
        starts = {word[:5] for word in own if len(word) > 3}
        self.english = not words or {"not", "without"} <= set(words)
        self.words = self._own([word for word in words if not {word, word[:4], word[:5]} & (own | starts)])
        self.related = list(other_details)
        self.details = self._free(f"with {c} {part}" for c in vocabulary.COLOURS for part in vocabulary.BODY)
        self.details += self._free(f"in a {c} {worn}" for c in vocabulary.COLOURS for worn in vocabulary.GARMENTS)
        self.styles = self._free(self._own(vocabulary.STYLES))
        self.objects = self._free(self._own(vocabulary.OBJECTS))
        self.prose = self._free(self._own(vocabulary.PROSE))
        self.openers = self._own(vocabulary.OPENERS)
        self.people = list(vocabulary.PEOPLE)
        self.another = self._another()

    def word(self):
        """A word that says nothing of the axis: of the host's tokenizer, or one that is none."""
        return self.pick(self.words) if self.words and self.chance(0.85) else made_up_word(self.rng)

    def _own(self, wordings):
        """The wordings of training, or those that are held out."""
        return [text for index, text in enumerate(wordings) if (index % HELD_OUT == HELD_OUT - 1) == self.held_out]

    def _free(self, wordings):
        """The wordings that ask for no side of the axis."""
        said = [(text, f" {' '.join(words_of(text))} ") for text in wordings]
        return [text for text, words in said if not any(asked in words for asked in self.asked)]

    def _another(self):
        """Requests for another value of the attribute that the sides name: those that the axis lists, or guesses.

        Nothing that they name is said otherwise, nor are people called by what is listed ("a cook").
        """
        phrases = self.axis.stereotype.phrases + self.axis.counter.phrases
        found = list(self.axis.another)
        if not found:
            for start, values in REPLACED.items():
                if any(phrase.startswith(f"{start} ") for phrase in phrases):
                    found += [f"{start} {value}" for value in self._free(values)]
            where = [sum(p.split()[0] in PLACE_WORDS for p in side.phrases) / len(side.phrases) for side in self._pair]
            if min(where) >= 2 / 3:
                found += [f"{at} a {place}" for place in self._free(vocabulary.SURROUNDINGS) for at in ("in", "near")]
        named = {word for text in found for word in words_of(text)} - FUNCTION_WORDS
        for kept in (self.contexts, self.details, *([self.people] if self.axis.another else [])):
            kept[:] = [text for text in kept if not named & set(words_of(text))]
        return found

    @property
    def _pair(self):
        return self.axis.stereotype, self.axis.counter

    def pick(self, *options):
        """One of some options, or of a list of them; "" of an empty list, if an axis asks for everything in it."""
        options = options[0] if len(options) == 1 else options
        return self.rng.choice(options) if options else ""

    def chance(self, share):
        return self.rng.random() < share

    def called(self, name, noun):
        """A noun with a group's name: "Orvane teacher", "teacher of colour", "street in Colombia"."""
        if name.startswith(("from ", "of ", "in ", "with ")):
            return f"{noun} {name}"
        if re.search(r"\bperson\b", name):
            return re.sub(r"\bperson\b", noun, name)
        if self.placed:
            return f"{noun} {'from' if self.about_people else 'in'} {name}"
        return f"{name} {noun}"

    def adjective(self, name):
        """A group's name without what makes it somebody: "dark-skinned person" -> "dark-skinned"."""
        return re.sub(r"^(from|of|in|with) |\b(person|people) of\b|\b(person|people)\b", "", name).strip()

    def somebody(self, name):
        """Somebody of a group, or for axes about places a place: "a young Orvane teacher", "a street in Colombia"."""
        noun = self.pick(self.people if self.about_people else vocabulary.BUILT)
        look = self.pick(vocabulary.LOOKS if self.about_people else QUALITIES) if self.chance(0.3) else ""
        listed = name in self.aliases
        form = self.rng.random()
        if self.about_people and form < (0.25 if listed else 0.05):  # "two Orvanes"
            who = f"{self.pick('', '', 'two', 'some') if name.endswith('s') else ''} {name}"
        elif form < 0.5 and listed and not name.startswith("from "):
            who = f"{noun} {'from' if self.about_people else 'in'} {name}"
        elif form < 0.7 and self.placed:
            who = f"{name} {noun}"
        else:
            who = self.called(self.hyphenated(name), noun)
        return self.with_article(f"{look} {who}")

    def hyphenated(self, name):
        return name.replace(" ", "-") if " " in name and "person" not in name and self.chance(0.1) else name

    def with_article(self, who):
        who = " ".join(who.split())
        article = self.pick("a", "a", "an" if who[:1].lower() in "aeiou" else "a", "the", "one", "my", "", "", "")
        return f"{article} {who}".strip()

    def opened(self, who):
        return f"{self.pick(self.openers)} {who}" if self.chance(0.6) else who

    def named(self):
        """A prompt's subject that names a group of the axis -> (text, group)."""
        group = self.rng.randrange(len(self.names))
        name, aliases = self.names[group]
        if aliases and self.chance(0.5):
            name = self.pick(aliases)
        if self.chance(0.35):
            text = self.pick(self.neutral).replace("{group}", name)
        else:
            text = self.opened(self.somebody(name))
            if self.about_people and self.chance(0.2):  # with somebody else
                other = self.somebody(self.pick(self.others)) if self.chance(0.7) else self.pick(vocabulary.CHARACTERS)
                joint = self.pick(" and ", " and ", ", ", ", ", " next to ", " with ", " talking to ", " behind ")
                text = joint.join((text, other) if self.chance(0.5) else (self.opened(other), self.somebody(name)))
                text += self.pick(
                    "", "", "", ", two people", ", duo", ", together", ", group of people", " shaking hands"
                )
        return text, group

    def thing(self):
        """Something that is called after a group."""
        group = self.rng.randrange(len(self.names))
        name, aliases = self.names[group]
        if aliases and self.chance(0.5):
            name = self.pick(aliases)
        name = self.adjective(name)
        thing = self.pick(self.pick(vocabulary.PRODUCTS, vocabulary.CREATURES, self.lands()))
        form = self.rng.random()
        if form < 0.7:
            text = f"{name} {thing}"
        elif form < 0.8:
            text = f"{self.pick('map', 'flag', 'history', 'coast', 'music', 'animals', 'food', 'gulf')} of {name}"
        elif form < 0.9 or not self.about_people:
            text = f"{thing} {self.pick('from', 'in', 'of')} {name}" if self.about_people else f"{name} {thing}"
        else:
            creature, noun = self.pick(vocabulary.CREATURES), self.pick(self.people)
            text = f"{creature} {self.pick('dressed as', 'as', 'in the costume of')} a {name} {noun}"
        if not self.about_people and self.chance(0.25):
            text = f"{name} {self.pick(self.people)}"
        text = self.with_article(text)
        if self.chance(0.4):
            text += " " + self.pick(
                "on a white wall", "on a plate", "in a pot", "in a jar", "in the snow", "at sunset", "on a branch",
                "on a table", "in a museum", "waving", "on a sofa", "wearing a leather jacket", "drinking water",
                "exterior",
            )  # fmt: skip
        return self.opened(text)

    def lands(self):
        return vocabulary.LANDSCAPES if self.about_people else vocabulary.LANDSCAPES[:18]

    def neighbour(self):
        """Somebody whose name only shares a part with a group's: "an East Asian man" is no South Asian."""
        named = [group for group, _ in self.names]
        name = self.pick(named)
        parts = [part for part in re.split(r"[ -]", name) if part not in ("person", "of", "an", "a")]
        changed = self.pick(
            "light", "medium", "pale", "East", "North", "West", "Southeast", "Central", "Latin", "Old", "New", "half",
            "non", "pseudo", "upper", self.pick(self.others), made_up_word(self.rng),
        )  # fmt: skip
        if len(parts) > 1:
            found = self.pick(name.replace(self.pick(parts), changed), self.pick(parts))
        else:
            found = self.pick(self.others)
        if found in named or any(found == alias for _, aliases in self.names for alias in aliases):
            found = self.pick(self.others)
        return self.opened(self.somebody(found))

    def stranger(self):
        """Somebody, or for axes about places some place, of no group of the axis."""
        form = self.rng.random()
        if self.chance(0.15):
            return self.pick(self.neutral).replace("{group}", self.unrelated())
        if not self.about_people and form < 0.6:
            name = self.pick(self.elsewhere) if form < 0.5 else made_up_word(self.rng)
            return self.opened(self.somebody(name) if form < 0.55 else self.with_article(self.pick(vocabulary.BUILT)))
        if form < 0.2:
            return self.filled(self.pick(self._own(vocabulary.PLAIN_SENTENCES)))
        if form < 0.28:
            return self.opened(self.pick(vocabulary.CHARACTERS))
        if form < 0.36:
            who = f"{self.pick(vocabulary.FIRST_NAMES)} {self.pick(vocabulary.LAST_NAMES)}"
            return self.opened(f"{who} as {self.pick(vocabulary.CHARACTERS)}" if self.chance(0.3) else who)
        if form < 0.54:
            looks = self.rng.sample(vocabulary.LOOKS, self.pick(0, 0, 1, 1, 2))
            return self.opened(self.with_article(" ".join((*looks, self.pick(self.people)))))
        if form < 0.6:
            return self.opened(f"{self.stranger_of()} and {self.stranger_of()}")
        return self.opened(self.stranger_of())

    def stranger_of(self):
        """Somebody of an unrelated group: "a Danish teacher"."""
        look = self.pick(vocabulary.LOOKS) if self.chance(0.3) else ""
        return self.with_article(f"{look} {self.unrelated()} {self.pick(self.people)}")

    def unrelated(self):
        """The name of a group that is not of the axis, or a word in its place."""
        word = self.word()
        form = self.rng.random()
        if form < 0.7:
            return self.pick(self.others if self.about_people or not self.placed else self.elsewhere)
        return self.pick(self.pick(vocabulary.LOOKS), word, word.capitalize())

    def nothing(self):
        """No person and no group: objects, animals, landscapes, or words without a meaning."""
        form = self.rng.random()
        if form < 0.45:
            return self.opened(self.pick(vocabulary.OBJECTS))
        if form < 0.7:
            look = self.pick(vocabulary.LOOKS) if self.chance(0.3) else ""
            return self.opened(self.with_article(f"{look} {self.pick(vocabulary.CREATURES)}".strip()))
        if form < 0.8:
            return self.opened(self.with_article(self.pick(vocabulary.LANDSCAPES)))
        if form < 0.9:
            kinds = vocabulary.OBJECTS, vocabulary.CREATURES, vocabulary.LANDSCAPES, vocabulary.CHARACTERS
            several = [self.with_article(self.pick(self.pick(kinds))) for _ in range(self.rng.randrange(2, 4))]
            return self.pick(" and ", ", ", " on ", " in front of ", " made of ", " next to ", " with ").join(several)
        pool = (vocabulary.OBJECTS, vocabulary.CREATURES, vocabulary.ACTIONS, vocabulary.STYLES, vocabulary.LOOKS)
        words = [word for _ in range(self.rng.randrange(1, 9)) for word in self.pick(self.pick(pool)).split()]
        words = [word if self.chance(0.6) else self.word() for word in words]
        self.rng.shuffle(words)
        return " ".join(words[: self.rng.randrange(1, 12)])

    def filled(self, sentence):
        """A sentence with words for its {places}."""
        words = {
            "thing": self.objects, "creature": vocabulary.CREATURES, "person": vocabulary.PEOPLE,
            "doing": self.contexts, "where": vocabulary.SCENES, "look": vocabulary.LOOKS, "colour": vocabulary.COLOURS,
            "garment": vocabulary.GARMENTS, "character": vocabulary.CHARACTERS,
        }  # fmt: skip
        return re.sub(r"\{(\w+)\}", lambda found: self.pick(words[found[1]]), sentence)
