"""What the training prompts of the gate are about: somebody of an axis' groups, somebody else, things, nothing."""

import random
import re

from .axis_words import AxisWords
from .data import vocabulary
from .draws import Draws
from .plain_words import concerns_nobody, plain_words
from .prompt_gate import OUT_OF_SCOPE
from .wordings import made_up_word


class Subjects(Draws):
    """Subjects of the prompts of one axis."""

    def __init__(self, rng: random.Random, words: AxisWords):
        super().__init__(rng, words)
        self.fields = {
            "thing": self.thing,
            "neighbour": self.neighbour,
            "stranger": self.stranger,
            "unrelated": self.unrelated,
            "several_looks": lambda: " ".join(rng.sample(words.lists["look"], self.count("looks of a stranger"))),
            "place_elsewhere": lambda: self.somebody(self.draw("other_place")),
            "place_made_up": lambda: self.somebody(made_up_word(rng)),
            "unnamed_place": self.unnamed_place,
            "several_things": self.several_things,
            "scrambled_words": self.scrambled_words,
        }

    def subject(self) -> tuple[str, int]:
        """-> (what a prompt is about, group index or OUT_OF_SCOPE)."""
        production = self.production("subject")
        return self.named() if production.get("in_scope") else (self.written(production), OUT_OF_SCOPE)

    def group(self) -> tuple[str, int]:
        """-> (a group's name or an alias, its index)."""
        index = self.rng.randrange(len(self.words.names))
        name, aliases = self.words.names[index]
        return (self.pick(aliases) if aliases and self.chance("alias") else name), index

    def called(self, name: str, noun: str) -> str:
        """A noun with a group's name: "Orvane teacher", "teacher of colour", "street in Colombia"."""
        if name.startswith(("from ", "of ", "in ", "with ")):
            return f"{noun} {name}"
        if re.search(r"\bperson\b", name):
            return re.sub(r"\bperson\b", noun, name)
        return self.after(name, noun) if self.words.placed else f"{name} {noun}"

    def after(self, name: str, noun: str) -> str:
        return f"{noun} {'from' if self.words.about_people else 'in'} {name}"

    def adjective(self, name: str) -> str:
        """A group's name without what makes it somebody: "dark-skinned person" -> "dark-skinned"."""
        return re.sub(r"^(from|of|in|with) |\b(person|people) of\b|\b(person|people)\b", "", name).strip()

    def somebody(self, name: str) -> str:
        """Somebody of a group, or for axes about places a place: "a young Orvane teacher", "a street in Colombia"."""
        noun = self.draw("person" if self.words.about_people else "place")
        look = self.fill("{rare_look}" if self.words.about_people else "{rare_place_look}")
        rule = "somebody"
        if name in self.words.aliases:
            rule = "somebody_from" if name.startswith("from ") else "somebody_by_alias"

        def called() -> str:
            hyphenated = " " in name and "person" not in name and self.chance("hyphen")
            return self.called(name.replace(" ", "-") if hyphenated else name, noun)

        who = self.written(
            self.production(rule), name=name, noun=noun, noun_from_name=self.after(name, noun), called=called,
            counted=lambda: self.draw("counted") if name.endswith("s") else "",
        )  # fmt: skip
        return self.with_article(f"{look} {who}")

    def named(self) -> tuple[str, int]:
        """Somebody of a group of the axis -> (text, group index)."""
        name, index = self.group()
        if self.chance("neutral template"):
            return self.pick(self.words.neutral).replace("{group}", name), index
        text = self.opened(self.somebody(name))
        if self.words.about_people and self.chance("company"):
            other_people = self.chance("company of other people")
            other = self.somebody(self.draw("other_people")) if other_people else self.draw("character")
            joint = self.draw("and_somebody")
            pair = (text, other) if self.chance("company second") else (self.opened(other), self.somebody(name))
            text = joint.join(pair) + self.draw("together")
        return text, OUT_OF_SCOPE if concerns_nobody(self.words.axis.concerns, plain_words(text)) else index

    def thing(self) -> str:
        """Something that is called after a group."""
        about_people, lists = self.words.about_people, self.words.lists
        name = self.adjective(self.group()[0])
        landscapes = lists["landscape" if about_people else "nature"]
        noun = self.pick(self.rng.choice((lists["product"], lists["creature"], landscapes)))

        def costume() -> str:
            creature, person = self.draw("creature"), self.draw("person")
            return f"{creature} {self.draw('dressed_as')} a {name} {person}"

        text = self.written(self.production("thing"), name=name, noun=noun, costume=costume)
        if not about_people and self.chance("person in a place"):
            text = f"{name} {self.draw('person')}"
        text = self.with_article(text)
        if self.chance("ending of a thing"):
            text += f" {self.draw('thing_ending')}"
        return self.opened(text)

    def neighbour(self) -> str:
        """Somebody whose name only shares a part with a group's: "an East Asian man" is no South Asian."""
        groups = self.words.axis.groups
        name = self.pick(groups)
        parts = [part for part in re.split(r"[ -]", name) if part not in ("person", "of", "an", "a")]
        changed = self.pick([*self.words.lists["changed_part"], self.draw("other_people"), made_up_word(self.rng)])
        if len(parts) > 1:
            neighbour = self.pick((name.replace(self.pick(parts), changed), self.pick(parts)))
        else:
            neighbour = self.draw("other_people")
        if neighbour in groups or neighbour in self.words.aliases:
            neighbour = self.draw("other_people")
        return self.opened(self.somebody(neighbour))

    def stranger(self) -> str:
        """Somebody, or for axes about places some place, of no group of the axis."""
        production = self.production("stranger" if self.words.about_people else "strange_place")
        if self.chance("neutral template of a stranger"):
            return self.pick(self.words.neutral).replace("{group}", self.unrelated())
        return self.written(production)

    def unnamed_place(self) -> str:
        made_up_word(self.rng)  # as for a place with a made-up name: one order of draws for all
        return self.draw("place")

    def unrelated(self) -> str:
        """The name of a group that is not of the axis, or a word in its place."""
        word = self.word()
        if self.chance("unrelated name"):
            return self.draw("other_people" if self.words.about_people or not self.words.placed else "other_place")
        return self.pick((self.draw("look"), word, word.capitalize()))

    def several_things(self) -> str:
        kinds = [self.words.lists[name] for name in ("any_object", "creature", "landscape", "character")]
        things = [self.with_article(self.pick(self.rng.choice(kinds))) for _ in range(self.count("things"))]
        return self.draw("and_thing").join(things)

    def scrambled_words(self) -> str:
        """Words without a meaning."""
        kinds = [vocabulary()[name] for name in ("object", "creature", "action", "style", "look")]
        entries = [self.pick(self.rng.choice(kinds)) for _ in range(self.count("scrambled entries"))]
        words = [word if self.chance("kept word") else self.word() for word in " ".join(entries).split()]
        self.rng.shuffle(words)
        return " ".join(words[: self.count("scrambled words")])
