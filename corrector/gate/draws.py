"""Random texts in the shares of grammar.json."""

import random
import re
from collections.abc import Callable, Sequence

from .axis_words import AxisWords
from .data import Production, grammar
from .wordings import made_up_word

TEMPLATES = ("prose", "plain_sentence")  # lists whose entries have fields


class Draws:
    """Draws texts, of the lists of an axis, from one random generator; `fields` holds functions for fields by name."""

    def __init__(self, rng: random.Random, words: AxisWords):
        self.rng = rng
        self.words = words
        self.fields: dict[str, Callable[[], str]] = {}

    def pick(self, options: Sequence[str]) -> str:
        """One of some texts; "" of none, if an axis asks for everything in a list."""
        return self.rng.choice(options) if options else ""

    def draw(self, name: str) -> str:
        """One of a list of the axis' words."""
        return self.pick(self.words.lists[name])

    def text(self, name: str) -> str:
        """One of a list in the `texts` of the grammar."""
        return self.pick(grammar()["texts"][name])

    def count(self, name: str) -> int:
        return self.rng.choice(grammar()["counts"][name])

    def chance(self, name: str) -> bool:
        return self.rng.random() < grammar()["chances"][name]

    def form(self, name: str, *skipped: str) -> str:
        """One of the named forms, or "" for the rest; the share of a skipped form goes to the next one."""
        drawn, below = self.rng.random(), 0.0
        for form, share in grammar()["forms"][name].items():
            below += share
            if drawn < below and form not in skipped:
                return form
        return ""

    def production(self, rule: str) -> Production:
        """One of the productions of a rule, or an empty one for the rest; a rule of one certain text draws nothing."""
        productions = grammar()["rules"][rule]
        drawn, below = self.rng.random() if productions[0]["share"] < 1 else 0.0, 0.0
        for production in productions:
            below += production["share"]
            if drawn < below:
                return production
        return {"text": ""}

    def written(self, production: Production) -> str:
        """The text of a production, perhaps with an article and an opener."""
        text = self.fill(production["text"])
        text = self.with_article(text) if production.get("article") else text
        return self.opened(text) if production.get("opener") else text

    def fill(self, template: str) -> str:
        """A template with a text for each field: of a function, a rule or a list."""
        return re.sub(r"\{(\w+)\}", lambda field: self._field(field[1]), template)

    def _field(self, name: str) -> str:
        if name in self.fields:
            return self.fields[name]()
        if name in grammar()["rules"]:
            return self.written(self.production(name))
        return self.fill(self.draw(name)) if name in TEMPLATES else self.draw(name)

    def with_article(self, noun: str) -> str:
        noun = " ".join(noun.split())
        article = self.text("article").replace("a or an", "an" if noun[:1].lower() in "aeiou" else "a")
        return f"{article} {noun}".strip()

    def opened(self, subject: str) -> str:
        return f"{self.draw('opener')} {subject}" if self.chance("opener") else subject

    def word(self) -> str:
        """A word that says nothing of the axis: of the host's tokenizer, or one that is none."""
        known = self.words.words and self.chance("known word")
        return self.pick(self.words.words) if known else made_up_word(self.rng)
