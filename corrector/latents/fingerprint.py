"""A fingerprint of weights that is nearly the same in each precision: is this the checkpoint that was measured?

Of each tensor a few values count, divided by their size, and the logarithm of that size. Of all these numbers a few
random projections are kept: the distance of two fingerprints is about the relative difference of the weights (Johnson
and Lindenstrauss 1984). Rounding to bfloat16 gives 0.002, and weights that are 1 % larger 0.01.
"""

import hashlib
from collections.abc import Mapping

import numpy as np
import torch

VALUES = 16  # of each tensor, evenly spaced
NUMBERS = 16  # of a fingerprint
STRUCTURE = 8  # hex digits that stand for names and shapes
ALIKE = 0.004  # distance up to which weights are the same in another precision
SMALLEST = 1e-4  # size of values below which half precision says little of them
STEP = 2**-12  # to which the numbers are rounded
DIGITS = 4  # hex digits of a number


def fingerprint(weights: Mapping[str, torch.Tensor]) -> str:
    """Weights by name, on any device, in any precision -> hex digits for `same_weights`; "" if some are offloaded."""
    if any(tensor.is_meta for tensor in weights.values()):
        return ""
    structure, samples = hashlib.sha256(), []
    for name, tensor in sorted(weights.items()):
        flat = tensor.detach().reshape(-1)
        values = flat[:: max(1, len(flat) // VALUES)][:VALUES]
        structure.update(f"{name} {tuple(tensor.shape)}".encode())
        if tensor.is_floating_point():
            samples.append(values.double().cpu().numpy())
        else:
            structure.update(str(values.tolist()).encode())
    numbers = np.concatenate([_numbers(values) for values in samples] or [np.zeros(1)])
    random = np.random.RandomState(0)  # whose numbers NumPy promises never to change
    projections = np.array([numbers @ random.standard_normal(len(numbers)) for _ in range(NUMBERS)])
    most = 16**DIGITS // 2
    rounded = np.round(projections / (len(numbers) ** 0.5 * STEP)).clip(-most, most - 1).astype(int)
    return structure.hexdigest()[:STRUCTURE] + "".join(f"{value + most:0{DIGITS}x}" for value in rounded)


def _numbers(values):
    """Values of a tensor -> those divided by their size, and the logarithm of their size, which counts like all."""
    size = np.sqrt(np.square(values).mean()) if len(values) else 0.0
    return np.append(values / (size + SMALLEST), len(values) ** 0.5 * (np.log(size + SMALLEST) + 4))


def same_weights(first: str, second: str) -> bool:
    """Whether two fingerprints are of the same weights, in any precision."""
    if first == second:
        return True
    if first[:STRUCTURE] != second[:STRUCTURE] or len(first) != len(second):
        return False
    distance = np.subtract(*(_decoded(digits[STRUCTURE:]) for digits in (first, second)))
    return float(np.sqrt(np.square(distance).mean())) <= ALIKE


def _decoded(digits):
    return np.array([int(digits[place : place + DIGITS], 16) for place in range(0, len(digits), DIGITS)]) * STEP
