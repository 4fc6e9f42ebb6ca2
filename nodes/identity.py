"""What identifies a MODEL, CLIP or VAE: its weights, in any precision, and everything patched onto it.

Stable over restarts, and fast for checkpoints of any size: of each tensor the shape and a few values count.
"""

import hashlib
from types import CellType

import torch

from ..corrector.latents.fingerprint import fingerprint

NUMBERS = 16  # values per tensor, evenly spaced
DEEPEST = 12  # nesting depth of containers


def identity_of(patcher, *more):
    """A ModelPatcher, and `more` values that its results depend on -> its `fingerprint` and a hash of all but weights.

    Of the unpatched weights, whether or not the host has currently patched them in place.
    """
    digest = hashlib.sha256()
    _feed(digest, [patcher.patches, patcher.model_options, patcher.object_patches, schedule_of(patcher), more])
    return f"{fingerprint(own_weights(patcher))}-{digest.hexdigest()[:16]}"


def own_weights(patcher):
    """{name: tensor} of a ModelPatcher's model without patches, and without its noise schedule."""
    weights = dict(patcher.model.state_dict())
    weights |= {name: kept[0] for name, kept in patcher.hook_backup.items()}
    weights |= {name: kept.weight for name, kept in patcher.backup.items()}
    return {name: tensor for name, tensor in weights.items() if not name.startswith("model_sampling.")}


def schedule_of(patcher):
    """The noise schedule of a ModelPatcher's model, which an object patch may replace only while a run lasts."""
    if not hasattr(patcher.model, "model_sampling"):
        return None
    schedule = patcher.get_model_object("model_sampling")
    return [kind.__name__ for kind in type(schedule).__mro__], schedule.state_dict()  # eps, v or flow


def _feed(digest, value, depth=0):
    """Add a value to the digest: numbers, texts, tensors, containers, LoRAs; of other objects only their type."""
    kind = torch.Tensor if isinstance(value, torch.Tensor) else type(value)  # a Parameter hashes like a Tensor
    own, inner = "", ()
    if kind is torch.Tensor:
        flat = value.detach().reshape(-1)
        some = flat[:: max(1, len(flat) // NUMBERS)][:NUMBERS]
        own = f"{tuple(value.shape)} {value.dtype} {some.float().cpu().tolist()}"
    elif value is None or isinstance(value, bool | int | float | str):
        own = repr(value)
    elif isinstance(value, dict):
        inner = [(str(name), value[name]) for name in sorted(value, key=str)]
    elif isinstance(value, list | tuple):
        inner = value
    elif isinstance(getattr(value, "weights", None), list | tuple):  # a LoRA's adapter
        inner = [value.weights]
    elif callable(value) and hasattr(value, "__qualname__"):  # a hook of a node, with the settings in its closure
        own, cells = value.__qualname__, getattr(value, "__closure__", None) or ()
        inner = [cell.cell_contents for cell in cells if cell != CellType()]  # without empty cells
    digest.update(f"{kind.__name__}({own}".encode())
    for item in inner if depth <= DEEPEST else ():
        _feed(digest, item, depth + 1)
    digest.update(b")")


def vocabulary_of(clip):
    """The tokens that a CLIP's first tokenizer knows, as texts; () if it does not say."""
    known = (getattr(part, "inv_vocab", None) for part in vars(clip.tokenizer).values())
    return tuple(next(filter(None, known), {}).values())
