"""A second device with real values, for machines without a GPU.

Tensors on `OTHER` are computed on the CPU, but report another device and refuse to be mixed with CPU tensors where CUDA
tensors do. Values, autograd, optimisers and inference mode work, which neither "meta" nor FakeTensorMode offers.

    with other_device():
        image = network.to(OTHER)(latents.to(OTHER)).cpu()
"""

from contextlib import contextmanager, nullcontext

import torch
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

# Without a driver, autograd runs on "cpu", "meta" and "lazy" only (with "cuda" PyTorch aborts the process), and "meta"
# is to PyTorch itself a device without values.
OTHER = torch.device("lazy", 0)

aten = torch.ops.aten
COPIES = {aten.copy, aten.copy_, aten._foreach_copy, aten._foreach_copy_}  # the operations between devices
INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}
INDEXING |= {aten._unsafe_index, aten._unsafe_index_put}
NO_CPU_SCALARS = {aten.stack, aten.index_select, aten.gather, aten.take, aten.bucketize, aten.searchsorted}

CPU, COMPOSITE = torch._C.DispatchKey.CPU, torch._C.DispatchKey.CompositeImplicitAutograd


class OtherDeviceTensor(torch.Tensor):
    """A tensor that reports `OTHER`.

    Args:
        held: CPU tensor with the values; shared, not copied.
    """

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held):
        layout = dict(strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype)
        with torch.inference_mode(held.is_inference()):  # a view is an inference tensor if and only if its base is
            return torch.Tensor._make_wrapper_subclass(cls, held.shape, device=OTHER, **layout)

    def __init__(self, held):
        self.held = held

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})

    # PyTorch does not do these for tensor subclasses, or does them otherwise.
    def numpy(self, **_):
        raise TypeError(
            f"can't convert {OTHER} device type tensor to numpy. Use Tensor.cpu() to copy it to host memory."
        )

    def tolist(self):
        return self.held.tolist()


class _OtherDeviceMode(TorchDispatchMode):
    """Sees operations on CPU tensors only, such as `.to(OTHER)`, and on none, such as `torch.zeros(device=OTHER)`."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {}, mode=self)


@contextmanager
def other_device():
    """Context in which tensors and modules can be moved to `OTHER` and created there."""
    lift_only_cpu = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)  # otherwise `torch.tensor(values, device=OTHER)` bypasses the mode
    try:
        with _OtherDeviceMode():
            yield OTHER
    finally:
        torch._C._set_only_lift_cpu_tensors(lift_only_cpu)


def _run(func, args, kwargs, mode=None):
    """Run one operation on the CPU and give its results the device that they would have."""
    leaves = tree_leaves((args, kwargs))
    given = any(isinstance(leaf, OtherDeviceTensor) for leaf in leaves)
    asked = [leaf.type == OTHER.type for leaf in leaves if isinstance(leaf, torch.device)]
    if not given and not any(asked):
        return func(*args, **kwargs)
    if func.has_kernel_for_dispatch_key(COMPOSITE) and not func.has_kernel_for_dispatch_key(CPU):
        with mode or nullcontext():  # only inference mode leaves composite operations whole
            return func._op_dk(COMPOSITE, *args, **kwargs)
    there = asked[0] if asked else given
    if there and any(isinstance(leaf, torch.Generator) for leaf in leaves):
        raise RuntimeError(f"Expected a '{OTHER.type}' device type for generator but found 'cpu'")
    if given and func.overloadpacket not in COPIES:
        _refuse_mixing(func, args, kwargs)
    on_cpu = tree_map_only(OtherDeviceTensor, lambda tensor: tensor.held, (args, kwargs))
    on_cpu = tree_map_only(torch.device, lambda _: torch.device("cpu"), on_cpu)
    result = func(*on_cpu[0], **on_cpu[1])
    if there:
        result = tree_map_only(torch.Tensor, OtherDeviceTensor, result)
    return return_and_correct_aliasing(func, args, kwargs, result) if func._schema.is_mutable else result


def _refuse_mixing(func, args, kwargs):
    """Raise RuntimeError where CUDA does: CPU tensors may only be 0-dim operands, or indices."""
    arguments = {argument.name: argument for argument in func._schema.arguments}
    values = dict(zip(arguments, args, strict=False)) | kwargs
    if func.overloadpacket in INDEXING:
        indices = tree_leaves(values.pop("indices"))
        if not isinstance(values["self"], OtherDeviceTensor) and any(isinstance(i, OtherDeviceTensor) for i in indices):
            raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
    for name, value in values.items():
        alias = arguments[name].alias_info
        refused = func.overloadpacket in NO_CPU_SCALARS or (alias is not None and alias.is_write)
        for leaf in tree_leaves(value):
            if isinstance(leaf, torch.Tensor) and leaf.device != OTHER and (leaf.ndim > 0 or refused):
                raise RuntimeError(
                    "Expected all tensors to be on the same device, but found at least two devices, "
                    f"{OTHER} and {leaf.device}! (when checking argument {name} of {func})"
                )
