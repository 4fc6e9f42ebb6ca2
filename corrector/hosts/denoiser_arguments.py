"""The arguments of a denoiser of diffusers in a pipeline, by name: some rows of its batch, or with other prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .families import Family
from .prompts import Prompts, joined_tokens


def arguments_of(family: Family, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a denoiser by name, in containers of their own: the UNet empties those of T2I-Adapters."""
    given = dict(zip(family.inputs, args, strict=False)) | dict(kwargs)
    return {name: _mapped(argument, lambda tensor: tensor) for name, argument in given.items()}


def rows_of(family: Family, call: Mapping[str, Any], rows: Tensor) -> dict[str, Any]:
    """The arguments for some rows [N] of a batch."""
    count = len(call[family.latents])

    def chosen(name: str, argument: Any) -> Any:
        if name in family.shared:
            return argument
        if family.listed and name in (family.latents, family.tokens):
            return [argument[row] for row in rows.tolist()]
        return _mapped(argument, lambda tensor: tensor[rows] if tensor.ndim and len(tensor) == count else tensor)

    return {name: chosen(name, argument) for name, argument in call.items()}


def prompts_of(family: Family, encoded: Sequence[Any]) -> Prompts:
    """What encode_prompt returned -> the prompts in ComfyUI's form, without the tokens that do not count."""
    tokens = encoded[0]
    pooled = encoded[family.pooled[1]] if family.pooled and len(encoded) > family.pooled[1] else None
    mask = encoded[family.mask[1]] if family.mask else None
    rows = [row.detach() if mask is None else row.detach()[mask[index].bool()] for index, row in enumerate(tokens)]
    beside = [{} if pooled is None else {"pooled_output": pooled[index : index + 1]} for index in range(len(rows))]
    return Prompts([[row[None], extra]] for row, extra in zip(rows, beside, strict=True))


def encoded_of(family: Family, call: Mapping[str, Any]) -> list[Any]:
    """What encode_prompt returned for the prompts of an evaluation, as far as `prompts_of` reads it."""
    named = [(family.tokens, 0), *filter(None, (family.pooled, family.mask))]
    encoded: list[Any] = [None] * (1 + max(index for _, index in named))
    for name, index in named:
        holder, _, key = name.partition(".")
        part = call.get(holder)
        encoded[index] = (part or {}).get(key) if key else part
    return encoded


def with_prompts(
    family: Family, call: Mapping[str, Any], rows: Sequence[int], prompts: Prompts
) -> dict[str, Any] | None:
    """The arguments with prompts in place of those at some rows; None if a batch cannot have prompts of such lengths.

    Args:
        family: of the pipeline.
        call: the arguments.
        rows: of the batch, one for each prompt.
        prompts: as of `prompts_of`.
    """
    given = call[family.tokens]
    vectors, like = list(given), given[0]
    for row, ((tokens, _),) in zip(rows, prompts.conditionings, strict=True):
        vectors[row] = tokens[0].to(like)
    changed: dict[str, Any] = {}
    if family.listed:
        changed[family.tokens] = vectors
    elif family.mask:
        masks = list(_ones(given) if call.get(family.mask[0]) is None else call[family.mask[0]])
        for row in rows:
            masks[row] = torch.ones(len(vectors[row])).to(masks[row])
        length = max(len(row) for row in vectors)
        changed[family.tokens] = torch.stack([F.pad(row, (0, 0, 0, length - len(row))) for row in vectors])
        mask = torch.stack([F.pad(row, (0, length - len(row))) for row in masks])
        changed[family.mask[0]] = None if call.get(family.mask[0]) is None and bool(mask.all()) else mask
    elif family.repeats or len({len(row) for row in vectors}) == 1:
        changed[family.tokens] = joined_tokens([row[None] for row in vectors])
    else:
        return None
    if "txt_ids" in call:
        changed["txt_ids"] = call["txt_ids"].new_zeros(changed[family.tokens].shape[1], 3)
    return dict(call) | changed | _with_pooled(family, call, rows, prompts)


def _with_pooled(family, call, rows, prompts):
    """The argument that holds pooled vectors, with those of prompts at some rows; {} if there are none."""
    name, _, key = family.pooled[0].partition(".") if family.pooled else ("", "", "")
    holder = call.get(name)
    vectors = (holder or {}).get(key) if key else holder
    if vectors is None:
        return {}
    vectors = vectors.clone()
    vectors[list(rows)] = prompts.pooled.to(vectors)
    return {name: holder | {key: vectors} if key else vectors}


def _ones(tokens):
    return torch.ones(tokens.shape[:2], dtype=torch.long, device=tokens.device)


def _mapped(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Nested dicts, lists and tuples with a function of each tensor in them."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, dict):
        return {name: _mapped(part, function) for name, part in value.items()}
    return type(value)(_mapped(part, function) for part in value) if isinstance(value, list | tuple) else value
