"""Prompts of the second world: training captions, and held-out wordings; their words are in prompts.json."""

from pathlib import Path

import numpy as np

from corrector.miniature.prompts import joined, made_up_word, pick, read_words

# The text encoder's tokens are mostly single letters.
MADE_UP_LETTERS = "aabcdeefghiijklmnoopqrstuvwxyz"
WORDS = read_words(Path(__file__).with_name("prompts.json"))
HELD_OUT_NEUTRAL = WORDS["held_out"]["neutral"]
HELD_OUT_WORK = WORDS["held_out"]["work"]
HELD_OUT_NO_GROUP = WORDS["held_out"]["no_group"]


def training_prompt(rng: np.random.Generator, group: str | None = None, work: str | None = None) -> str:
    """A random caption of a person of `group` (None: no group is named), which names `work` unless it is None.

    Made-up words in any place teach the text encoder to ignore unknown ones.
    """

    def made_up() -> str:
        return made_up_word(rng, MADE_UP_LETTERS)

    noun = made_up() if rng.random() < 0.3 else pick(rng, WORDS["nouns"])
    phrase = pick(rng, WORDS["work_phrases"][work]) if work else ""
    if work and rng.random() < 0.2:
        noun, phrase = WORDS["roles"][work], ""
    who = joined(pick(rng, WORDS["traits"]), group, noun)
    opener = pick(rng, WORDS["openers"])
    if rng.random() < 0.3:
        opener = " ".join(made_up() for _ in range(rng.integers(1, 5)))
    parts = [joined(opener, pick(rng, ("a", "one", "the", "")), who)]
    if phrase:
        phrase += f" {made_up()}" if rng.random() < 0.2 else ""
        phrase = f"{made_up()} {phrase}" if rng.random() < 0.2 else phrase
        sentence = pick(rng, (" ", " ", ", ")).join([parts[0], phrase])
        parts = [phrase, *parts] if rng.random() < 0.3 else [sentence]
    parts += [pick(rng, WORDS["extras"]) for _ in range(rng.integers(0, 4))]
    parts += [" ".join(made_up() for _ in range(rng.integers(0, 4)))]
    if rng.random() < 0.2:
        rng.shuffle(parts)
    text = ", ".join(part.strip() for part in parts if part)
    return text if rng.random() < 0.5 else text.lower()
