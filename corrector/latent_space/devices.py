"""Latents, conditioning and networks on different devices: the only place that moves any of them.

Data goes to the network that reads it (`beside`). Networks move when a run or a training begins and ends (`place`,
`placed`).
"""

from contextlib import contextmanager

import torch
from torch import nn


def device_of(network):
    """The device of a network's tensors, or None if it has none."""
    return next((tensor.device for tensor in (*network.parameters(), *network.buffers())), None)


def beside(network, *tensors):
    """Tensors (or None) on the device of a network; those that are there already are returned as they are."""
    device = device_of(network)
    return tuple(tensor if tensor is None or device is None else tensor.to(device) for tensor in tensors)


def place(network, device):
    """Move a network to a device, in place, so that it can be used with and without autograd there.

    Tensors that a host created under inference mode are copied, as autograd refuses them.
    """
    for module in network.modules():
        own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        for name, tensor in own:
            if tensor.device == device and not tensor.is_inference():
                continue
            with torch.inference_mode(False):
                moved = tensor.detach().to(device, copy=True)
                setattr(module, name, nn.Parameter(moved, False) if isinstance(tensor, nn.Parameter) else moved)


@contextmanager
def placed(networks, device):
    """Networks are on a device inside the block, and back where they were after it."""
    homes = [(network, device_of(network)) for network in networks]
    for network in networks:
        place(network, device)
    try:
        yield
    finally:
        for network, home in homes:
            place(network, home)
