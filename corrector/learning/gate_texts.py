"""Training prompts for the gate: prompts of the axis with random additions, and prompts about other subjects."""

import random

from ..axis.axis import load_axis
from ..axis.schema import SCHEMA
from ..preference.prompt_gate import OUT_OF_SCOPE

EXTRAS = (
    "smiling", "looking at the camera", "soft light", "highly detailed", "sharp focus", "warm colours", "best quality",
    "masterpiece", "at noon", "in the evening", "4k", "cinematic", "oil on canvas", "watercolour", "natural", "vivid",
    "black and white", "pen and ink", "light and shadow", "front and centre", "a wide view", "one of a series",
    "detailed hair and eyes", "a fine picture of", "seen from the side", "made with care and patience", "film grain",
    "professional", "front view", "gentle smile", "high resolution", "upper body", "charcoal", "dusk", "looking away",
)  # fmt: skip
NOBODY = (
    "a kitten", "a dog in the grass", "a plate of bread", "a river", "hills", "a green tractor", "a chair by a wall",
    "a pattern of circles", "a flower", "a tree", "a quiet lake", "a map", "a book on a desk", "clouds", "a car", "",
)  # fmt: skip
OTHER_DETAILS = (
    "in a garden", "on a beach", "in a forest", "in a kitchen", "wearing a hat", "holding a book", "at a table", "", "",
    "with a dog", "under a tree", "by a window", "with a necklace", "in the rain",
)  # fmt: skip
SOMEBODY = (
    "a portrait of a person", "a photo of a man", "a picture of a woman", "portrait of an old man", "a teacher",
    "a drawing of a young woman", "a doctor", "a student smiling", "a painting of one person", "a friend, close-up",
)  # fmt: skip
OTHER_PEOPLE = (
    "person", "man", "woman", "child", "neighbour", "tall person", "Danish man", "Canadian person", "Peruvian woman",
    "Korean man", "Kenyan person", "Indian woman", "Egyptian man", "Polish person", "Samoan woman", "Navajo man",
)  # fmt: skip
OTHER_NAMES = (
    "cheerful", "tall", "polite", "clever", "friendly", "tidy", "gentle", "busy", "brave", "young", "old", "happy",
    "serious", "calm", "kind", "tired", "proud", "famous", "local", "retired",
)  # fmt: skip
OTHER_NOUNS = (
    "plumber", "clerk", "dentist", "swimmer", "writer", "baker", "judge", "guest", "miner", "actor", "tourist", "child",
    "aunt", "uncle", "voter", "poet", "banker", "cyclist", "referee", "grocer", "scientist", "model", "volunteer",
)  # fmt: skip
FUNCTION_WORDS = {"a", "an", "and", "the", "of", "on", "in", "to", "with", "some", "at", "by"}


def made_up_word(rng):
    """A word that no text encoder knows: the gate must not take unknown words for a group."""
    return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randrange(3, 9)))


def other_name(rng, groups=()):
    """A replacement for a group's name: another group, an adjective or a made-up word."""
    word = rng.choice(OTHER_NAMES)
    return rng.choice([*groups, *groups, word, word, made_up_word(rng), made_up_word(rng).capitalize()])


def reworded(rng, template, chance=0.3):
    """Replace a random word, so that the gate does not overfit the templates."""
    words = template.split()
    free = [i for i, word in enumerate(words) if "{group}" not in word and word not in FUNCTION_WORDS]
    if free and rng.random() < chance:
        words[rng.choice(free)] = rng.choice([made_up_word(rng), rng.choice(OTHER_NOUNS)])
    return " ".join(words)


def shortened(side, other):
    """The phrases of a side and their endings ("in a woven robe", "woven robe", "robe") that the other side lacks."""

    def endings(phrases):
        words = [phrase.split() for phrase in phrases]
        return {" ".join(w[i:]) for w in words for i in range(len(w)) if w[i] not in FUNCTION_WORDS}

    return tuple(side.phrases) + tuple(sorted(endings(side.phrases) - endings(other.phrases) - set(side.phrases)))


def gate_texts(axis, count, seed, other_groups=(), other_details=OTHER_DETAILS):
    """Training prompts of an axis -> list of (text, group index or OUT_OF_SCOPE, explicit index).

    Args:
        axis: Axis.
        count: number of prompts.
        seed: of the random choices.
        other_groups, other_details: what prompts may also name that is not of this axis.
    """
    rng = random.Random(seed)
    texts = []
    sides = shortened(axis.stereotype, axis.counter), shortened(axis.counter, axis.stereotype)
    for _ in range(count):
        explicit = rng.choice((0, 0, 0, 1, 1, 2))
        phrase = "" if explicit == 0 else rng.choice(sides[explicit - 1])
        kind = rng.choice(("group", "group", "group", "nobody", "somebody", "other", "other"))
        group = OUT_OF_SCOPE
        if kind == "group":
            group = rng.randrange(len(axis.groups))
            text = reworded(rng, rng.choice(axis.neutral)).format(group=axis.groups[group])
        elif kind == "other":
            text = reworded(rng, rng.choice(axis.neutral)).format(group=other_name(rng, other_groups))
        else:
            text = rng.choice(NOBODY if kind == "nobody" else SOMEBODY)
        parts = [text, phrase, rng.choice(other_details)]
        if rng.random() < 0.4:
            rng.shuffle(parts)
        text = rng.choice((" ", ", ")).join(part for part in parts if part)
        extras = [rng.choice(EXTRAS) for _ in range(rng.choice((0, 0, 1, 2, 3)))]
        text = ", ".join([text, *extras])
        texts.append((text if rng.random() < 0.5 else text.lower(), group, explicit))
    texts[::40] = [("", OUT_OF_SCOPE, 0)] * len(texts[::40])  # an empty prompt names nobody
    return texts


def gate_others(axis, folder, space):
    """What training prompts of the gate may also name -> {"other_groups", "other_details"} for `gate_texts`.

    Groups are from the axes in `folder` for the same kind of model, and people of no shipped axis; none shares a word
    with the axis' own groups. Details are the phrases of the axes whose ids begin alike.
    """
    axes = [load_axis(path) for path in sorted(folder.glob("*.json")) if path.name != SCHEMA.name]
    alike = [other for other in axes if other.id.split("-")[0] == axis.id.split("-")[0] and other.id != axis.id]
    axes = [other for other in axes if other.id.startswith("miniature-") == (space == "miniature")]
    groups = dict.fromkeys([group for other in axes for group in other.groups if group not in axis.groups])
    groups |= dict.fromkeys(OTHER_PEOPLE if space != "miniature" else ())
    named = {word for group in axis.groups for word in group.lower().split()} - {"person", "man", "woman"}
    return {
        "other_groups": tuple(group for group in groups if not named & set(group.lower().split())),
        "other_details": (*(p for o in alike for p in o.stereotype.phrases + o.counter.phrases), *OTHER_DETAILS),
    }
