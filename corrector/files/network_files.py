"""Networks in safetensors files: described by one JSON object in the metadata, with a checksum over it and the tensors.

A file of which a bit has changed is refused. No pickle: nothing in a file is executed.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save
from torch import Tensor, nn

from .json_files import LARGEST_JSON, UnreadableError, parse_json
from .tensor_files import checksum, read_tensors

KEY, CHECKSUM = "rs_corrector", "checksum"
Network = TypeVar("Network", bound=nn.Module)


def sealed(metadata: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bytes:
    """Metadata and contiguous tensors on the CPU -> the bytes of their file; its last field is the checksum."""
    metadata = {**metadata, CHECKSUM: checksum(json.dumps(metadata), tensors)}
    return save(dict(tensors), {KEY: json.dumps(metadata)})  # one text: safetensors writes several in any order


def read_sealed(path: Path | str, largest: int) -> tuple[Any, dict[str, Tensor], bytes]:
    """A file of at most `largest` bytes -> (metadata for `unsealed`, tensors by name, all of its bytes).

    The metadata is None in a safetensors file of other programs. Raises UnreadableError, or OSError.
    """
    texts, tensors, data = read_tensors(path, largest)
    return parse_json(texts.get(KEY, "null"), largest=2 * LARGEST_JSON), tensors, data


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
