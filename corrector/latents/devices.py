"""Moves data and networks between devices; no other module does.

Inputs move to the device of the network that reads them (`beside`). Networks move when a run or a training starts and
ends (`place`, `placed`). What needs no full precision is computed `quickly`.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import chain
from typing import overload

import torch
from torch import Tensor, nn


def device_of(network: nn.Module) -> torch.device | None:
    """The device of a network's tensors, or None if it has none."""
    return next((tensor.device for tensor in chain(network.parameters(), network.buffers())), None)


@overload
def beside(network: nn.Module, *tensors: Tensor) -> tuple[Tensor, ...]: ...
@overload
def beside(network: nn.Module, *tensors: Tensor | None) -> tuple[Tensor | None, ...]: ...
def beside(network: nn.Module, *tensors: Tensor | None) -> tuple[Tensor | None, ...]:
    """Tensors, or None, on the device of a network."""
    device = device_of(network)
    return tuple(tensor if tensor is None or device is None else tensor.to(device) for tensor in tensors)


def place(network: nn.Module, device: torch.device | None) -> None:
    """Move a network to a device, in place.

    Tensors that a host created in inference mode are copied, because autograd does not accept them.
    """
    for module in network.modules():
        for name, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            if tensor.device == device and not tensor.is_inference():
                continue
            with torch.inference_mode(False):
                moved = tensor.detach().to(device, copy=True)
                setattr(module, name, nn.Parameter(moved, False) if isinstance(tensor, nn.Parameter) else moved)


@contextmanager
def placed(networks: Sequence[nn.Module], device: torch.device) -> Iterator[None]:
    """Networks are on a device inside the block, and back on their own devices after it."""
    homes = [device_of(network) for network in networks]
    for network in networks:
        place(network, device)
    try:
        yield
    finally:
        for network, home in zip(networks, homes, strict=True):
            place(network, home)


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device is a CPU with instructions for bfloat16, which takes half the time of float32 there."""
    able = getattr(torch.cpu, "get_capabilities", dict)()  # older versions of torch do not say
    return device.type == "cpu" and any(able.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def quickly(device: torch.device | str) -> AbstractContextManager:
    """A block that computes in bfloat16 if the device is a CPU with instructions for it."""
    return torch.autocast("cpu", torch.bfloat16) if has_bfloat16(torch.device(device)) else nullcontext()
