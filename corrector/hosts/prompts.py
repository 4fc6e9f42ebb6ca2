"""The conditioning of several prompts, where a prompt has more than token vectors: SDXL, and any model in ComfyUI."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from typing_extensions import Self

TEXTS_AT_ONCE = 16  # that are encoded in one batch
BYTES = 4  # of a character at most, and so its tokens


def joined(*conditionings: Tensor | Prompts) -> Tensor | Prompts:
    """Conditionings of some prompts each, all Prompts or all tensors [N, T, W], in one."""
    prompts = [part for part in conditionings if isinstance(part, Prompts)]
    if prompts:
        return Prompts(conditioning for part in prompts for conditioning in part.conditionings)
    return joined_tokens([part for part in conditionings if isinstance(part, Tensor)])


def joined_tokens(vectors: Sequence[Tensor]) -> Tensor:
    """Token vectors [N, T, W] of some prompts each in one tensor.

    Shorter ones are repeated up to a common length, as ComfyUI does: in cross-attention that changes nothing.
    """
    length = math.lcm(*(tokens.shape[1] for tokens in vectors))
    return torch.cat([tokens.repeat(1, length // tokens.shape[1], 1) for tokens in vectors])


class Prompts:
    """N prompts that are indexed and repeated like a tensor [N, ...]; their vectors are read on the CPU.

    Args:
        conditionings: N, each in ComfyUI's form: a list of [token vectors [1, T, W], dict of what belongs to them]. In
            the dict, "pooled_output" [1, P] is the pooled vector of SDXL's second text encoder.
    """

    def __init__(self, conditionings: Iterable[list]):
        self.conditionings = list(conditionings)

    @property
    def tokens(self) -> Tensor:
        """Token vectors [N, T, W]."""
        return joined_tokens([conditioning[0][0].float().cpu() for conditioning in self.conditionings])

    @property
    def pooled(self) -> Tensor:
        """Pooled vectors [N, P]."""
        return torch.cat([conditioning[0][1]["pooled_output"].float().cpu() for conditioning in self.conditionings])

    def alike(self) -> list[Tensor]:
        """Groups of indices of prompts with the same number of token vectors."""
        groups: dict[int, list[int]] = {}
        for index, conditioning in enumerate(self.conditionings):
            groups.setdefault(conditioning[0][0].shape[1], []).append(index)
        return [torch.tensor(group) for group in groups.values()]

    def __len__(self):
        return len(self.conditionings)

    def __getitem__(self, index):
        """Prompts at a slice, a tensor of indices, a boolean tensor or a number."""
        chosen = torch.arange(len(self))[index].reshape(-1)
        return type(self)(self.conditionings[i] for i in chosen.tolist())

    def expand(self, count: int, *_: int) -> Self:
        """One prompt repeated for `count` pictures; `count` prompts are returned as they are."""
        if len(self) not in (1, count):
            raise ValueError(f"There are {len(self)} prompts for {count} pictures; give one prompt, or one a picture.")
        return type(self)(self.conditionings * (count // len(self)))

    def to(self, *_: Any) -> Self:
        return self


def chunks_of(tokenizer, prompt: str) -> list[str]:
    """A prompt in parts that fit into the text encoder, cut between words as in ComfyUI; one part if it fits."""
    ids = partial(tokenizer, add_special_tokens=False, verbose=False)  # no warning that a prompt is long
    room = tokenizer.model_max_length - 2  # without the tokens of start and end

    def count(text):
        return len(ids(text).input_ids)

    if count(prompt) <= room:
        return [prompt]
    words = [part for word in prompt.split() for part in _parts(word, room, count)]
    chunks, used = [[]], 0
    for word, tokens in zip(words, map(len, ids(words).input_ids), strict=True):
        if chunks[-1] and used + tokens > room:
            chunks.append([])
            used = 0
        chunks[-1].append(word)
        used += tokens
    return [" ".join(chunk) for chunk in chunks]


def _parts(word, room, count):
    """A text without spaces in parts of at most `room` tokens: cut after commas and the like, or anywhere."""
    if len(word) <= room // BYTES or count(word) <= room:
        return [word]
    parts = re.findall(r"\w+\W*|\W+", word)  # tags with their commas
    if len(parts) == 1:
        parts = [word[: len(word) // 2], word[len(word) // 2 :]]
    return [short for part in parts for short in _parts(part, room, count)]
