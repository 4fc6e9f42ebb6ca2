"""Prompts as ComfyUI's CLIP encodes them, in batches and in a row."""

import torch
from torch import Tensor

from ..corrector.hosts.prompts import Prompts

TOKENS = "cross_attn"  # the host's name for the token vectors of a prompt
TOKEN_FIELDS = ("attention_mask", "conditioning_", "t5xxl_")  # of a prompt, with something for each token: beginnings
TEXT_FIELDS = (TOKENS, "pooled_output", *TOKEN_FIELDS)


class ComfyPrompts(Prompts):
    """Prompts as ComfyUI's CLIP encodes them, one CONDITIONING each."""

    def alike(self) -> list[Tensor]:
        """Groups of indices of prompts that fit into one batch: same number of tokens, same extra tensors."""
        groups = []
        for index, conditioning in enumerate(self.conditionings):
            group = next((group for group in groups if _fit(self.conditionings[group[0]], conditioning)), None)
            if group is None:
                groups.append([index])
            else:
                group.append(index)
        return [torch.tensor(group) for group in groups]

    def batched(self) -> list:
        """One CONDITIONING for a batch with one prompt per picture; the prompts must be `alike`."""
        batch = []
        for entries in zip(*self.conditionings, strict=True):
            parts = [_tensors(entry) for entry in entries]
            once = _once(parts[0])
            joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0].keys() - once.keys()} | once
            batch.append([joined.pop(TOKENS), entries[0][1] | joined])
        return batch


def _fit(one, other):
    """Whether two prompts fit into one batch."""
    return len(one) == len(other) and all(map(_regions_fit, map(_tensors, one), map(_tensors, other)))


def _regions_fit(first, second):
    shapes = [{name: tensor.shape for name, tensor in tensors.items()} for tensors in (first, second)]
    return shapes[0] == shapes[1] and all(torch.equal(part, second[name]) for name, part in _once(first).items())


def _tensors(entry):
    """The tensors of a region's prompt by name, with its token vectors."""
    tokens, extra = entry
    tensors = {TOKENS: tokens} | {name: value for name, value in extra.items() if isinstance(value, Tensor)}
    return {name: tensor.cpu() for name, tensor in tensors.items()}


def _once(tensors):
    """Those that models read once for a whole batch: masks, of which some take the sum; all, if some have no batch."""
    if any(tensor.ndim < 2 for tensor in tensors.values()):  # the ids of Anima
        return tensors
    return {name: tensor for name, tensor in tensors.items() if name.startswith("attention_mask")}


def in_a_row(prompt: list, phrase: list) -> list:
    """Two entries of a CONDITIONING -> one with the tokens of both and all else of the first, which it may lack."""
    tokens = [entry[0] for entry in (prompt, phrase)]
    extras = [entry[1] for entry in (prompt, phrase)]
    if any("attention_mask" in extra for extra in extras):
        extras = [
            {"attention_mask": torch.ones(vectors.shape[:2], dtype=torch.long)} | extra
            for vectors, extra in zip(tokens, extras, strict=True)
        ]
    first, second = extras
    joined = {
        name: torch.cat([part, second[name].to(part)], dim=-2 if name.startswith("conditioning_") else -1)
        for name, part in first.items()
        if isinstance(part, Tensor) and isinstance(second.get(name), Tensor) and name.startswith(TOKEN_FIELDS)
    }
    return [torch.cat([tokens[0].to(tokens[1]), tokens[1]], dim=1), second | first | joined]
