"""Random texts by the rules and in the shares of grammar.json."""

import random
import re
from collections.abc import Callable, Sequence

from .axis_words import AxisWords
from .data import Production, grammar
from .wordings import made_up_word

TEMPLATES = ("prose", "plain_sentence")  # lists whose entries have fields
Field = str | Callable[[], str]


class Draws:
    """Draws texts for an axis from one random generator; `fields` are the fields of rules that are no lists."""

    fields: dict[str, Field]

    def __init__(self, rng: random.Random, words: AxisWords):
        self.rng = rng
        self.words = words

    def pick(self, options: Sequence[str]) -> str:
        """One of some texts; "" of none, if an axis asks for everything in a list."""
        return self.rng.choice(options) if options else ""

    def draw(self, name: str) -> str:
        """One of a list of the axis' words, or of the texts of the grammar."""
        text = self.pick(self.words.lists[name])
        return self.fill(text) if name in TEMPLATES else text

    def count(self, name: str) -> int:
        return self.rng.choice(grammar()["counts"][name])

    def chance(self, name: str) -> bool:
        return self.rng.random() < grammar()["chances"][name]

    def production(self, rule: str) -> Production:
        """A production of a rule, or an empty one for the rest; a rule of one certain text draws nothing."""
        productions = grammar()["rules"][rule]
        drawn, below = self.rng.random() if productions[0]["share"] < 1 else 0.0, 0.0
        for production in productions:
            below += production["share"]
            if drawn < below and getattr(self.words, production.get("when", ""), True):
                return production
        return {"share": 0, "text": ""}

    def written(self, production: Production, **fields: Field) -> str:
        """The text of a production with its fields, perhaps with an article and an opener."""
        text = self.fill(production["text"], **fields)
        text = self.with_article(text) if production.get("article") else text
        return self.opened(text) if production.get("opener") else text

    def fill(self, template: str, **fields: Field) -> str:
        """A template with a text for each {field}: one of `fields`, or drawn by a rule or from a list."""
        fields = self.fields | fields

        def filled(match: re.Match) -> str:
            name = match[1]
            if name in fields:
                field = fields[name]
                return field if isinstance(field, str) else field()
            return self.written(self.production(name)) if name in grammar()["rules"] else self.draw(name)

        return re.sub(r"\{(\w+)\}", filled, template)

    def with_article(self, noun: str) -> str:
        noun = " ".join(noun.split())
        article = self.draw("article").replace("a or an", "an" if noun[:1].lower() in "aeiou" else "a")
        return f"{article} {noun}".strip()

    def opened(self, subject: str) -> str:
        return f"{self.draw('opener')} {subject}" if self.chance("opener") else subject

    def word(self) -> str:
        """A word that says nothing of the axis: of the host's tokenizer, or one that is none."""
        from_vocabulary = self.words.words and self.chance("known word")
        return self.pick(self.words.words) if from_vocabulary else made_up_word(self.rng)
