"""Prompts of the second world: training captions, and held-out wordings for benchmarks."""

from corrector.miniature.prompts import pick

OPENERS = (
    "a photo of", "photo of", "a picture of", "a drawing of", "an illustration of", "a full-length view of",
    "a painting of", "a snapshot of", "a sketch of", "a poster of", "a cartoon of", "",
)  # fmt: skip
NOUNS = ("person", "man", "woman", "adult", "neighbour", "friend", "parent", "relative", "citizen", "human")
TRAITS = ("", "", "", "", "young", "old", "happy", "serious", "calm", "kind", "tall", "proud")
WORK_PHRASES = {
    "farmer": (
        "working as a farmer", "who is a farmer", "farmer", "on a farm", "at the farm", "in a field", "in the fields",
        "with a pitchfork", "wearing overalls", "farming the land", "next to a barn", "working in the fields",
        "growing crops", "on farmland", "in farm work", "farm", "field", "fields", "barn", "overalls",
    ),
    "office": (
        "working in an office", "who is an office worker", "office worker", "in an office", "at the office",
        "at a desk", "behind the desk", "with a computer", "wearing a suit", "next to a computer screen",
        "working at a desk", "typing on a computer", "in a suit and tie", "at a computer", "in office work", "office",
        "desk", "computer", "suit",
    ),
    "cook": (
        "working as a cook", "who is a cook", "cook", "in a kitchen", "in the kitchen", "at a stove", "at the stove",
        "with a cooking pot", "wearing an apron", "cooking a meal", "next to a stove", "working in the kitchen",
        "stirring a pot", "in a cook's apron", "in kitchen work", "kitchen", "stove", "pot", "apron",
    ),
}  # fmt: skip
EXTRAS = (
    "smiling", "looking at the viewer", "soft light", "highly detailed", "sharp focus", "warm colours", "cool colours",
    "flat colours", "best quality", "masterpiece", "simple", "clean lines", "standing", "at noon", "in the evening",
    "4k", "8k", "cinematic", "by an artist", "on canvas", "oil", "watercolour", "gentle smile", "seen from the front",
    "professional", "natural", "vivid", "trending", "minimal", "high resolution", "bright", "quiet mood",
)  # fmt: skip


ROLES = {"farmer": "farmer", "office": "office worker", "cook": "cook"}


def training_prompt(rng, group=None, work=None):
    """A random caption of a person of `group` (None: no group is named), which names `work` unless it is None.

    Made-up words in any place teach the text encoder to ignore unknown ones: its tokens are mostly single letters.
    """
    noun = _made_up(rng) if rng.random() < 0.3 else pick(rng, NOUNS)
    phrase = pick(rng, WORK_PHRASES[work]) if work else ""
    if work and rng.random() < 0.2:
        noun, phrase = ROLES[work], ""
    who = " ".join(word for word in (pick(rng, TRAITS), group, noun) if word)
    opener = pick(rng, OPENERS)
    if rng.random() < 0.3:
        opener = " ".join(_made_up(rng) for _ in range(rng.integers(1, 5)))
    parts = [" ".join(word for word in (opener, pick(rng, ("a", "one", "the", "")), who) if word)]
    if phrase:
        phrase += f" {_made_up(rng)}" if rng.random() < 0.2 else ""
        phrase = f"{_made_up(rng)} {phrase}" if rng.random() < 0.2 else phrase
        joined = pick(rng, (" ", " ", ", ")).join([parts[0], phrase])
        parts = [phrase, *parts] if rng.random() < 0.3 else [joined]
    parts += [pick(rng, EXTRAS) for _ in range(rng.integers(0, 4))]
    parts += [" ".join(_made_up(rng) for _ in range(rng.integers(0, 4)))]
    if rng.random() < 0.2:
        rng.shuffle(parts)
    text = ", ".join(part.strip() for part in parts if part)
    return text if rng.random() < 0.5 else text.lower()


def _made_up(rng):
    return "".join(pick(rng, "aabcdeefghiijklmnoopqrstuvwxyz") for _ in range(rng.integers(2, 9)))


# Used neither for training nor by the axis.
HELD_OUT_NEUTRAL = (
    "an image of a {group} cousin",
    "{group} grandmother, head to toe, facing us",
    "this is what a {group} uncle looks like",
    "a nice view of one {group} grown-up, pencil",
    "mural, the {group} lady, looking up, morning",
)
HELD_OUT_WORK = {
    "farmer": (
        "an image of a {group} cousin who has a farm", "{group} grandmother, head to toe, out in her field",
        "this is what a {group} farmer looks like", "a farm scene: one {group} grown-up, pencil",
        "mural, fields and a barn, the {group} lady, looking up",
    ),
    "office": (
        "an image of a {group} cousin who has an office job", "{group} grandmother, head to toe, at her own desk",
        "this is what a {group} office worker looks like", "an office scene: one {group} grown-up, pencil",
        "mural, desk and computer, the {group} lady, looking up",
    ),
    "cook": (
        "an image of a {group} cousin who has a kitchen job", "{group} grandmother, head to toe, at her own stove",
        "this is what a {group} cook looks like", "a kitchen scene: one {group} grown-up, pencil",
        "mural, pot and apron, the {group} lady, looking up",
    ),
}  # fmt: skip
HELD_OUT_NO_GROUP = (
    "an image of a cousin", "grandmother, head to toe, facing us", "this is what an uncle looks like",
    "a nice view of one grown-up, pencil", "mural, the lady, looking up, morning", "somebody smiling, oil",
)  # fmt: skip


def held_out(prompts, group, index):
    """The `index`-th held-out wording for `group`, cycling through them."""
    return prompts[index % len(prompts)].format(group=group)
