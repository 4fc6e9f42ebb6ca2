"""What identifies a model: is this the checkpoint that was measured, in any precision, with the same patches?

Of each tensor a few values count, divided by their size, and the logarithm of that size. Of all these numbers a few
random projections are kept: the distance of two fingerprints is about the relative difference of the weights (Johnson
and Lindenstrauss 1984). Rounding to bfloat16 gives 0.002, and weights that are 1 % larger 0.01.
"""

import hashlib
from collections.abc import Mapping
from types import CellType

import numpy as np
import torch
from torch import Tensor

VALUES = 16  # of each tensor, evenly spaced
PROJECTIONS = 16  # numbers of a fingerprint
STRUCTURE = 8  # hex digits that stand for names and shapes
SAME_WEIGHTS = 0.004  # distance up to which weights are the same in another precision
SMALLEST_SIZE = 1e-4  # of values, below which half precision says little of them
STEP = 2**-12  # to which the numbers are rounded
DIGITS = 4  # hex digits of a number
DEEPEST = 12  # nesting depth of containers


def identity(weights: Mapping[str, Tensor], *patches: object) -> str:
    """The `fingerprint` of weights by name, and a hash of all that is patched onto them, if anything can be.

    It is "" if some weights cannot be read.
    """
    unpatched = fingerprint(weights)
    if not patches or not unpatched:
        return unpatched
    digest = hashlib.sha256()
    _feed(digest, list(patches))
    return f"{unpatched}-{digest.hexdigest()[:16]}"


def fingerprint(weights: Mapping[str, Tensor]) -> str:
    """Weights by name, on any device, in any precision -> hex digits for `same_weights`; "" if some cannot be read, as
    they are offloaded, or of a kind of quantised tensor that gives no values.
    """
    structure, samples = hashlib.sha256(), []
    for name, tensor in sorted(weights.items()):
        structure.update(f"{name} {tuple(tensor.shape)}".encode())
        try:
            values = _sample(tensor)
            if tensor.is_floating_point():
                samples.append(values.double().cpu().numpy())
            else:
                structure.update(str(values.tolist()).encode())
        except (RuntimeError, TypeError, AttributeError, ValueError):  # NotImplementedError is a RuntimeError
            return ""
    numbers = np.concatenate([_numbers(values) for values in samples] or [np.zeros(1)])
    random = np.random.RandomState(0)  # whose numbers NumPy promises never to change
    projections = np.array([numbers @ random.standard_normal(len(numbers)) for _ in range(PROJECTIONS)])
    most = 16**DIGITS // 2
    rounded = np.round(projections / (len(numbers) ** 0.5 * STEP)).clip(-most, most - 1).astype(int)
    return structure.hexdigest()[:STRUCTURE] + "".join(f"{value + most:0{DIGITS}x}" for value in rounded)


def _sample(tensor):
    flat = tensor.detach().reshape(-1)
    return flat[:: max(1, len(flat) // VALUES)][:VALUES]


def _numbers(values):
    """Values of a tensor -> those divided by their size, and the logarithm of their size, which counts like all."""
    size = np.sqrt(np.square(values).mean()) if len(values) else 0.0
    return np.append(values / (size + SMALLEST_SIZE), len(values) ** 0.5 * (np.log(size + SMALLEST_SIZE) + 4))


def same_weights(first: str, second: str) -> bool:
    """Whether two fingerprints are of the same weights, in any precision."""
    if first == second:
        return True
    if first[:STRUCTURE] != second[:STRUCTURE] or len(first) != len(second):
        return False
    distance = np.subtract(*(_decoded(digits[STRUCTURE:]) for digits in (first, second)))
    return float(np.sqrt(np.square(distance).mean())) <= SAME_WEIGHTS


def _decoded(digits):
    return np.array([int(digits[place : place + DIGITS], 16) for place in range(0, len(digits), DIGITS)]) * STEP


def _feed(digest, value, depth=0):
    """Add a value to a hash: numbers, texts, tensors, containers, LoRAs; of other objects only their type."""
    kind = torch.Tensor if isinstance(value, Tensor) else type(value)  # a Parameter hashes like a Tensor
    text, parts = "", ()
    if isinstance(value, Tensor):
        text = f"{tuple(value.shape)} {value.dtype} {_sample(value).float().cpu().tolist()}"
    elif value is None or isinstance(value, bool | int | float | str):
        text = repr(value)
    elif isinstance(value, dict):
        parts = [(str(name), value[name]) for name in sorted(value, key=str)]
    elif isinstance(value, list | tuple):
        parts = value
    elif isinstance(weights := getattr(value, "weights", None), list | tuple):  # a LoRA's adapter
        parts = [weights]
    elif callable(value) and hasattr(value, "__qualname__"):  # a hook of a node, with the settings in its closure
        text = value.__qualname__
        parts = [cell.cell_contents for cell in getattr(value, "__closure__", None) or () if cell != CellType()]
    digest.update(f"{kind.__name__}({text}".encode())
    for part in parts if depth <= DEEPEST else ():
        _feed(digest, part, depth + 1)
    digest.update(b")")
