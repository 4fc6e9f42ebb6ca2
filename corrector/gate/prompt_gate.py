"""The prompt gate: which group does a prompt name, and does it ask for a value of the axis' attribute explicitly?

Both are read from the positive conditioning by a small network on its token vectors, trained on text alone. If a prompt
is out of scope or explicit, the picture is not corrected.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..axis.axis import Axis
from ..files.errors import RSCorrectorError
from ..latents.devices import beside

OUT_OF_SCOPE = -1
EXPLICIT = ("neither", "stereotype", "counter", "another")  # another value of the same attribute
NEITHER, STEREOTYPE, COUNTER, ANOTHER = range(len(EXPLICIT))
LEFT_ALONE = ": left alone"  # in what is said of a reading
NEARLY_IN_SCOPE = 0.3  # probability of a group from which a prompt that is out of scope is said to be nearly in scope
DROPOUT = 0.1  # share of the features
EXTREME = 10  # spreads from the centre, beyond which no token vector is taken to be


class GateError(RSCorrectorError):
    """A conditioning that the gate cannot read."""


@dataclass(frozen=True)
class PromptReading:
    """What the gate reads in the prompt of one picture.

    Args:
        group: index into the axis' groups, or OUT_OF_SCOPE.
        explicit: one of EXPLICIT.
        nearest: the most probable group, also of a prompt that is out of scope.
        named, asked: probabilities that a group is named, and that a value of the attribute is asked for.
        by_words: whether listed words decided it, against what the network reads (`listed.Listed.heeded`).
    """

    group: int
    explicit: str
    nearest: int = field(default=0, compare=False)
    named: float = field(default=0.0, compare=False)
    asked: float = field(default=0.0, compare=False)
    by_words: bool = field(default=False, compare=False)

    @property
    def open(self) -> bool:
        """Whether the prompt lets the picture be corrected."""
        return self.group != OUT_OF_SCOPE and self.explicit == EXPLICIT[NEITHER]

    def reason(self, axis: Axis) -> str:
        """Why a picture of this prompt is left alone, in words; "" if the prompt lets it be corrected."""
        if self.group == OUT_OF_SCOPE:
            nearly = self.named >= NEARLY_IN_SCOPE
            almost = f" (almost: {axis.groups[self.nearest]} {self.named:.1f})" if nearly else ""
            return f"the prompt names nobody of {', '.join(axis.groups)}{almost}"
        if self.explicit == EXPLICIT[ANOTHER]:
            stereotype, counter = axis.stereotype.description, axis.counter.description
            return f"the prompt asks for something else than {stereotype} and {counter}"
        side = getattr(axis, self.explicit, None)
        return f"the prompt asks for {side.description}" if side else ""

    def sentence(self, axis: Axis) -> str:
        """What was read, in words."""
        if self.open:
            return f"the prompt names {axis.groups[self.group]} and asks for nothing"
        return self.reason(axis) + LEFT_ALONE


def token_vectors(conditioning) -> Tensor:
    """A host's conditioning, a tensor or an object with `tokens` -> token vectors [N, T, width]."""
    return getattr(conditioning, "tokens", conditioning)


def without_extremes(tokens: Tensor, centre: Tensor, spread: Tensor) -> Tensor:
    """Token vectors [..., width]; those farther than EXTREME from the centre, in spreads (root mean square of all
    channels), are drawn in to that.

    Language models have tokens that attend to nothing, often the first one, with some channels a thousand times as
    large as in other tokens.
    """
    distance = ((tokens - centre) / spread).square().mean(dim=-1, keepdim=True).sqrt()
    return torch.where(distance > EXTREME, centre + (tokens - centre) * (EXTREME / distance), tokens)


class PromptGate(nn.Module):
    """Features of the tokens, each scaled by its neighbours ("no" before "sombrero"), of each an average over a prompt
    with weights of its own and the largest value, and two linear probes on them: several such networks, averaged.

    Args:
        width: of the text encoder's token vectors.
        groups: number of groups.
        hidden: number of features of each network.
        in_scope: probability of a group from which a prompt is in scope.
        asked: probability of a request from which a prompt is explicit.
        reach: number of tokens in a row that a feature is read from.
        members: number of networks.
    """

    centre: Tensor
    spread: Tensor

    def __init__(
        self, width: int, groups: int, hidden: int, in_scope: float = 0.8, asked: float = 0.5, reach: int = 1,
        members: int = 1,
    ):  # fmt: skip
        super().__init__()
        self.config = dict(
            width=width, groups=groups, hidden=hidden, reach=reach, members=members, in_scope=in_scope, asked=asked
        )
        self.width = width
        self.groups = groups
        self.members = members
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))
        of_all = hidden * members
        self.features = nn.Linear(width, of_all)
        self.scores = nn.Linear(width, of_all)
        self.neighbours = nn.Conv2d(of_all, of_all, (1, reach), padding="same", groups=members)  # faster than Conv1d
        self.group_probe = nn.Conv1d(2 * of_all, (groups + 1) * members, 1, groups=members)  # last class: out of scope
        self.explicit_probe = nn.Conv1d(2 * of_all, len(EXPLICIT) * members, 1, groups=members)

    def forward(self, conditioning: Tensor, padding: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """conditioning [N, T, width] -> group logits [N, members, groups + 1], explicit logits [N, members, 4].

        `padding` [N, T] is true where there is no token.
        """
        layers = self.features, self.scores  # of (tokens - centre) / spread, which is folded into their weights
        weight = torch.cat([layer.weight for layer in layers]) / self.spread
        bias = torch.cat([layer.bias for layer in layers]) - weight @ self.centre
        features, scores = F.linear(conditioning.float(), weight, bias).chunk(2, dim=-1)  # [N, T, members hidden]
        empty = torch.zeros_like(features[..., 0], dtype=torch.bool) if padding is None else padding
        empty = empty[..., None]
        weights = scores.masked_fill(empty, -torch.inf).softmax(dim=1)
        features = F.gelu(features).masked_fill(empty, 0)
        features = features * 2 * self.neighbours(features.mT[:, :, None])[:, :, 0].mT.sigmoid()
        pooled = (features * weights).sum(dim=1), features.masked_fill(empty, -torch.inf).amax(dim=1)
        of_each = torch.cat([part.unflatten(1, (self.members, -1)) for part in pooled], dim=2)
        inputs = F.dropout(of_each, DROPOUT, self.training).flatten(1)[..., None]  # [N, members 2 hidden, 1]
        probes = self.group_probe, self.explicit_probe
        groups, explicit = (probe(inputs).view(len(inputs), self.members, -1) for probe in probes)
        return groups, explicit

    def probabilities(self, conditioning: Tensor, padding: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As `forward`, but probabilities of all members together: of groups [N, groups + 1], of requests [N, 4]."""
        groups, explicit = (logits.mean(dim=1).softmax(dim=-1) for logits in self(conditioning, padding))
        return groups, explicit

    @torch.no_grad()
    def read(self, conditionings: Sequence) -> PromptReading:
        """Conditionings of one picture (regions), each [1, T, width] -> PromptReading.

        The group is the first that is named. It is explicit if any region is. Raises GateError if the conditioning is
        of another text encoder.
        """
        readings = [self._read(token_vectors(conditioning)) for conditioning in conditionings]
        if not readings:
            return PromptReading(OUT_OF_SCOPE, EXPLICIT[NEITHER])
        named = [reading for reading in readings if reading.group != OUT_OF_SCOPE]
        asking = [reading for reading in readings if reading.explicit != EXPLICIT[NEITHER]]
        group = named[0] if named else max(readings, key=lambda reading: reading.named)
        request = asking[0] if asking else max(readings, key=lambda reading: reading.asked)
        return PromptReading(group.group, request.explicit, group.nearest, group.named, request.asked)

    def certainty(self, reading: PromptReading, axis: Axis) -> str:
        """Why a reading is what it is: how sure the network is, beside what that takes, and whether words decided."""
        words = "in words that the axis lists; from token vectors alone: " if reading.by_words else ""
        return words + (
            f"names {axis.groups[reading.nearest]} {reading.named:.2f} of {self.config['in_scope']:.2f} needed, "
            f"asks for something {reading.asked:.2f} of {self.config['asked']:.2f}"
        )

    def _read(self, tokens: Tensor) -> PromptReading:
        if tokens.ndim != 3 or tokens.shape[-1] != self.width:
            width = f"{tokens.shape[-1]} wide" if tokens.ndim == 3 else "without token vectors"
            raise GateError(
                f"The prompt's conditioning is {width} and this preference was made for a text encoder of width "
                f"{self.width}; use a preference made for this model."
            )
        if not tokens.shape[1]:
            return PromptReading(OUT_OF_SCOPE, EXPLICIT[NEITHER])
        (tokens,) = beside(self, tokens)
        tokens = without_extremes(tokens.float(), self.centre, self.spread)
        groups, explicit = (each[0].tolist() for each in self.probabilities(tokens))
        *groups, outside = groups
        nearest = max(range(self.groups), key=groups.__getitem__)
        side = max(range(1, len(explicit)), key=explicit.__getitem__)
        named, asked = 1 - outside, 1 - explicit[NEITHER]
        group = nearest if named >= self.config["in_scope"] else OUT_OF_SCOPE
        return PromptReading(group, EXPLICIT[side if asked >= self.config["asked"] else NEITHER], nearest, named, asked)
