"""Training prompts for the gate: the axis' own wordings in many surroundings, and prompts about everything else."""

import random

from ..axis.axis import load_axis
from ..axis.schema import SCHEMA
from ..preference.prompt_gate import OUT_OF_SCOPE

# Words around the axis' own wordings, for training: what a prompt may also say, and prompts about nobody in scope.
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


def made_up_word(rng):
    """A word that no text encoder has learned: the gate must not take what it does not know for a name."""
    return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randrange(3, 9)))


def other_name(rng, groups=()):
    """What may stand in a group's place without naming one of the axis' groups: a word, or a name never heard."""
    word = rng.choice(OTHER_NAMES)
    return rng.choice([*groups, *groups, word, word, made_up_word(rng), made_up_word(rng).capitalize()])


def reworded(rng, template, chance=0.3):
    """A template in which a word may be another: who is drawn, and how, is not for the gate to know by heart."""
    words = template.split()
    free = [i for i, word in enumerate(words) if "{group}" not in word and word not in FUNCTION_WORDS]
    if free and rng.random() < chance:
        words[rng.choice(free)] = rng.choice([made_up_word(rng), rng.choice(OTHER_NOUNS)])
    return " ".join(words)


OTHER_NOUNS = (
    "plumber", "clerk", "dentist", "swimmer", "writer", "baker", "judge", "guest", "miner", "actor", "tourist", "child",
    "aunt", "uncle", "voter", "poet", "banker", "cyclist", "referee", "grocer", "scientist", "model", "volunteer",
)  # fmt: skip


FUNCTION_WORDS = {"a", "an", "and", "the", "of", "on", "in", "to", "with", "some", "at", "by"}


def shortened(side, other):
    """The phrases of a side and their endings ("in a woven robe", "woven robe", "robe") that the other side lacks."""

    def endings(phrases):
        words = [phrase.split() for phrase in phrases]
        return {" ".join(w[i:]) for w in words for i in range(len(w)) if w[i] not in FUNCTION_WORDS}

    return tuple(side.phrases) + tuple(sorted(endings(side.phrases) - endings(other.phrases) - set(side.phrases)))


def gate_texts(axis, count, seed, other_groups=(), other_details=OTHER_DETAILS):
    """Training prompts of an axis -> list of (text, group index or OUT_OF_SCOPE, explicit index).

    `other_groups` and `other_details` are what prompts may also name without concerning this axis.
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


def other_wordings(axis, folder, groups):
    """What the gate should also have read: the phrases of the other axes in `folder`, and `groups` not in the axis."""
    others = [load_axis(path) for path in sorted(folder.glob(f"{axis.id.split('-')[0]}-*.json"))]
    phrases = [p for other in others if other.id != axis.id for p in other.stereotype.phrases + other.counter.phrases]
    return {
        "other_groups": tuple(group for group in groups if group not in axis.groups),
        "other_details": tuple(phrases) + OTHER_DETAILS,
    }


ANYBODY = {"person", "man", "woman"}


def gate_others(axis, folder, space):
    """What the gate on the prompt also reads while it is trained: groups and details that are not the axis'.

    From the axes in `folder` for the same kind of model, and people whom no axis of ours names; nobody who shares a
    word with the axis' own groups. The phrases are of axes whose ids begin alike.
    """
    axes = [load_axis(path) for path in sorted(folder.glob("*.json")) if path.name != SCHEMA.name]
    axes = [other for other in axes if other.id.startswith("miniature-") == (space == "miniature")]
    groups = [group for other in axes for group in other.groups] + list(OTHER_PEOPLE if space != "miniature" else ())
    named = {word for group in axis.groups for word in group.lower().split()} - ANYBODY
    return other_wordings(axis, folder, [g for g in dict.fromkeys(groups) if not named & set(g.lower().split())])
