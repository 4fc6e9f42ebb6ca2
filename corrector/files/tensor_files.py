"""The one reader of safetensors files. The library checks the header against the file; limits are ours.

A sealed file holds one JSON object in its metadata, a checksum of that, of all other texts there and of the tensors: if
a bit has changed, it is refused. No pickle: nothing in a file is executed.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, load_file, save
from torch import Tensor, nn

from .json_files import LARGEST_JSON, UnreadableError, parse_json, read_bytes, size_of

LARGEST_HEADER = 4 * 2**20  # bytes
MOST_TENSORS = 10_000
FLOATS = ("F64", "F32", "F16", "BF16")
NOT_SAFETENSORS = "not a safetensors file, or cut off while copying; copy it again"
KEY, CHECKSUM = "rs_corrector", "checksum"  # in the metadata of a sealed file, and in the JSON there
Result = TypeVar("Result")
Network = TypeVar("Network", bound=nn.Module)


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


def sealed(metadata: Mapping[str, Any], tensors: Mapping[str, Tensor], texts: Mapping[str, str] | None = None) -> bytes:
    """Metadata and contiguous tensors on the CPU -> the bytes of their file; the last field is the checksum.

    `texts` stand beside the metadata in the header, for other programs.
    """
    texts = dict(sorted((texts or {}).items()))
    metadata = {**metadata, CHECKSUM: checksum(json.dumps({**texts, **metadata}), tensors)}
    header, data = _split(save(dict(tensors)))
    header = {"__metadata__": {**texts, KEY: json.dumps(metadata)}, **json.loads(header)}
    written = json.dumps(header, separators=(",", ":")).encode()  # the library writes texts in random order
    written += b" " * (-len(written) % 8)
    return len(written).to_bytes(8, "little") + written + data


def data_hash(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of the tensors as a file holds them, without its header, as hex digits."""
    return hashlib.sha256(_split(save(dict(tensors)))[1]).hexdigest()


def _split(file: bytes) -> tuple[bytes, bytes]:
    """The bytes of a file -> (header, tensors)."""
    start = 8 + int.from_bytes(file[:8], "little")
    return file[8:start], file[start:]


def read_sealed(path: Path | str, largest: int) -> tuple[Any, dict[str, Tensor], bytes]:
    """A file of at most `largest` bytes -> (metadata for `unsealed`, tensors by name, all of its bytes).

    The metadata holds the texts beside it too, and is None in a safetensors file of other programs. Raises
    UnreadableError, or OSError.
    """
    texts, tensors, data = read_tensors(path, largest)
    metadata = parse_json(texts.pop(KEY, "null"), largest=2 * LARGEST_JSON)
    return {**dict(sorted(texts.items())), **metadata} if isinstance(metadata, dict) else metadata, tensors, data


def unsealed(metadata: Any, tensors: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """Metadata without its checksum; None if there is none, or if it is not that of the content."""
    if not isinstance(metadata, dict):
        return None
    content = {name: value for name, value in metadata.items() if name != CHECKSUM}
    return content if metadata.get(CHECKSUM) == checksum(json.dumps(content), tensors) else None


def network_of(kind: Callable[..., Network], config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Network:
    """The network `kind(**config)` with its tensors, in float32, for inference.

    Sizes are compared first, so that absurd ones in a file allocate nothing. Raises UnreadableError if they do not fit.
    """
    try:
        with torch.device("meta"):
            described = {name: tensor.shape for name, tensor in kind(**config).state_dict().items()}
        if described != {name: tensor.shape for name, tensor in tensors.items()}:
            raise UnreadableError("its tensors are not those of its description")
        with torch.inference_mode(False):  # ComfyUI runs nodes in it, and tensors of it cannot be trained
            network = kind(**config)
            network.load_state_dict(tensors)
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise UnreadableError(error) from None
    return network.eval().requires_grad_(False)
