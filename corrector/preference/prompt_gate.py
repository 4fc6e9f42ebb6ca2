"""The gate on the prompt: conditioning -> whom does it name, and does it ask for a side of the axis itself?

The hook sees the positive conditioning at no cost. Small probes on its token vectors, trained on text alone, answer
both questions; a prompt that is out of scope or explicit switches the axis off, exactly.
"""

import random
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

OUT_OF_SCOPE = -1
SURE = 0.8  # probability below which no group counts as named: what the gate is not sure of is left alone
EXPLICIT = ("neither", "stereotype", "counter")


@dataclass(frozen=True)
class PromptReading:
    """What the gate reads in one image's conditionings."""

    group: int  # index into the axis' groups, or OUT_OF_SCOPE
    explicit: str  # one of EXPLICIT

    @property
    def open(self):
        return self.group != OUT_OF_SCOPE and self.explicit == "neither"


def token_vectors(conditioning):
    """A host's conditioning -> its token vectors [N, T, width]: it is a tensor, or has them as `tokens`."""
    return getattr(conditioning, "tokens", conditioning)


class PromptGate(nn.Module):
    """Attention-pooled linear probes: each answer has a query of its own that picks the tokens to look at.

    `pooling` is "attention" (kept), "mean" or "last": the three ways that benchmarks/gate.py compares.
    """

    def __init__(self, width, groups, pooling="attention"):
        super().__init__()
        self.config = dict(width=width, groups=groups, pooling=pooling)
        self.width, self.groups, self.pooling = width, groups, pooling
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))
        self.queries = nn.Linear(width, 2)
        self.group_probe = nn.Linear(width, groups + 1)  # the last class: out of scope
        self.explicit_probe = nn.Linear(width, len(EXPLICIT))

    def forward(self, conditioning):
        """conditioning [N, T, width] -> group logits [N, groups + 1], explicit logits [N, 3]."""
        tokens = (conditioning.float() - self.centre) / self.spread
        if self.pooling == "attention":
            weights = self.queries(tokens).softmax(dim=1)  # [N, T, 2]
            first, second = torch.einsum("ntd,ntq->qnd", tokens, weights)
        else:
            first = second = tokens.mean(dim=1) if self.pooling == "mean" else tokens[:, -1]
        return self.group_probe(first), self.explicit_probe(second)

    @torch.no_grad()
    def read(self, conditionings):
        """Conditionings of one image (regions), each [1, T, width] -> one PromptReading.

        Off if any asks for an attribute; the group is the first that is named. Raises GateError when the width is
        another text encoder's.
        """
        group, explicit = OUT_OF_SCOPE, EXPLICIT[0]
        for conditioning in conditionings:
            conditioning = token_vectors(conditioning)
            if conditioning.shape[-1] != self.width:
                raise GateError(
                    f"The prompt's conditioning is {conditioning.shape[-1]} wide and this preference was made for a "
                    f"text encoder of width {self.width}; use a preference made for this model."
                )
            group_logits, explicit_logits = self(conditioning.to(self.centre.device))
            sure, named = group_logits.softmax(-1)[0].max(dim=-1)
            named = int(named) if sure >= SURE else self.groups
            asked = EXPLICIT[int(explicit_logits.argmax(-1)[0])]
            if group == OUT_OF_SCOPE and named < self.groups:
                group = named
            if explicit == EXPLICIT[0]:
                explicit = asked
        return PromptReading(group, explicit)


class GateError(ValueError):
    """A conditioning that the gate cannot read; the message says why and what to do."""


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


TOKEN_BYTES = 2**29  # of token vectors in training; half precision and fewer texts where more would be needed


def train_gate(axis, encode, seed=0, count=4000, steps=800, pooling="attention", **others):
    """Train a gate on text alone. `encode(prompts)` -> conditioning [N, T, width]. -> (gate, held-out accuracies).

    `count` texts, or as many as fit TOKEN_BYTES.
    """
    with torch.no_grad():
        size = token_vectors(encode([""]))[0].numel()
    dtype = torch.float32 if 4 * size * count <= TOKEN_BYTES else torch.float16
    count = min(count, TOKEN_BYTES // (dtype.itemsize * size))
    texts = gate_texts(axis, count, seed, **others)
    prompts, groups, explicit = zip(*texts, strict=True)
    with torch.no_grad():
        parts = (token_vectors(encode(prompts[i : i + 100])) for i in range(0, count, 100))
        tokens = torch.cat([part.to("cpu", dtype) for part in parts])
    groups = torch.tensor([g if g != OUT_OF_SCOPE else len(axis.groups) for g in groups])
    explicit = torch.tensor(explicit)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        gate = PromptGate(tokens.shape[-1], len(axis.groups), pooling)
    held = count // 10
    gate.centre.copy_(tokens[held:].mean(dim=(0, 1), dtype=torch.float32))
    squares = sum((part.float() - gate.centre).square().sum(dim=(0, 1)) for part in tokens[held:].split(100))
    gate.spread.copy_((squares / (tokens[held:, :, 0].numel() - 1)).sqrt().clamp(min=1e-4))
    optimizer = torch.optim.AdamW(gate.parameters(), lr=5e-3, weight_decay=1e-2)
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 5e-3 * (1 - step / steps)
        chosen = held + torch.randint(count - held, (128,), generator=generator)
        group_logits, explicit_logits = gate(tokens[chosen])
        loss = F.cross_entropy(group_logits, groups[chosen]) + F.cross_entropy(explicit_logits, explicit[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    gate.eval().requires_grad_(False)
    with torch.no_grad():
        group_logits, explicit_logits = gate(tokens[:held])
    accuracy = {
        "group": float((group_logits.argmax(-1) == groups[:held]).float().mean()),
        "explicit": float((explicit_logits.argmax(-1) == explicit[:held]).float().mean()),
        "n": held,
    }
    return gate, accuracy
