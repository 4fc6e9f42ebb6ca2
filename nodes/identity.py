"""What identifies a MODEL, CLIP or VAE: its weights without patches, and everything patched onto it.

Stable over restarts, and fast for checkpoints of any size: of each tensor the shape and a few values count.
"""

from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP
from torch import Tensor

from ..corrector.latents.fingerprint import identity


def identity_of(patcher: ModelPatcher, *options: object) -> str:
    """The `identity` of a ModelPatcher, and of options that its results depend on.

    Of the unpatched weights, whether or not the host has currently patched them in place.
    """
    patches = patcher.patches, patcher.model_options, patcher.object_patches, schedule_of(patcher), options
    return identity(own_weights(patcher), *patches)


def identity_of_text_encoder(clip: CLIP) -> str:
    """The `identity_of` a CLIP, which also depends on its layer ("clip skip") and on how it weighs tokens."""
    return identity_of(clip.patcher, clip.layer_idx, clip.tokenizer_options)


def own_weights(patcher: ModelPatcher) -> dict[str, Tensor]:
    """{name: tensor} of a ModelPatcher's model without patches, and without its noise schedule."""
    weights = dict(patcher.model.state_dict())
    weights |= {name: backup[0] for name, backup in patcher.hook_backup.items()}
    weights |= {name: backup.weight for name, backup in patcher.backup.items()}
    return {name: tensor for name, tensor in weights.items() if not name.startswith("model_sampling.")}


def schedule_of(patcher: ModelPatcher) -> tuple[list[str], dict[str, Tensor]] | None:
    """The noise schedule of a ModelPatcher's model, which an object patch may replace only while a run lasts."""
    if not hasattr(patcher.model, "model_sampling"):
        return None
    schedule = patcher.get_model_object("model_sampling")
    return [kind.__name__ for kind in type(schedule).__mro__], schedule.state_dict()  # eps, v or flow
