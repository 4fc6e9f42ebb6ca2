"""The conditioning of several prompts, where a prompt has more than token vectors: SDXL, and any model in ComfyUI."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor

TEXTS_AT_ONCE = 16  # that are encoded in one batch


def joined(*conditionings: Tensor | Prompts) -> Tensor | Prompts:
    """Conditionings of some prompts each, Prompts or tensors [N, T, W], in one.

    Shorter tensors are repeated up to a common length, as ComfyUI does: in cross-attention that changes nothing.
    """
    if isinstance(conditionings[0], Prompts):
        return torch.cat(conditionings)
    length = math.lcm(*(tokens.shape[1] for tokens in conditionings))
    return torch.cat([tokens.repeat(1, length // tokens.shape[1], 1) for tokens in conditionings])


class Prompts:
    """N prompts that are indexed, repeated and joined like a tensor [N, ...]; their vectors are read on the CPU.

    Args:
        conditionings: N, each in ComfyUI's form: a list of [token vectors [1, T, W], dict of what belongs to them]. In
            the dict, "pooled_output" [1, P] is the pooled vector of SDXL's second text encoder.
    """

    def __init__(self, conditionings: Iterable[list]):
        self.conditionings = list(conditionings)

    @property
    def tokens(self) -> Tensor:
        """Token vectors [N, T, W]."""
        return joined(*(conditioning[0][0].float().cpu() for conditioning in self.conditionings))

    @property
    def pooled(self) -> Tensor:
        """Pooled vectors [N, P]."""
        return torch.cat([conditioning[0][1]["pooled_output"].float().cpu() for conditioning in self.conditionings])

    def __len__(self):
        return len(self.conditionings)

    def __getitem__(self, index):
        """Prompts at a slice, a tensor of indices, a boolean tensor or a number."""
        chosen = torch.arange(len(self))[index].reshape(-1)
        return type(self)(self.conditionings[i] for i in chosen.tolist())

    def expand(self, count: int, *_: int):
        """One prompt repeated for `count` pictures; `count` prompts are returned as they are."""
        if len(self) not in (1, count):
            raise ValueError(f"There are {len(self)} prompts for {count} pictures; give one prompt, or one a picture.")
        return type(self)(self.conditionings * (count // len(self)))

    def to(self, *_):
        return self

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function is not torch.cat:
            return NotImplemented
        return cls(conditioning for prompts in args[0] for conditioning in prompts.conditionings)


def chunks_of(tokenizer, prompt: str) -> list[str]:
    """A prompt in parts that fit into the text encoder, cut between words as in ComfyUI; one part if it fits."""
    ids = partial(tokenizer, add_special_tokens=False, verbose=False)  # no warning that a prompt is long
    room = tokenizer.model_max_length - 2  # without the tokens of start and end
    if len(ids(prompt).input_ids) <= room:
        return [prompt]
    words, chunks, used = prompt.split(), [[]], 0
    for word, count in zip(words, map(len, ids(words).input_ids), strict=True):
        if chunks[-1] and used + count > room:
            chunks.append([])
            used = 0
        chunks[-1].append(word)
        used += count
    return [" ".join(chunk) for chunk in chunks]
