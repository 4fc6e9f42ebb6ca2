"""Prompts of the miniature: training captions, and held-out wordings for benchmarks; their words are in prompts.json.

Held-out wordings are used for neither training nor learning nor calibration. They name no group, one in place of
{group}, or nobody.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..files.json_files import read_json
from .world import ATTIRES, BACKDROPS, Scene

Named = tuple[str | None, ...]  # what a caption names, of each attribute
MADE_UP_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def read_words(path: Path) -> dict:
    """The words of a world, from a JSON file, with tuples in place of lists."""

    def frozen(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: frozen(part) for name, part in value.items()}
        return tuple(value) if isinstance(value, list) else value

    return frozen(read_json(path))


WORDS = read_words(Path(__file__).with_name("prompts.json"))
HELD_OUT_NEUTRAL: tuple[str, ...] = WORDS["held_out"]["neutral"]
HELD_OUT_BACKDROP: dict[str, tuple[str, ...]] = WORDS["held_out"]["backdrop"]
HELD_OUT_ATTIRE: dict[str, tuple[str, ...]] = WORDS["held_out"]["attire"]
HELD_OUT_NO_GROUP: tuple[str, ...] = WORDS["held_out"]["no_group"]
HELD_OUT_NO_PERSON: tuple[str, ...] = WORDS["held_out"]["no_person"]


def training_prompt(
    rng: np.random.Generator, group: str | None, backdrop: str | None = None, attire: str | None = None,
    scene: str | None = None,
) -> str:  # fmt: skip
    """A random caption.

    Args:
        rng: of all choices.
        group: name of a group, "any" for a person of no named group, or None for a picture without a person.
        backdrop, attire: side that the caption names, or None.
        scene: backdrop of a picture without a person.
    """
    if group is None:
        parts = [f"{pick(rng, WORDS['openers'])} {pick(rng, WORDS['scenes'][scene])}"]
    else:
        trait, noun = pick(rng, WORDS["traits"]), pick(rng, WORDS["nouns"])
        who = joined(trait, "" if group == "any" else group, noun)
        article = pick(rng, ("a", "a", "one", ""))
        parts = [joined(pick(rng, WORDS["openers"]), article, who)]
        named = [pick(rng, WORDS["backdrop_phrases"][backdrop])] if backdrop else []
        named += [pick(rng, WORDS["attire_phrases"][attire])] if attire else []
        rng.shuffle(named)
        for phrase in named:
            parts[0] += pick(rng, (" ", " ", ", ")) + phrase
    extras = [pick(rng, WORDS["extras"]) for _ in range(rng.integers(0, 4))]
    if rng.random() < 0.15:  # made-up words teach the text encoder to ignore unknown ones
        extras.append(made_up_word(rng, MADE_UP_LETTERS))
    parts += extras
    if rng.random() < 0.15:
        rng.shuffle(parts)
    text = ", ".join(part.strip() for part in parts)
    return text if rng.random() < 0.5 else text.lower()


def named_sides(rng: np.random.Generator, kind: str) -> tuple[str | None, str | None]:
    """The sides that a caption of this kind names, at random -> (backdrop or None, attire or None)."""
    backdrop = BACKDROPS[rng.integers(2)] if kind in ("backdrop", "both", "empty") else None
    return backdrop, ATTIRES[rng.integers(2)] if kind in ("attire", "both") else None


def caption(rng: np.random.Generator, kind: str, scene: Scene) -> tuple[str, Named]:
    """A caption of a scene, and what it names -> (text, (group, backdrop, attire)).

    It names only sides that were given when the scene was sampled; the others follow the planted rates.
    """
    if kind == "empty":
        return training_prompt(rng, None, scene=scene.backdrop), (None, scene.backdrop, None)
    group = "any" if kind == "natural" and rng.random() < 0.08 else scene.group
    backdrop = scene.backdrop if kind in ("backdrop", "both") else None
    attire = scene.attire if kind in ("attire", "both") else None
    return training_prompt(rng, group, backdrop, attire), (group, backdrop, attire)


def pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    """One of some options at random."""
    return options[int(rng.integers(len(options)))]


def joined(*words: str | None) -> str:
    """Words with a space between, without the empty ones."""
    return " ".join(word for word in words if word)


def made_up_word(rng: np.random.Generator, letters: str) -> str:
    return "".join(pick(rng, letters) for _ in range(rng.integers(2, 9)))


def held_out(prompts: Sequence[str], group: str, index: int) -> str:
    """The `index`-th held-out wording for `group`, cycling through them."""
    return prompts[index % len(prompts)].format(group=group)
