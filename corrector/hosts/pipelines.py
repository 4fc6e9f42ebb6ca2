"""Which diffusers pipelines can be corrected: those that sample as Stable Diffusion's do, whatever they are called."""

import inspect

from torch import nn

from ..correction.update import CorrectionError
from .checkpoint import space_of
from .schedulers import check_scheduler

MEMBERS = ("encode_prompt", "do_classifier_free_guidance", "guidance_scale")  # of the class
COMPONENTS = ("unet", "vae", "scheduler")
UNET = "UNet2DConditionModel"
CHANNELS = ((4, 4), (9, 4))  # of the UNet, in and out


def check_pipeline(pipe, preferences):
    """Raises CorrectionError or PreferenceError if the preferences or the scheduler do not fit the pipeline."""
    kind, lack = type(pipe).__name__, _lack(pipe)
    if lack:
        raise CorrectionError(
            f"RS-Corrector does not support the {kind}, {lack}; use a pipeline for Stable Diffusion 1.5, 2.x or XL "
            "(text to image, img2img, inpaint or ControlNet)."
        )
    check_scheduler(pipe.scheduler)
    if not preferences:
        raise CorrectionError("There are no preferences; give at least one, or the path of its file.")
    config, space = pipe.unet.config, space_of(pipe)
    width = config.get("encoder_hid_dim") or config["cross_attention_dim"]
    for preference in preferences:
        name, gate = f'The preference "{preference.name}"', preference.gate
        if not preference.source.has_weights:
            raise CorrectionError(f"{name} consists of prompts for ComfyUI; load a learned one from a file.")
        preference.check_space(space, f"the {kind}")
        if gate is not None and gate.width != width:
            raise CorrectionError(
                f"{name} was made for a text encoder of width {gate.width} and the {kind} has one of width {width}; "
                "use a preference made for this model."
            )


def _lack(pipe):
    """What keeps a pipeline from being corrected, as a relative clause; "" if nothing does."""
    kind = type(pipe)
    missing = [name for name in MEMBERS if not hasattr(kind, name)]
    missing += [name for name in COMPONENTS if getattr(pipe, name, None) is None]
    if missing:
        return f"which has no {' and no '.join(missing)}"
    if "prompt" not in inspect.signature(kind.__call__).parameters:
        return "which takes no prompt"
    unet = pipe.unet
    parts = unet.modules() if isinstance(unet, nn.Module) else ()  # it may be compiled, or wrapped otherwise
    if not any(parent.__name__ == UNET for part in parts for parent in type(part).__mro__):
        return f"whose UNet is a {type(unet).__name__} and not a {UNET}"
    channels = unet.config.get("in_channels"), unet.config.get("out_channels")
    if channels not in CHANNELS:
        return f"whose UNet has {channels[0]} channels in and {channels[1]} out"
    return "" if space_of(pipe) else "whose latents are not those of Stable Diffusion"
