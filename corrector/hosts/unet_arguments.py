"""The arguments of a UNet of diffusers in a pipeline, by name: some rows of its batch, or with other prompts."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .prompts import Prompts, joined_tokens

UNET_INPUTS = ("sample", "timestep", "encoder_hidden_states")  # by position


def arguments_of(args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a UNet by name, in containers of their own: the UNet empties those of T2I-Adapters."""
    given = dict(zip(UNET_INPUTS, args, strict=False)) | dict(kwargs)
    return {name: _mapped(argument, lambda tensor: tensor) for name, argument in given.items()}


def with_prompts(call: Mapping[str, Any], prompts: Prompts, first: int) -> dict[str, Any]:
    """The arguments of the UNet that hold texts, with prompts in place of those from the row `first` on."""
    tokens, added = call["encoder_hidden_states"], call.get("added_cond_kwargs")
    changed = {"encoder_hidden_states": joined_tokens([*tokens[:first].split(1), prompts.tokens.to(tokens)])}
    if added and "text_embeds" in added:
        pooled = torch.cat([added["text_embeds"][:first], prompts.pooled.to(added["text_embeds"])])
        changed["added_cond_kwargs"] = added | {"text_embeds": pooled}
    return changed


def rows_of(argument: Any, rows: Tensor, count: int) -> Any:
    """An argument for `count` rows -> that for some rows [N]."""
    return _mapped(argument, lambda tensor: tensor[rows] if tensor.ndim and len(tensor) == count else tensor)


def _mapped(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Nested dicts, lists and tuples with a function of each tensor in them."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, dict):
        return {name: _mapped(part, function) for name, part in value.items()}
    return type(value)(_mapped(part, function) for part in value) if isinstance(value, list | tuple) else value
