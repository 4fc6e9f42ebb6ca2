"""A second device with real values, for machines without a GPU.

A tensor on `OTHER` is computed on the processor, but reports another device and refuses to be mixed with tensors of the
processor where CUDA tensors refuse it. Control flow on values (`.any()`, `float(x.max())`) works, as do autograd,
optimisers and inference mode. Unlike FakeTensorMode and the "meta" device, nothing is lost.

    with other_device():
        network.to(OTHER)(latents.to(OTHER)).cpu()
"""

from contextlib import contextmanager

import torch
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

# Of the device types known to a CPU-only build, autograd runs only "cpu", "meta" and "lazy" without a driver (for
# "cuda" the process aborts), and libraries take "meta" for tensors without values.
OTHER = torch.device("lazy", 0)

aten = torch.ops.aten
COPIES = {aten.copy, aten.copy_, aten._foreach_copy, aten._foreach_copy_}
INDEXED = {aten.index, aten._unsafe_index, aten.index_put, aten.index_put_, aten._index_put_impl_}
INDEXED |= {aten._unsafe_index_put}


class OtherDeviceTensor(torch.Tensor):
    """A tensor that reports `OTHER`.

    Args:
        held: tensor of the processor with the values; it is shared, not copied.
    """

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held):
        layout = dict(strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype)
        return torch.Tensor._make_wrapper_subclass(cls, held.shape, device=OTHER, **layout)

    def __init__(self, held):
        self.held = held

    def __repr__(self):
        return f"OtherDeviceTensor({self.held}, requires_grad={self.requires_grad})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})

    @property
    def data(self):
        return self.detach()

    @data.setter
    def data(self, value):
        # PyTorch sets shape and strides only: the values are an attribute.
        torch.Tensor.data.__set__(self, value)
        self.held = value.held


class _OtherDeviceMode(TorchDispatchMode):
    """Sees operations whose tensors are all on the processor, such as `.to(OTHER)` and `torch.zeros(device=OTHER)`."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


@contextmanager
def other_device():
    """Within it, tensors and modules can be moved to `OTHER` and created there."""
    lifted, swapped = torch._C._only_lift_cpu_tensors(), torch.__future__.get_swap_module_params_on_conversion()
    torch._C._set_only_lift_cpu_tensors(True)  # else `torch.tensor(..., device=OTHER)` bypasses the mode
    torch.__future__.set_swap_module_params_on_conversion(True)  # as on CUDA, a moved parameter is the same object
    try:
        with _OtherDeviceMode():
            yield OTHER
    finally:
        torch._C._set_only_lift_cpu_tensors(lifted)
        torch.__future__.set_swap_module_params_on_conversion(swapped)


def _run(func, args, kwargs):
    """Run an operation on the processor, and give its results the device they would have."""
    if func is aten.to.other:  # under inference mode it arrives whole
        func, args = aten.to.device, (args[0], args[1].device, args[1].dtype, *args[2:])
    leaves = tree_leaves((args, kwargs))
    asked = [leaf.type == OTHER.type for leaf in leaves if isinstance(leaf, torch.device)]
    given = any(isinstance(leaf, OtherDeviceTensor) for leaf in leaves)
    if not given and not any(asked):
        return func(*args, **kwargs)
    there = asked[0] if asked else given
    if there and any(isinstance(leaf, torch.Generator) for leaf in leaves):
        raise RuntimeError(f"Expected a '{OTHER.type}' device type for generator but found 'cpu'")
    if given:
        _refuse_mixing(func, args, kwargs)
    inner = tree_map_only(OtherDeviceTensor, lambda tensor: tensor.held, (args, kwargs))
    inner_args, inner_kwargs = tree_map_only(torch.device, lambda _: torch.device("cpu"), inner)
    result = func(*inner_args, **inner_kwargs)
    if there:
        result = tree_map_only(torch.Tensor, OtherDeviceTensor, result)
    return return_and_correct_aliasing(func, args, kwargs, result) if func._schema.is_mutable else result


def _refuse_mixing(func, args, kwargs):
    """Raise RuntimeError where CUDA would: processor tensors are let in as 0-dim operands, as indices and by copy."""
    if func.overloadpacket in COPIES:
        return
    arguments = {argument.name: argument for argument in func._schema.arguments}
    values = dict(zip(arguments, args, strict=False)) | kwargs
    if func.overloadpacket in INDEXED:
        indices = tree_leaves(values.pop("indices"))
        if not isinstance(values["self"], OtherDeviceTensor) and any(isinstance(i, OtherDeviceTensor) for i in indices):
            raise RuntimeError(
                "indices should be either on cpu or on the same device as the indexed tensor (cpu)"
            )
    for name, value in values.items():
        written = arguments[name].alias_info is not None and arguments[name].alias_info.is_write
        for tensor in tree_leaves(value):
            if isinstance(tensor, torch.Tensor) and tensor.device != OTHER and (tensor.ndim > 0 or written):
                raise RuntimeError(
                    "Expected all tensors to be on the same device, but found at least two devices, "
                    f"{OTHER} and {tensor.device}! (when checking argument {name} of {func})"
                )
