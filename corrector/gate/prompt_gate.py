"""The prompt gate: which group does a prompt name, and does it ask for a value of the axis' attribute explicitly?

Both are read from the positive conditioning by a small network on its token vectors, trained on text alone. If a prompt
is out of scope or explicit, the picture is not corrected.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import nn

from ..files.errors import RSCorrectorError
from ..latents.devices import beside

OUT_OF_SCOPE = -1
EXPLICIT = ("neither", "stereotype", "counter", "another")  # another value of the same attribute
NEITHER, STEREOTYPE, COUNTER, ANOTHER = range(len(EXPLICIT))
ALMOST = 0.3  # probability of a group from which a prompt that is out of scope is said to be nearly in scope
DROPPED = 0.1  # share of the features in training


@dataclass(frozen=True)
class PromptReading:
    """The gate's answers for one picture."""

    group: int  # index into the axis' groups, or OUT_OF_SCOPE
    explicit: str  # one of EXPLICIT
    nearest: int = field(default=0, compare=False)  # the most probable group, also of a prompt that is out of scope
    named: float = field(default=0.0, compare=False)  # probability that a group is named
    asked: float = field(default=0.0, compare=False)  # probability that a value of the attribute is asked for

    @property
    def open(self):
        return self.group != OUT_OF_SCOPE and self.explicit == EXPLICIT[NEITHER]

    def said(self, axis):
        """Why a picture of this prompt is left alone, in words; "" if the prompt lets it be corrected."""
        if self.group == OUT_OF_SCOPE:
            almost = f" (almost: {axis.groups[self.nearest]} {self.named:.1f})" if self.named >= ALMOST else ""
            return f"the prompt names nobody of {', '.join(axis.groups)}{almost}"
        if self.explicit == EXPLICIT[ANOTHER]:
            sides = f"{axis.stereotype.description} and {axis.counter.description}"
            return f"the prompt asks for something else than {sides}"
        side = getattr(axis, self.explicit, None)
        return f"the prompt asks for {side.description}" if side else ""


def token_vectors(conditioning):
    """A host's conditioning, a tensor or an object with `tokens` -> token vectors [N, T, width]."""
    return getattr(conditioning, "tokens", conditioning)


class PromptGate(nn.Module):
    """Features of the tokens, each scaled by its neighbours ("no" before "sombrero"), of each an average over a prompt
    with weights of its own and the largest value, and two linear probes on them.

    Args:
        width: of the text encoder's token vectors.
        groups: number of groups.
        hidden: number of features.
        reach: number of tokens in a row that a feature is read from; 0 for the token alone.
        in_scope: probability of a group from which a prompt is in scope.
        asked: probability of a request from which a prompt is explicit.
    """

    def __init__(self, width, groups, hidden, in_scope=0.8, asked=0.5, reach=0):
        super().__init__()
        self.config = dict(width=width, groups=groups, hidden=hidden, reach=reach, in_scope=in_scope, asked=asked)
        self.width, self.groups = width, groups
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))
        self.features, self.scores = nn.Linear(width, hidden), nn.Linear(width, hidden)
        self.neighbours = nn.Conv1d(hidden, hidden, reach, padding="same") if reach else None
        self.group_probe = nn.Linear(2 * hidden, groups + 1)  # the last class: out of scope
        self.explicit_probe = nn.Linear(2 * hidden, len(EXPLICIT))

    def forward(self, conditioning, padding=None):
        """conditioning [N, T, width] -> group logits [N, groups + 1], explicit logits [N, 4].

        `padding` [N, T] says which token vectors are none.
        """
        layers = self.features, self.scores  # of (tokens - centre) / spread, which is theirs to take in
        weight = torch.cat([layer.weight for layer in layers]) / self.spread
        bias = torch.cat([layer.bias for layer in layers]) - weight @ self.centre
        features, scores = F.linear(conditioning.float(), weight, bias).chunk(2, dim=-1)  # [N, T, hidden]
        weights = (scores if padding is None else scores.masked_fill(padding[..., None], -torch.inf)).softmax(dim=1)
        features = F.gelu(features)
        if self.neighbours is not None:
            if padding is not None:
                features = features.masked_fill(padding[..., None], 0)
            features = features * 2 * self.neighbours(features.mT).mT.sigmoid()
        mean = (features * weights).sum(dim=1)
        if padding is not None:
            features = features.masked_fill(padding[..., None], -torch.inf)
        found = F.dropout(torch.cat([mean, features.amax(dim=1)], dim=-1), DROPPED, self.training)
        return self.group_probe(found), self.explicit_probe(found)

    @torch.no_grad()
    def read(self, conditionings):
        """Conditionings of one picture (regions), each [1, T, width] -> PromptReading.

        The group is the first that is named. It is explicit if any region is. Raises GateError if the conditioning is
        of another text encoder.
        """
        readings = [self._read(token_vectors(conditioning)) for conditioning in conditionings]
        if not readings:
            return PromptReading(OUT_OF_SCOPE, EXPLICIT[NEITHER])
        named = [one for one in readings if one.group != OUT_OF_SCOPE]
        asking = [one for one in readings if one.explicit != EXPLICIT[NEITHER]]
        group = named[0] if named else max(readings, key=lambda one: one.named)
        request = asking[0] if asking else max(readings, key=lambda one: one.asked)
        return PromptReading(group.group, request.explicit, group.nearest, group.named, request.asked)

    def _read(self, tokens):
        if tokens.ndim != 3 or tokens.shape[-1] != self.width:
            found = f"{tokens.shape[-1]} wide" if tokens.ndim == 3 else "without token vectors"
            raise GateError(
                f"The prompt's conditioning is {found} and this preference was made for a text encoder of width "
                f"{self.width}; use a preference made for this model."
            )
        if not tokens.shape[1]:
            return PromptReading(OUT_OF_SCOPE, EXPLICIT[NEITHER])
        groups, explicit = (logits.softmax(-1)[0].tolist() for logits in self(*beside(self, tokens)))
        *groups, outside = groups
        nearest = max(range(self.groups), key=groups.__getitem__)
        side = max(range(1, len(explicit)), key=explicit.__getitem__)
        return PromptReading(
            nearest if 1 - outside >= self.config["in_scope"] else OUT_OF_SCOPE,
            EXPLICIT[side if 1 - explicit[NEITHER] >= self.config["asked"] else NEITHER],
            nearest, 1 - outside, 1 - explicit[NEITHER],
        )  # fmt: skip


class GateError(RSCorrectorError):
    """A conditioning that the gate cannot read."""
