"""Which diffusers pipelines can be sampled or corrected, and what identifies them."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import nn

from ..correction.update import CorrectionError
from ..latents.fingerprint import identity
from ..latents.spaces import LATENT_SPACES
from ..preference.preference import Preference
from .families import FAMILIES, STABLE_DIFFUSION, denoiser_of, family_of
from .loading import READS, CheckpointError
from .schedulers import check_scheduler

if TYPE_CHECKING:
    from diffusers.models.modeling_utils import ModelMixin
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

MEMBERS = ("encode_prompt", "do_classifier_free_guidance", "guidance_scale")  # of the class, with a UNet
UNET_CLASS = "UNet2DConditionModel"
CHANNELS = ((4, 4), (9, 4))  # of the UNet, in and out


def space_of(pipe: DiffusionPipeline) -> str | None:
    """Name in LATENT_SPACES of a pipeline's latents, or None if they are of another kind.

    Read from the VAE's channels, scale and shift; VAEs with a scale of their own (TAESD) count as their UNet's.
    """
    vae, unet = pipe.vae.config, getattr(pipe, "unet", None)
    if type(pipe.vae).__name__ == "AutoencoderKLQwenImage":
        return "qwen-image"  # its latents are scaled by channel
    channels, scale, shift = (
        vae.get("latent_channels"),
        vae.get("scaling_factor") or 1.0,
        vae.get("shift_factor") or 0.0,
    )
    for space in LATENT_SPACES.values():
        pairs = (scale, space.scale), (shift, space.shift)
        if channels == space.channels and all(math.isclose(*pair, rel_tol=1e-4) for pair in pairs):
            return space.name
    if unet is None or channels != 4:
        return None
    return "sdxl" if is_sdxl(pipe) else "sd15"


def is_sdxl(pipe: DiffusionPipeline) -> bool:
    unet = getattr(pipe, "unet", None)
    return unet is not None and unet.config.get("addition_embed_type") == "text_time"


def is_sd3(pipe: DiffusionPipeline) -> bool:
    return type(getattr(pipe, "transformer", None)).__name__ == "SD3Transformer2DModel"


def name_of(pipe: DiffusionPipeline) -> str:
    return pipe.config.get("_name_or_path") or type(pipe).__name__


def identity_of(*modules: nn.Module | None) -> str:
    """The `identity` of the weights of networks, of which some may be None."""
    weights = {}
    for number, module in enumerate(filter(None, modules)):
        module = getattr(module, "_orig_mod", module)  # if it was compiled
        state = module.state_dict()
        if any(tensor.is_meta for tensor in state.values()):  # sequential CPU offload keeps them elsewhere
            from accelerate.utils.modeling import get_state_dict_offloaded_model

            state = get_state_dict_offloaded_model(module)
        weights |= {f"{number}.{name}": tensor for name, tensor in state.items()}
    return identity(weights)


def checkpoint_of(pipe: DiffusionPipeline) -> str:
    """The identity of denoiser and text encoders of a pipeline, on which the rates of its pictures depend."""
    names = ("text_encoder", "text_encoder_2", "text_encoder_3")
    return identity_of(denoiser_of(pipe), *(getattr(pipe, name, None) for name in names))


def sampled_parts(pipe: DiffusionPipeline) -> tuple[ModelMixin, ModelMixin, str]:
    """(UNet, VAE, latent space) of a pipeline from which a Checkpoint can sample. Raises CheckpointError."""
    lacks = any(getattr(pipe, name, None) is None for name in ("unet", "vae", "text_encoder", "tokenizer"))
    space = None if lacks else space_of(pipe)
    if space is None or type(getattr(pipe.unet, "_orig_mod", pipe.unet)).__name__ != UNET_CLASS:
        raise CheckpointError(f"{name_of(pipe)}: it is a {type(pipe).__name__}. {READS}.")
    config = pipe.unet.config
    odd = [key for key in ("class_embed_type", "encoder_hid_dim_type", "time_cond_proj_dim") if config.get(key)]
    odd += ["addition_embed_type"] if config.get("addition_embed_type") not in (None, "text_time") else []
    odd += [f"{key} {config[key]}" for key in ("in_channels", "out_channels") if config.get(key, 4) != 4]
    if odd:
        raise CheckpointError(
            f"{name_of(pipe)}: its UNet has {', '.join(odd)}, and a plain one of 4 channels is needed (no inpainting, "
            "editing, upscaling or LCM model); use the checkpoint that it was made from."
        )
    second = getattr(pipe, "text_encoder_2", None)
    encoders = [pipe.text_encoder] if second is None else [pipe.text_encoder, second]
    for encoder, words in zip(encoders, (pipe.tokenizer, getattr(pipe, "tokenizer_2", None)), strict=False):
        count = 0 if words is None else len(words)
        if count < encoder.config.vocab_size:  # transformers makes an empty tokenizer if its files are missing
            raise CheckpointError(
                f"{name_of(pipe)}: its tokenizer has {count} tokens and its text encoder "
                f"{encoder.config.vocab_size}; copy the tokenizer folders again."
            )
    width = sum(encoder.config.hidden_size for encoder in encoders)
    if width != config.cross_attention_dim:
        raise CheckpointError(
            f"{name_of(pipe)}: its text encoders give vectors {width} wide and its UNet takes "
            f"{config.cross_attention_dim}; they are parts of different checkpoints."
        )
    return pipe.unet, pipe.vae, space


def limit_tokenizers(pipe: DiffusionPipeline) -> None:
    """Limit the tokenizers of a pipeline to the positions of its text encoders.

    Some folders state 8192 tokens, as ComfyUI's do, or no limit at all, and diffusers pads every prompt to it.
    """
    for number in ("", "_2"):
        encoder, tokenizer = (getattr(pipe, f"{part}{number}", None) for part in ("text_encoder", "tokenizer"))
        if encoder is not None and tokenizer is not None:
            limit = encoder.config.max_position_embeddings
            tokenizer.model_max_length = min(tokenizer.model_max_length, limit)


def check_pipeline(pipe: DiffusionPipeline) -> None:
    """Raises CorrectionError if a pipeline or its scheduler is not supported."""
    if lack := _lack(pipe):
        raise CorrectionError(
            f"RS-Corrector does not support the {type(pipe).__name__}, {lack}; use a pipeline for "
            f"{STABLE_DIFFUSION.title} (text to image, img2img, inpaint or ControlNet), or one of "
            f"{', '.join(FAMILIES)}. A modular pipeline is corrected by its guider, RSCorrectorGuidance."
        )
    check_scheduler(pipe.scheduler, family_of(pipe).time is not None)


def check_preferences(pipe: DiffusionPipeline, preferences: Sequence[Preference]) -> None:
    """Raises CorrectionError or PreferenceError if there are no preferences, or one does not fit the pipeline."""
    if not preferences:
        raise CorrectionError("There are no preferences; give at least one, or the path of its file.")
    kind, config, space = type(pipe).__name__, denoiser_of(pipe).config, str(space_of(pipe))
    width = config.get("encoder_hid_dim") or config[family_of(pipe).width]
    for preference in preferences:
        preference.check_space(space, f"the {kind}")
        gate = preference.gate
        if gate is not None and gate.width != width:
            raise CorrectionError(
                f'The preference "{preference.name}" was made for a text encoder of width {gate.width} and the {kind} '
                f"has one of width {width}; use a preference made for this model."
            )


def _lack(pipe):
    """What keeps a pipeline from being corrected, as a relative clause; "" if nothing does."""
    kind, family = type(pipe), family_of(pipe)
    missing = [name for name in MEMBERS if not hasattr(kind, name)] if family is STABLE_DIFFUSION else []
    missing += [name for name in (family.denoiser, "vae", "scheduler") if getattr(pipe, name, None) is None]
    if missing:
        return f"which has no {' and no '.join(missing)}"
    if "prompt" not in inspect.signature(kind.__call__).parameters:
        return "which takes no prompt"
    if family is not STABLE_DIFFUSION:
        return ""
    unet = pipe.unet
    parts = unet.modules() if isinstance(unet, nn.Module) else ()  # it may be compiled, or wrapped otherwise
    if not any(parent.__name__ == UNET_CLASS for part in parts for parent in type(part).__mro__):
        return f"whose UNet is a {type(unet).__name__} and not a {UNET_CLASS}"
    channels = tuple(pipe.unet.config.get(name) for name in ("in_channels", "out_channels"))
    if channels not in CHANNELS:
        return f"whose UNet has {channels[0]} channels in and {channels[1]} out"
    return "" if space_of(pipe) else "whose latents are not those of Stable Diffusion"
