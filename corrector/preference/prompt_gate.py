"""The prompt gate: which group does a prompt name, and does it ask for a side of the axis explicitly?

Both are read from the positive conditioning by small probes on its token vectors, trained on text alone. If a prompt is
out of scope or explicit, the picture is not corrected.
"""

from dataclasses import dataclass

import torch
from torch import nn

from ..latent_space.devices import beside
from ..latent_space.errors import RSCorrectorError

OUT_OF_SCOPE = -1
SURE = 0.8  # minimum probability of a group; below it the prompt is out of scope
EXPLICIT = ("neither", "stereotype", "counter")


@dataclass(frozen=True)
class PromptReading:
    """The gate's answers for one picture."""

    group: int  # index into the axis' groups, or OUT_OF_SCOPE
    explicit: str  # one of EXPLICIT

    @property
    def open(self):
        return self.group != OUT_OF_SCOPE and self.explicit == "neither"


def token_vectors(conditioning):
    """A host's conditioning, a tensor or an object with `tokens` -> token vectors [N, T, width]."""
    return getattr(conditioning, "tokens", conditioning)


class PromptGate(nn.Module):
    """Attention-pooled linear probes, with one query per answer.

    Args:
        width: of the text encoder's token vectors.
        groups: number of groups.
        pooling: "attention", or "mean" or "last" for comparison in benchmarks/gate.py.
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
        """Conditionings of one picture (regions), each [1, T, width] -> PromptReading.

        The group is the first that is named. It is explicit if any region is. Raises GateError if the conditioning is
        of another text encoder.
        """
        group, explicit = OUT_OF_SCOPE, EXPLICIT[0]
        for conditioning in conditionings:
            conditioning = token_vectors(conditioning)
            if conditioning.shape[-1] != self.width:
                raise GateError(
                    f"The prompt's conditioning is {conditioning.shape[-1]} wide and this preference was made for a "
                    f"text encoder of width {self.width}; use a preference made for this model."
                )
            group_logits, explicit_logits = self(*beside(self, conditioning))
            sure, named = group_logits.softmax(-1)[0].max(dim=-1)
            named = int(named) if sure >= SURE else self.groups
            asked = EXPLICIT[int(explicit_logits.argmax(-1)[0])]
            if group == OUT_OF_SCOPE and named < self.groups:
                group = named
            if explicit == EXPLICIT[0]:
                explicit = asked
        return PromptReading(group, explicit)


class GateError(RSCorrectorError):
    """A conditioning that the gate cannot read."""
