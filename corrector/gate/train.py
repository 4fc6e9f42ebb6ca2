"""Training of the gate on the prompt, from text alone."""

import math
from collections.abc import Mapping
from itertools import chain, islice

import torch
import torch.nn.functional as F
from torch import nn

from ..latents.optimise import optimise
from .checks import check_texts
from .prompt_gate import NEITHER, OUT_OF_SCOPE, STEREOTYPE, PromptGate
from .texts import gate_texts

TOKEN_BYTES = 2**30  # of token vectors in training, in half precision; beyond, fewer texts
TEXTS, TEXTS_A_WORDING = 8000, 30
SEEN = 500  # texts that show in which directions token vectors vary most
DIRECTIONS = 256  # of these that are kept; fewer if there are few texts, which many directions overfit
STEPS, RATE = 500, 8e-3
AVERAGE = 0.97  # of the weights over the last steps: without it trainings differ by their seeds
HIDDEN, REACH = 36, 5  # features, and tokens in a row that each is read from
HELD = 8  # one of so many texts is held out
BATCH = 128
TIMES = 6  # that each text is seen at least: few steps need few texts
MIXED = 0.3  # share of short prompts that are joined with another that names and asks for nothing, as in chunks
LEFT_OUT, OVERRIDDEN = 0.05, 0.2  # of held-out texts that name a group, and of those that ask for something
NAMED, ASKED = (0.45, 0.75), (0.45, 0.75)  # between which the thresholds that cost so much are

MOST = 0.1  # share of prompts of a kind that a sound gate reads wrongly
ERRORS = {  # what it does to those, by the names of its figures
    "overridden": "corrects {} of held-out prompts that ask for a side",
    "false activation": "acts on {} of held-out prompts that name nobody of the groups",
    "named": "does not see the group in {} of prompts by hand",
    "long": "does not see the group in {} of long prompts by hand",
    "thing": "acts on {} of things that are called after a group",
    "somebody else": "acts on {} of prompts that name somebody else",
    "nobody": "acts on {} of prompts by hand that name nobody",
    "stereotype asked for": "corrects {} of prompts by hand that ask for the stereotype",
    "counter asked for": "corrects {} of prompts by hand that ask for the counter side",
    "denied": "takes {} of denials of the stereotype for a wish for it",
}

# Arguments of `train_gate` for a gate that must be there in seconds. On a CPU encoding takes the time, so the texts are
# few and short, and many directions would overfit them. It is less sure of a name. Requests are read early: to override
# one is the worst error.
QUICK = dict(count=176, longest=16, steps=60, directions=32, reach=3, named=(0.35, 0.4), asked=(0.2, 0.25), check=False)


def train_gate(
    axis, encode, seed=0, count=None, steps=STEPS, check=True, named=NAMED, asked=ASKED,
    directions=DIRECTIONS, reach=REACH, **others,
):  # fmt: skip
    """Train a gate on text alone -> (gate, its figures: shares of held-out and of hand-written texts, what is weak).

    Args:
        axis: Axis.
        encode: `encode(texts)` -> iterator of their token vectors [T, width], as `Host.encode_each`.
        seed: of texts, weights and batches.
        count: number of texts, by default TEXTS and TEXTS_A_WORDING for each alias and paraphrase; fewer if there are
            few steps, or if they need more than TOKEN_BYTES.
        steps: number of training steps.
        check: whether to measure it on hand-written texts as well.
        named, asked: ranges of the thresholds from which a prompt is in scope, and asks for something.
        directions: of token vectors in which it is trained, those in which they vary most.
        reach: number of tokens in a row that a feature is read from.
        others: for `gate_texts`.
    """
    if count is None:
        wordings = [*axis.aliases.values(), axis.stereotype.paraphrases, axis.counter.paraphrases]
        count = min(TEXTS + TEXTS_A_WORDING * sum(map(len, wordings)), steps * BATCH // TIMES)

    def vectors_of(texts):
        return iter(encode([text for text, *_ in texts]))

    texts = gate_texts(axis, count - count // HELD, seed, **others)
    vectors = vectors_of(texts)
    first = list(islice(vectors, SEEN))
    kept = _Directions(first, directions)
    data = _Encoded(texts, axis, chain(first, vectors), kept)
    texts = gate_texts(axis, count // HELD, seed, held_out=True, **others)
    held = _Encoded(texts, axis, vectors_of(texts), kept)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        gate = PromptGate(data.tokens.shape[1], len(axis.groups), HIDDEN, reach=reach)
        gate = _trained(gate, data, steps)
    figures = {**_set_thresholds(gate, *held.probabilities(gate), held, named, asked), "n": len(held)}
    if check:
        texts = check_texts(axis)
        figures["by_hand"] = _check(gate, _Encoded(texts, axis, vectors_of(texts), kept), texts)
    if weak := gate_weakness(figures):
        figures["weak"] = weak
    return kept.widened(gate), figures


def gate_weakness(figures: Mapping) -> str:
    """What a gate reads badly according to its figures, as `train_gate` returns them, in a sentence, or ""."""
    shares = {name: share for name, share in figures.items() if name in ERRORS}
    shares |= {name: 1 - share for name, share in figures.get("by_hand", {}).items() if name in ERRORS}
    said = [ERRORS[name].format(f"{share:.0%}") for name, share in shares.items() if share is not None and share > MOST]
    return f"its gate on the prompt {', '.join(said)} (at most {MOST:.0%} is sound)" if said else ""


def _trained(gate, data, steps):
    """A gate after `steps` of training on _Encoded texts; uses torch's global generator."""
    fillers = ((data.groups == gate.groups) & (data.explicit == NEITHER)).nonzero()[:, 0]
    joined = round(MIXED * BATCH)

    def loss_of_step(step):
        chosen = torch.randint(len(data), (BATCH,))
        others = fillers[torch.randint(len(fillers), (joined,))]
        chosen = chosen[data.lengths[chosen].argsort()]  # parts of like length need little padding
        short, *parts = chosen.split([joined, *[(BATCH - joined) // 3] * 2, BATCH - joined - (BATCH - joined) // 3 * 2])
        losses = []
        for part, several in ((short, (short, others)), *((part, (part,)) for part in parts)):
            found = gate(*data.batch(*several[:: 1 if step % 2 else -1]))
            for logits, wanted in zip(found, (data.groups[part], data.explicit[part]), strict=True):
                losses.append(F.cross_entropy(logits, wanted, reduction="sum"))
        return sum(losses) / BATCH

    return optimise(
        gate.train(), steps, loss_of_step, "gate", RATE,
        lambda step: min(1, (step + 1) / 30) * (1 - 0.7 * step / steps), average=AVERAGE, clip=math.inf,
        progress=lambda *_: None, weight_decay=0.25, betas=(0.9, 0.97),
    )  # fmt: skip


def _set_thresholds(gate, groups, explicit, held, named_range, asked_range):
    """Set the thresholds of a gate on held-out texts -> what they cost there.

    They are as high as leaves LEFT_OUT of those who are named out, and overrides OVERRIDDEN of the requests, within
    the ranges: held-out wordings are harder than what people write, and some text encoders are sure of nothing.
    """
    named, asked = 1 - groups[:, -1], 1 - explicit[:, NEITHER]
    scope, request = held.groups < gate.groups, held.explicit != NEITHER
    gate.config["in_scope"] = _between(named_range, named[scope], LEFT_OUT)
    gate.config["asked"] = _between(asked_range, asked[scope & request], OVERRIDDEN)
    inside, open_ = named >= gate.config["in_scope"], asked < gate.config["asked"]
    right = groups[:, :-1].argmax(dim=1) == held.groups
    shares = {
        "group": torch.where(scope, inside & right, ~inside),
        "explicit": torch.where(request, ~open_, open_)[scope],
        "overridden": (inside & open_)[scope & request],
        "false activation": inside[~scope],
    }
    return {name: round(float(share.float().mean()), 4) if len(share) else None for name, share in shares.items()}


def _between(limits, probabilities, share):
    """The value below which a share of some probabilities lies, within limits; the lower limit if there are none."""
    low, high = limits
    return round(min(max(float(probabilities.quantile(share)), low), high), 3) if len(probabilities) else low


class _Directions:
    """The directions in which token vectors vary most: a gate is trained in these alone, in less time and memory.

    Args:
        several: iterable of token vectors [T, width].
        count: number of directions.
    """

    def __init__(self, several, count):
        tokens = torch.cat([vectors.cpu().float() for vectors in several])
        self.centre, self.spread = tokens.mean(dim=0), tokens.std(dim=0).clamp(min=1e-4)
        tokens = (tokens - self.centre) / self.spread
        self.basis = torch.linalg.eigh(tokens.T @ tokens).eigenvectors[:, -count:]  # ascending eigenvalues

    def __call__(self, vectors):
        """Token vectors [T, width] -> what they are in these directions [T, D]."""
        return (vectors.cpu().float() - self.centre) / self.spread @ self.basis

    @torch.no_grad()
    def widened(self, gate):
        """A gate of vectors in these directions, made one of the token vectors themselves."""
        gate.width = gate.config["width"] = len(self.centre)
        gate.centre, gate.spread = self.centre, self.spread
        for layer in (gate.features, gate.scores):
            layer.weight, layer.in_features = nn.Parameter(layer.weight @ self.basis.T), gate.width
        return gate


class _Encoded:
    """Texts with labels, encoded: vectors [M, D] of all tokens of all texts in a row, starts and lengths."""

    def __init__(self, texts, axis, encoded, directions):
        parts, room = [], TOKEN_BYTES
        for vectors in encoded:
            parts.append(directions(vectors).half())
            room -= 2 * parts[-1].numel()
            if room < 0:
                break
        texts = texts[: len(parts)]
        self.tokens = torch.cat(parts)
        self.lengths = torch.tensor([len(part) for part in parts])
        self.starts = self.lengths.cumsum(0) - self.lengths
        self.groups = torch.tensor([len(axis.groups) if group == OUT_OF_SCOPE else group for _, group, *_ in texts])
        self.explicit = torch.tensor([explicit for _, _, explicit, *_ in texts])

    def __len__(self):
        return len(self.lengths)

    def batch(self, *several):
        """Vectors [B, T, D] of some texts, and which of them are padding or None; several texts follow each other."""
        found, padding = [], []
        for which in several:
            places = torch.arange(int(self.lengths[which].max())).expand(len(which), -1)
            padding.append(places >= self.lengths[which, None])
            found.append(self.starts[which, None] + places.minimum(self.lengths[which, None] - 1))
        found, padding = torch.cat(found, dim=1), torch.cat(padding, dim=1)
        vectors = self.tokens.index_select(0, found.flatten())  # as [found], in a twentieth of its time
        return vectors.unflatten(0, found.shape).float(), padding if padding.any() else None

    @torch.no_grad()
    def probabilities(self, gate):
        """What a gate says of each text -> probabilities of groups [N, G + 1] and of requests [N, sides]."""
        found = [gate(*self.batch(which)) for which in torch.arange(len(self)).split(BATCH)]
        return [torch.cat(logits).softmax(dim=-1) for logits in zip(*found, strict=True)]


def _check(gate, checks, labelled):
    """The share of hand-written texts that a gate reads right, by category."""
    groups, explicit = checks.probabilities(gate)
    inside, asked = 1 - groups[:, -1] >= gate.config["in_scope"], 1 - explicit[:, NEITHER] >= gate.config["asked"]
    named = torch.where(inside, groups[:, :-1].argmax(dim=1), gate.groups)
    request = torch.where(asked, explicit[:, 1:].argmax(dim=1) + 1, NEITHER)
    right = {}
    for (*_, category), group, own, said, wanted in zip(
        labelled, named.tolist(), checks.groups.tolist(), request.tolist(), checks.explicit.tolist(), strict=True
    ):
        good = group == own if wanted == NEITHER else said != NEITHER or group == gate.groups
        if category == "denied":
            good = said != STEREOTYPE
        elif own < gate.groups and wanted == NEITHER:
            good = good and said == NEITHER
        right.setdefault(category, []).append(good)
    return {category: round(sum(some) / len(some), 3) for category, some in right.items()}
