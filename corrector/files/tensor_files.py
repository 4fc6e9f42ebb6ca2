"""The one reader of safetensors files. The library checks the header against the file; limits are ours."""

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, load_file
from torch import Tensor

from .json_files import UnreadableError, read_bytes, size_of

LARGEST_HEADER = 4 * 2**20  # bytes
MOST_TENSORS = 10_000
FLOATS = ("F64", "F32", "F16", "BF16")
NOT_SAFETENSORS = "not a safetensors file, or cut off while copying; copy it again"
Result = TypeVar("Result")


def read_tensors(
    path: Path | str, largest: int, types: Collection[str] = FLOATS
) -> tuple[dict[str, str], dict[str, Tensor], bytes]:
    """A safetensors file -> (metadata, tensors by name, all of its bytes). Raises UnreadableError, or OSError.

    It is read at once, so that a file that is replaced meanwhile gives the old or the new content.

    Args:
        path: of the file.
        largest: most bytes of the file.
        types: those that tensors may have, as safetensors names them.
    """
    data = read_bytes(path, largest)
    length = int.from_bytes(data[:8], "little")
    if LARGEST_HEADER < length < len(data):
        expected = f"at most {LARGEST_HEADER / 2**20:g} MB are expected"
        raise UnreadableError(f"its header has {length / 2**20:.1f} MB, and {expected}")
    tensors = _checked(load, data)
    metadata, kinds = _parsed(data[8 : 8 + length])
    _check_types(kinds, types)
    return metadata, tensors, data


def map_tensors(path: Path | str, types: Collection[str] | None = FLOATS) -> dict[str, Tensor]:
    """A large safetensors file -> tensors that are mapped into memory. Raises UnreadableError, or OSError.

    `types` as for `read_tensors`, or None for all.
    """
    _, kinds = header_of(path)
    _check_types(kinds, types or kinds.values())
    return _checked(load_file, path)


def header_of(path: Path | str) -> tuple[dict[str, str], dict[str, str]]:
    """A safetensors file of any size -> (metadata, types by name). Raises UnreadableError, or OSError."""
    size_of(path, 2**50)
    return _checked(_header_in, path)


def _header_in(path: Path | str) -> tuple[dict[str, str], dict[str, str]]:
    with safe_open(path, "pt"), open(path, "rb") as file:  # the first checks the header
        return _parsed(file.read(int.from_bytes(file.read(8), "little")))


def _parsed(header: bytes) -> tuple[dict[str, str], dict[str, str]]:
    """A header that the library has checked -> (metadata, types by name)."""
    entries = json.loads(header)
    metadata = entries.pop("__metadata__", None) or {}
    return metadata, {name: entry["dtype"] for name, entry in entries.items()}


def _checked(read: Callable[[Any], Result], source: bytes | Path | str) -> Result:
    try:
        return read(source)
    except (SafetensorError, ValueError, TypeError, KeyError, RuntimeError, OverflowError):
        raise UnreadableError(NOT_SAFETENSORS) from None


def _check_types(types: Mapping[str, str], expected: Collection[str]) -> None:
    if len(types) > MOST_TENSORS:
        raise UnreadableError(f"it has {len(types)} tensors, and at most {MOST_TENSORS} are expected")
    for name, kind in types.items():
        if kind not in expected:
            raise UnreadableError(f'the tensor "{name}" has the type {kind}, and {" or ".join(expected)} is expected')


def checksum(text: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of a text and of the names, types, shapes and bytes of tensors on the CPU, as hex digits."""
    described = sorted([(name, str(tensor.dtype), list(tensor.shape)) for name, tensor in tensors.items()])
    digest = hashlib.sha256(json.dumps([text, described]).encode())
    for name, *_ in described:
        if tensors[name].numel():
            digest.update(tensors[name].contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def not_finite(tensors: Mapping[str, Tensor], largest: float = torch.inf) -> str | None:
    """The first tensor with NaN, infinity or an absolute value above `largest` -> what it holds, or None."""
    for name, tensor in tensors.items():
        if tensor.numel() and tensor.is_floating_point():
            low, high = torch.aminmax(tensor.float())
            size = float(torch.maximum(-low, high))  # NaN if any is
            if not size < torch.inf:
                return f'the tensor "{name}" holds NaN or infinity'
            if size > largest:
                return f'the tensor "{name}" holds {size:.3g}, and at most {largest:g} is expected'
    return None
