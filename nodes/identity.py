"""A short hash that identifies a MODEL, CLIP or VAE: its weights and everything patched onto it; stable over restarts.

Fast for checkpoints of any size: it covers the shape of each tensor and a few of its values.
"""

import hashlib

import torch

NUMBERS = 16  # values per tensor, evenly spaced
DEEPEST = 12  # nesting depth of containers


def identity_of(patcher, *more):
    """A ModelPatcher, and `more` values that its results depend on -> 16 hex digits.

    Hashes the unpatched weights, whether or not the host has currently patched them in place.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(own_weights(patcher).items()):
        _feed(digest, (name, tensor))
    _feed(digest, [patcher.patches, patcher.model_options, patcher.object_patches, more])
    return digest.hexdigest()[:16]


def own_weights(patcher):
    """{name: tensor} of a ModelPatcher's model without patches."""
    weights = dict(patcher.model.state_dict())
    weights |= {name: kept[0] for name, kept in patcher.hook_backup.items()}
    weights |= {name: kept.weight for name, kept in patcher.backup.items()}
    # An object patch may replace the noise schedule, but only while a run lasts.
    weights = {name: tensor for name, tensor in weights.items() if not name.startswith("model_sampling.")}
    if hasattr(patcher.model, "model_sampling"):
        schedule = patcher.get_model_object("model_sampling")
        weights |= {f"schedule.{name}": tensor for name, tensor in schedule.state_dict().items()}
        weights["schedule"] = " ".join(kind.__name__ for kind in type(schedule).__mro__)  # eps, v or flow
    return weights


def _feed(digest, value, depth=0):
    """Add a value to the digest: numbers, texts, tensors, containers, LoRAs; of other objects only their type."""
    kind = torch.Tensor if isinstance(value, torch.Tensor) else type(value)  # a Parameter hashes like a Tensor
    digest.update(f"{kind.__name__}(".encode())
    if kind is torch.Tensor:
        flat = value.detach().reshape(-1)
        some = flat[:: max(1, len(flat) // NUMBERS)][:NUMBERS]
        digest.update(f"{tuple(value.shape)} {value.dtype} {some.float().cpu().tolist()}".encode())
    elif value is None or isinstance(value, bool | int | float | str):
        digest.update(repr(value).encode())
    elif depth > DEEPEST:
        pass
    elif isinstance(value, dict):
        for name in sorted(value, key=str):
            _feed(digest, (str(name), value[name]), depth + 1)
    elif isinstance(value, list | tuple):
        for item in value:
            _feed(digest, item, depth + 1)
    elif isinstance(getattr(value, "weights", None), list | tuple):  # a LoRA's adapter
        _feed(digest, value.weights, depth + 1)
    elif callable(value) and hasattr(value, "__qualname__"):  # a hook of a node, with the settings in its closure
        digest.update(value.__qualname__.encode())
        for cell in getattr(value, "__closure__", None) or ():
            try:
                _feed(digest, cell.cell_contents, depth + 1)
            except ValueError:  # an empty cell
                continue
    digest.update(b")")
