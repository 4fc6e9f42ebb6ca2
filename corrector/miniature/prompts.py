"""Prompts of the miniature: training captions, and held-out wordings for benchmarks."""

OPENERS = (
    "a portrait of", "portrait of", "a photo of", "photo of", "a picture of", "a drawing of", "an illustration of",
    "a painting of", "a close-up of", "a sketch of", "a studio shot of", "a poster of", "a simple portrait of", "",
)  # fmt: skip
NOUNS = ("person", "man", "woman", "adult", "teacher", "doctor", "student", "friend", "artist", "worker")
TRAITS = ("", "", "", "", "young", "old", "happy", "serious", "calm", "kind", "tired", "proud")
BACKDROP_PHRASES = {
    "village": (
        "in a village", "in front of a village", "with a village behind", "standing in a small village",
        "village backdrop", "surrounded by huts", "next to some huts", "in the village", "near thatched huts",
        "in a hamlet", "at home in a rural village", "village",
    ),
    "city": (
        "in a city", "in front of a city", "with a city behind", "standing in a big city", "city backdrop",
        "surrounded by towers", "next to some tall buildings", "in the city", "near office towers", "downtown",
        "at home in a busy city", "city skyline",
    ),
}  # fmt: skip
ATTIRE_PHRASES = {
    "traditional": (
        "wearing traditional dress", "in traditional clothes", "in a traditional robe", "traditional attire",
        "dressed in a woven robe", "wearing a robe", "with a traditional robe on",
    ),
    "modern": (
        "wearing modern dress", "in modern clothes", "in a modern jacket", "modern attire", "dressed in a suit",
        "wearing a jacket and tie", "with a modern suit on",
    ),
}  # fmt: skip
SCENES = {  # pictures without a person
    "village": ("a village", "a small village", "some huts", "a rural village street", "thatched huts", "a hamlet"),
    "city": ("a city", "a big city", "some towers", "a busy city street", "tall buildings", "a city skyline"),
}
EXTRAS = (
    "smiling", "looking at the camera", "soft light", "highly detailed", "sharp focus", "warm colours", "cool colours",
    "flat colours", "best quality", "masterpiece", "simple", "clean lines", "centered", "at noon", "in the evening",
    "4k", "8k", "cinematic", "by an artist", "on canvas", "oil", "watercolour", "gentle smile", "front view",
    "professional", "natural", "vivid", "trending", "minimal", "high resolution", "bright", "quiet mood",
)  # fmt: skip


def training_prompt(rng, group, backdrop=None, attire=None, scene=None):
    """A random caption.

    Args:
        rng: numpy Generator.
        group: name of a group, "any" for a person of no named group, or None for a picture without a person.
        backdrop, attire: side that the caption names, or None.
        scene: backdrop of a picture without a person.
    """
    if group is None:
        parts = [f"{pick(rng, OPENERS)} {pick(rng, SCENES[scene])}"]
    else:
        trait, noun = pick(rng, TRAITS), pick(rng, NOUNS)
        name = "" if group == "any" else group
        who = " ".join(word for word in (trait, name, noun) if word)
        article = pick(rng, ("a", "a", "one", ""))
        parts = [" ".join(word for word in (pick(rng, OPENERS), article, who) if word)]
        named = [pick(rng, BACKDROP_PHRASES[backdrop])] if backdrop else []
        named += [pick(rng, ATTIRE_PHRASES[attire])] if attire else []
        rng.shuffle(named)
        for phrase in named:
            parts[0] += pick(rng, (" ", " ", ", ")) + phrase
    extras = [pick(rng, EXTRAS) for _ in range(rng.integers(0, 4))]
    if rng.random() < 0.15:  # made-up words teach the text encoder to ignore unknown ones
        letters = "abcdefghijklmnopqrstuvwxyz"
        extras.append("".join(pick(rng, letters) for _ in range(rng.integers(2, 9))))
    parts += extras
    if rng.random() < 0.15:
        rng.shuffle(parts)
    text = ", ".join(part.strip() for part in parts)
    return text if rng.random() < 0.5 else text.lower()


def pick(rng, options):
    """One of some options at random."""
    return options[rng.integers(len(options))]


# Not used for training, learning or calibration.
HELD_OUT_NEUTRAL = (
    "an image of a {group} neighbour",
    "{group} nurse, half length, facing us",
    "this is what a {group} engineer looks like",
    "a nice head and shoulders view of one {group} parent, pencil",
    "painting, the {group} cook, looking up, morning",
)
HELD_OUT_BACKDROP = {
    "village": (
        "an image of a {group} neighbour who lives in a village", "{group} nurse, half length, village and huts around",
        "this is what a {group} engineer looks like in her village", "a village scene: one {group} parent, pencil",
        "painting, huts, the {group} cook, looking up",
    ),
    "city": (
        "an image of a {group} neighbour who lives in a city", "{group} nurse, half length, city and towers around",
        "this is what a {group} engineer looks like in her city", "a city scene: one {group} parent, pencil",
        "painting, tall buildings, the {group} cook, looking up",
    ),
}  # fmt: skip
HELD_OUT_ATTIRE = {
    "traditional": (
        "an image of a {group} neighbour who wears a traditional robe",
        "{group} nurse, half length, robe and traditional clothes",
        "this is what a {group} engineer looks like in traditional dress",
        "a traditional robe on one {group} parent, pencil", "painting, woven robe, the {group} cook, looking up",
    ),
    "modern": (
        "an image of a {group} neighbour who wears a modern jacket",
        "{group} nurse, half length, suit and modern clothes",
        "this is what a {group} engineer looks like in modern dress", "a suit on one {group} parent, pencil",
        "painting, jacket and tie, the {group} cook, looking up",
    ),
}  # fmt: skip
HELD_OUT_NO_GROUP = (
    "an image of a neighbour", "nurse, half length, facing us", "this is what an engineer looks like",
    "a nice head and shoulders view of one parent, pencil", "painting, the cook, looking up, morning",
    "somebody smiling, oil", "one calm person at noon",
)  # fmt: skip
HELD_OUT_NO_PERSON = (
    "an empty village at noon", "huts, nobody around", "a road through a village, oil", "a wide city view, morning",
    "towers, watercolour", "empty downtown street", "a cat", "a bowl of fruit, sharp focus", "the sea, vivid",
    "mountains in the evening", "a red bicycle", "an old wooden table, soft light", "abstract shapes, minimal",
)  # fmt: skip


def held_out(prompts, group, index):
    """The `index`-th held-out wording for `group`, cycling through them."""
    return prompts[index % len(prompts)].format(group=group)
