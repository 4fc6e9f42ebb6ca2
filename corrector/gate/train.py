"""Training of the gate on the prompt, from text alone."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..axis.axis import Axis
from ..latents.optimise import optimise
from .checks import Checked, check_texts
from .prompt_gate import NEITHER, OUT_OF_SCOPE, STEREOTYPE, PromptGate, without_extremes
from .texts import Labelled, gate_texts
from .weakness import gate_weakness

VERSION = 5  # of the training: raise it with every change after which kept gates must be trained again
TEXTS, TEXTS_A_WORDING = 8000, 30
TEXTS_FOR_DIRECTIONS = 500  # texts that show in which directions token vectors vary most
NUMBERS_HELD, NUMBERS_ANALYSED = 2**26, 2**25  # in the token vectors of these texts at most: of wide ones, fewer
WIDE = 1280  # of token vectors, above which their directions are approximate: exact ones take minutes
JOINED = 256  # texts whose vectors are joined: thousands of small tensors would scatter over gigabytes of memory
SINK = 10  # times the usual norm of token vectors, above which one does not count for their centre and spread
DIRECTIONS = 256  # of these that are kept
GATE_STEPS, RATE = 400, 8e-3
AVERAGE = 0.97  # of the weights over the last steps: without it trainings differ by their seeds
MEMBERS = 3  # networks that are averaged: one alone reads up to a tenth of a kind of prompts otherwise by its seed
HIDDEN, REACH = 36, 5  # features of each, and tokens in a row that each is read from
HELD_OUT = 8  # one of so many texts is held out
GATE_BATCH = 128
TIMES = 5  # that each text is used at least: a short training gets fewer texts
MIXED = 0.3  # share of short prompts that are joined with another that names and asks for nothing, as in chunks
# What errors cost, each times its share of the prompts where it can happen: to override a request is worst. Most
# prompts name nobody of the groups, so that acting on one of them counts more than its cost alone.
OVERRIDDEN, READ_INTO, FALSE_ACTIVATION, LEFT_OUT = 4.0, 1.0, 20.0, 1.0
THRESHOLDS = 0.45, 0.9  # between which they are: held-out wordings are few
SMOOTHED = 0.05  # by which costs are averaged to either side of a threshold

# Arguments of `train_gate` for a gate that must be there in seconds: fewer texts, and of those the short ones.
QUICK: dict[str, Any] = dict(count=2048, longest=16, steps=200, check=False)

Encode = Callable[[Sequence[str]], Iterable[Tensor]]
Progress = Callable[[int, int], object]


def texts_of_gate(axis: Axis, steps: int = GATE_STEPS) -> int:
    """The number of texts from which `train_gate` learns, if none is given."""
    wordings = [*axis.aliases.values(), axis.stereotype.paraphrases, axis.counter.paraphrases]
    return min(TEXTS + TEXTS_A_WORDING * sum(map(len, wordings)), steps * GATE_BATCH // TIMES)


@torch.autocast("cpu", enabled=False)  # of a caller: texts are kept in half precision, which it refuses
def train_gate(
    axis: Axis, encode: Encode, seed: int = 0, count: int | None = None, steps: int = GATE_STEPS, check: bool = True,
    progress: Progress | None = None, **others: Any,
) -> tuple[PromptGate, dict]:  # fmt: skip
    """Train a gate on text alone -> (gate, its figures: shares of held-out and of hand-written texts, what is weak).

    Args:
        axis: Axis.
        encode: `encode(texts)` -> their token vectors [T, width], as `Host.encode_each`.
        seed: of texts, weights and batches.
        count: number of texts, by default `texts_of_gate`.
        steps: number of training steps.
        check: whether to measure it on hand-written texts as well.
        progress: `progress(done, total)`, called after each text that is encoded and each step; may raise to stop.
        others: for `gate_texts`.
    """
    count = texts_of_gate(axis, steps) if count is None else count
    by_hand = check_texts(axis) if check else []
    done = 0

    def told(*_: object) -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done, count + steps + len(by_hand))

    def vectors_of(texts: Sequence[Labelled | Checked]) -> Iterator[Tensor]:
        for vectors in encode([labelled.text for labelled in texts]):
            told()
            yield vectors

    texts = _sorted(gate_texts(axis, count - count // HELD_OUT, seed, **others))
    vectors = vectors_of(texts)
    first = list(_first(vectors))
    widest = _Directions(first, seed)
    data = _Encoded(texts, axis, map(widest, chain(first, vectors)))
    texts = _sorted(gate_texts(axis, count // HELD_OUT, seed, held_out=True, **others))
    held_out = _Encoded(texts, axis, map(widest, vectors_of(texts)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        gate = PromptGate(data.tokens.shape[1], len(axis.groups), HIDDEN, reach=REACH, members=MEMBERS)
        gate = _trained(gate, data, steps, told)
    figures: dict[str, Any] = {**_set_thresholds(gate, held_out), "n": len(held_out)}
    if by_hand:
        figures["by_hand"] = _check(gate, _Encoded(by_hand, axis, map(widest, vectors_of(by_hand))), by_hand)
    if weak := gate_weakness(figures):
        figures["weak"] = weak
    return widest.widened(gate), figures


def _sorted(texts: list[Labelled]) -> list[Labelled]:
    """Blocks of texts, each by length: text encoders pad those that they encode together."""
    blocks = (texts[start : start + TEXTS_FOR_DIRECTIONS] for start in range(0, len(texts), TEXTS_FOR_DIRECTIONS))
    return [text for block in blocks for text in sorted(block, key=lambda labelled: len(labelled.text))]


def _first(vectors: Iterator[Tensor]) -> Iterator[Tensor]:
    """The token vectors of TEXTS_FOR_DIRECTIONS texts, or of so many that they have NUMBERS_HELD."""
    held = 0
    for tokens in islice(vectors, TEXTS_FOR_DIRECTIONS):
        yield tokens
        held += tokens.numel()
        if held >= NUMBERS_HELD:
            return


class _Directions:
    """The DIRECTIONS in which token vectors vary most: a gate is trained in these alone, in less time and memory.

    Args:
        vectors: token vectors [T, width] of several texts.
        seed: of the approximation.
    """

    def __init__(self, vectors: Sequence[Tensor], seed: int):
        every = -(-sum(tokens.numel() for tokens in vectors) // NUMBERS_ANALYSED)
        tokens = torch.cat([tokens[index % every :: every].cpu().float() for index, tokens in enumerate(vectors)])
        norms = tokens.norm(dim=1)
        usual = tokens[norms <= SINK * norms[norms > 0].median()]  # language models give the first token a huge vector
        self.centre = usual.mean(dim=0)
        self.spread = usual.std(dim=0).clamp(min=1e-4)
        tokens = self._scaled(tokens)
        if tokens.shape[1] <= WIDE:
            self.basis = torch.linalg.eigh(tokens.T @ tokens).eigenvectors[:, -DIRECTIONS:]  # ascending eigenvalues
        else:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                self.basis = torch.svd_lowrank(tokens, min(DIRECTIONS, *tokens.shape))[2]

    def __call__(self, tokens: Tensor) -> Tensor:
        """Token vectors [T, width] -> their coordinates in these directions [T, D], in half precision."""
        return (self._scaled(tokens.cpu().float()) @ self.basis).half()

    def _scaled(self, tokens: Tensor) -> Tensor:
        return (without_extremes(tokens, self.centre, self.spread) - self.centre) / self.spread

    @torch.no_grad()
    def widened(self, gate: PromptGate) -> PromptGate:
        """A gate of coordinates in these directions, made one of the token vectors themselves."""
        gate.width = gate.config["width"] = len(self.centre)
        gate.centre, gate.spread = self.centre, self.spread
        for layer in (gate.features, gate.scores):
            layer.weight, layer.in_features = nn.Parameter(layer.weight @ self.basis.T), gate.width
        return gate


class _Encoded:
    """Labelled texts as vectors [M, D] of all tokens of all texts in a row, with starts and lengths."""

    def __init__(self, texts: Sequence[Labelled | Checked], axis: Axis, vectors: Iterable[Tensor]):
        outside, vectors, blocks, lengths = len(axis.groups), iter(vectors), [], []
        while block := list(islice(vectors, JOINED)):
            blocks.append(torch.cat(block))
            lengths += map(len, block)
        self.tokens, self.lengths = torch.cat(blocks), torch.tensor(lengths)
        self.starts = self.lengths.cumsum(0) - self.lengths
        self.groups = torch.tensor([outside if text.group == OUT_OF_SCOPE else text.group for text in texts])
        self.explicit = torch.tensor([text.explicit for text in texts])

    def __len__(self) -> int:
        return len(self.lengths)

    def batch(self, *chosen: Tensor) -> tuple[Tensor, Tensor | None]:
        """Vectors [B, T, D] of texts by their indices [B], and where they are padding, or None.

        Of several tensors of indices, the texts follow each other.
        """
        places, padding = [], []
        for indices in chosen:
            steps = torch.arange(int(self.lengths[indices].max())).expand(len(indices), -1)
            padding.append(steps >= self.lengths[indices, None])
            places.append(self.starts[indices, None] + steps.minimum(self.lengths[indices, None] - 1))
        place, is_padding = torch.cat(places, dim=1), torch.cat(padding, dim=1)
        vectors = self.tokens.index_select(0, place.flatten())  # as [place], in a twentieth of its time
        return vectors.unflatten(0, place.shape).float(), is_padding if is_padding.any() else None

    @torch.no_grad()
    def probabilities(self, gate: PromptGate) -> tuple[Tensor, Tensor]:
        """A gate's probabilities of groups [N, G + 1] and of requests [N, sides]."""
        read = [gate.probabilities(*self.batch(indices)) for indices in torch.arange(len(self)).split(GATE_BATCH)]
        groups, explicit = (torch.cat(part) for part in zip(*read, strict=True))
        return groups, explicit


def _trained(gate: PromptGate, data: _Encoded, steps: int, told: Callable[..., None]) -> PromptGate:
    """A gate after `steps` of training, each `told`; uses torch's global generator."""
    fillers = ((data.groups == gate.groups) & (data.explicit == NEITHER)).nonzero()[:, 0]
    joined = round(MIXED * GATE_BATCH)
    part = (GATE_BATCH - joined) // 3

    def loss_of_step(step: int) -> Tensor:
        chosen = torch.randint(len(data), (GATE_BATCH,))
        others = fillers[torch.randint(len(fillers), (joined,))]
        chosen = chosen[data.lengths[chosen].argsort()]  # parts of like length need little padding
        short, *longer = chosen.split([joined, part, part, GATE_BATCH - joined - 2 * part])
        loss = torch.zeros(())
        for labelled, texts in ((short, (short, others)), *((indices, (indices,)) for indices in longer)):
            logits = gate(*data.batch(*texts[:: 1 if step % 2 else -1]))
            for of_members, labels in zip(logits, (data.groups, data.explicit), strict=True):
                labels = labels[labelled].repeat_interleave(gate.members)
                loss = loss + F.cross_entropy(of_members.flatten(0, 1), labels, reduction="sum")
        return loss / GATE_BATCH

    def schedule(step: int) -> float:
        return min(1, (step + 1) / 30) * (1 - 0.7 * step / steps)

    return optimise(
        gate.train(), steps, loss_of_step, "gate", RATE, schedule, average=AVERAGE, clip=math.inf,
        progress=told, weight_decay=0.25, betas=(0.9, 0.97),
    )  # fmt: skip


def _set_thresholds(gate: PromptGate, held_out: _Encoded) -> dict:
    """Set the thresholds of a gate to where errors on held-out texts cost least -> their shares there."""
    groups, explicit = held_out.probabilities(gate)
    named, asked = 1 - groups[:, -1], 1 - explicit[:, NEITHER]
    scope, request = held_out.groups < gate.groups, held_out.explicit != NEITHER
    gate.config["in_scope"] = _cheapest((named[scope], LEFT_OUT), (named[~scope], FALSE_ACTIVATION))
    gate.config["asked"] = _cheapest((asked[scope & request], OVERRIDDEN), (asked[scope & ~request], READ_INTO))
    inside, is_open = named >= gate.config["in_scope"], asked < gate.config["asked"]
    right = groups[:, :-1].argmax(dim=1) == held_out.groups
    shares = {
        "group": torch.where(scope, inside & right, ~inside),
        "left out": ~inside[scope],
        "wrong group": ~right[scope & inside],
        "explicit": torch.where(request, ~is_open, is_open)[scope],
        "overridden": (inside & is_open)[scope & request],
        "false activation": inside[~scope],
    }
    return {name: round(float(share.float().mean()), 4) if len(share) else None for name, share in shares.items()}


def _cheapest(above: tuple[Tensor, float], below: tuple[Tensor, float]) -> float:
    """The threshold that costs least, given probabilities that should be above it and below, and what an error costs of
    each; the middle of several.
    """
    (above_values, above_cost), (below_values, below_cost) = above, below
    at = torch.arange(THRESHOLDS[0] - SMOOTHED, THRESHOLDS[1] + SMOOTHED + 1e-6, 0.01)
    costs = torch.zeros(len(at))
    if len(above_values):
        costs = costs + above_cost * (above_values[:, None] < at).float().mean(dim=0)
    if len(below_values):
        costs = costs + below_cost * (below_values[:, None] >= at).float().mean(dim=0)
    costs = costs.unfold(0, round(2 * SMOOTHED / 0.01) + 1, 1).mean(dim=1)
    least = (costs < costs.min() + 1e-6).nonzero()[:, 0]
    return round(THRESHOLDS[0] + 0.01 * float(least.float().mean()), 3)


def _check(gate: PromptGate, encoded: _Encoded, texts: Sequence[Checked]) -> dict[str, float]:
    """The share of hand-written texts that a gate reads right, by category."""
    groups, explicit = encoded.probabilities(gate)
    inside, asked = 1 - groups[:, -1] >= gate.config["in_scope"], 1 - explicit[:, NEITHER] >= gate.config["asked"]
    named = torch.where(inside, groups[:, :-1].argmax(dim=1), gate.groups)
    request = torch.where(asked, explicit[:, 1:].argmax(dim=1) + 1, NEITHER)
    plain = (named == encoded.groups) & ((encoded.groups == gate.groups) | (request == NEITHER))
    left_alone = (named == gate.groups) | (request != NEITHER)
    right = torch.where(encoded.explicit == NEITHER, plain, left_alone)
    categories = [text.category for text in texts]
    right = torch.where(torch.tensor([name == "denied" for name in categories]), request != STEREOTYPE, right)
    return {
        name: round(float(right[[category == name for category in categories]].double().mean()), 3)
        for name in dict.fromkeys(categories)
    }
