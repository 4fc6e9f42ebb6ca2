"""What a MODEL, CLIP or VAE is: a short hash of its weights and of all that is patched onto it, the same at each start.

Cheap enough for a checkpoint of any size: of each tensor only its shape and a fixed few of its numbers count.
"""

import hashlib

import torch

NUMBERS = 16  # of each tensor, evenly spread
DEEPEST = 12  # of containers inside each other


def identity_of(patcher, *more):
    """A ModelPatcher, and `more` that its results depend on -> 16 hex digits.

    Weights count as they are without patches, whether or not the host has patched them in place for a run just now.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(own_weights(patcher).items()):
        _feed(digest, (name, tensor))
    _feed(digest, [patcher.patches, patcher.model_options, patcher.object_patches, more])
    return digest.hexdigest()[:16]


def own_weights(patcher):
    """{name: tensor} of a ModelPatcher's model, without patches."""
    weights = dict(patcher.model.state_dict())
    weights |= {name: kept[0] for name, kept in patcher.hook_backup.items()}
    weights |= {name: kept.weight for name, kept in patcher.backup.items()}
    # An object patch may replace the noise schedule, and then is in its place only while a run lasts.
    weights = {name: tensor for name, tensor in weights.items() if not name.startswith("model_sampling.")}
    if hasattr(patcher.model, "model_sampling"):
        schedule = patcher.get_model_object("model_sampling")
        weights |= {f"schedule.{name}": tensor for name, tensor in schedule.state_dict().items()}
        weights["schedule"] = " ".join(kind.__name__ for kind in type(schedule).__mro__)  # eps, v or flow
    return weights


def _feed(digest, value, depth=0):
    """A value into the digest: numbers, texts, tensors, containers, LoRAs; of other objects only what they are."""
    kind = torch.Tensor if isinstance(value, torch.Tensor) else type(value)  # a Parameter is one of them
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
    elif callable(value) and hasattr(value, "__qualname__"):  # a node's hook, and the settings that it closes over
        digest.update(value.__qualname__.encode())
        for cell in getattr(value, "__closure__", None) or ():
            try:
                _feed(digest, cell.cell_contents, depth + 1)
            except ValueError:  # a cell that is still empty
                continue
    digest.update(b")")
