"""The one reader of safetensors files: the header is checked before any tensor is made."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from safetensors import SafetensorError
from safetensors.torch import load, load_file

from .json_files import UnreadableError, parse_json, read_bytes, size_of

HEADER = 4 * 2**20  # bytes
MOST = 10_000  # tensors
SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "U8": 1}  # bytes of a number, by type
FLOATS = ("F64", "F32", "F16", "BF16")
NOT_SAFETENSORS = "not a safetensors file, or cut off while copying; copy it again"


@dataclass(frozen=True)
class Header:
    """What a file says of its tensors."""

    metadata: dict = field(default_factory=dict)  # texts by name
    tensors: dict = field(default_factory=dict)  # (type, shape) by name


def header_of(beginning, size, types=FLOATS):
    """The first bytes of a safetensors file of `size` bytes -> Header. Raises UnreadableError.

    `beginning` holds at least the header, if that is at most HEADER bytes long; `types` are those that are expected, or
    None for all.
    """
    length = int.from_bytes(beginning[:8], "little")
    if size < 8 or length > size - 8:
        raise UnreadableError(NOT_SAFETENSORS)
    if length > HEADER:
        raise UnreadableError(f"its header has {length / 2**20:.1f} MB, and at most {HEADER / 2**20:g} MB are expected")
    try:
        found = parse_json(beginning[8 : 8 + length], largest=HEADER, most=10 * MOST)
    except UnreadableError:
        raise UnreadableError(NOT_SAFETENSORS) from None
    metadata = found.pop("__metadata__", {}) if isinstance(found, dict) else None
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise UnreadableError(NOT_SAFETENSORS)
    if len(found) > MOST:
        raise UnreadableError(f"it has {len(found)} tensors, and at most {MOST} are expected")
    return Header(metadata, {name: _described(name, about, size, types) for name, about in found.items()})


def _described(name, about, size, types):
    """(type, shape) of a tensor in a header."""
    kind, shape = (about.get("dtype"), about.get("shape")) if isinstance(about, dict) else (None, None)
    whole = isinstance(shape, list) and len(shape) <= 8 and all(type(side) is int and side >= 0 for side in shape)
    if not whole or not isinstance(kind, str):
        raise UnreadableError(NOT_SAFETENSORS)
    if types and kind not in types:
        raise UnreadableError(f'the tensor "{name}" has the type {kind}, and {" or ".join(types)} is expected')
    numbers = 1
    for side in shape:
        numbers *= side
    if numbers * SIZES.get(kind, 0) > size:
        raise UnreadableError(NOT_SAFETENSORS)
    return kind, tuple(shape)


def read_tensors(path, largest, types=FLOATS):
    """A safetensors file -> (Header, tensors by name, all of its bytes). Raises UnreadableError, or OSError.

    It is read at once, so that a file that is replaced meanwhile gives the old or the new content.
    """
    data = read_bytes(path, largest)
    header = header_of(data, len(data), types)
    return header, _loaded(load, data), data


def read_header(path, types=FLOATS):
    """The Header of a safetensors file of any size. Raises UnreadableError, or OSError."""
    size = size_of(path, 2**50)
    with open(path, "rb") as file:
        return header_of(file.read(8 + HEADER), size, types)


def map_tensors(path, types=FLOATS):
    """A large safetensors file -> tensors that are mapped into memory. Raises UnreadableError, or OSError."""
    read_header(path, types)
    return _loaded(load_file, path)


def _loaded(load, source):
    try:
        return load(source)
    except (SafetensorError, ValueError, TypeError, KeyError, RuntimeError, OverflowError):
        raise UnreadableError(NOT_SAFETENSORS) from None


def checksum(text: str, tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of a text and of the names, types, shapes and bytes of tensors on the CPU, as hex digits."""
    described = sorted((name, str(tensor.dtype), list(tensor.shape)) for name, tensor in tensors.items())
    digest = hashlib.sha256(json.dumps([text, described]).encode())
    for name, *_ in described:
        digest.update(tensors[name].contiguous().view(torch.uint8).numpy() if tensors[name].numel() else b"")
    return digest.hexdigest()


def not_finite(tensors, largest=None):
    """The first tensor with NaN, infinity or an absolute value above `largest` -> what it holds, or None."""
    for name, tensor in tensors.items():
        if tensor.numel() and tensor.is_floating_point():
            low, high = (float(end) for end in torch.aminmax(tensor.float()))
            if not (-torch.inf < low and high < torch.inf):
                return f'the tensor "{name}" holds NaN or infinity'
            if largest is not None and max(-low, high) > largest:
                return f'the tensor "{name}" holds {max(-low, high):.3g}, and at most {largest:g} is expected'
    return None
