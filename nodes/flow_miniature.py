"""The shipped flow miniature, a model of SD3's kind, and its few-step twin as ComfyUI's MODEL, CLIP and VAE."""

from functools import partial
from pathlib import Path
from typing import Any

import comfy.latent_formats
import comfy.model_patcher
import comfy.sd
import comfy.sd1_clip
import comfy.supported_models_base
import torch
from torch import Tensor

from .miniature_files import existing, load_vae, read_config, read_tensors, text_encoder, tokenizer

ENCODERS = {"clip_l": "text_encoder", "clip_g": "text_encoder_2"}  # by the names of SD3's, which LoRA files use


class FlowMiniature(comfy.latent_formats.SD3):
    """A separate latent format, so that preferences for SD3 do not fit the flow miniature, nor the reverse."""

    def __init__(self):
        super().__init__()
        self.scale_factor = 1.53
        self.shift_factor = 0.06
        self.taesd_decoder_name = None
        # Least squares over 120 drawn pictures; skin lightness in these colours correlates with the true one by 0.99.
        self.latent_rgb_factors = [
            [-0.048, -0.031, -0.027], [-0.008, -0.006, 0.005], [-0.020, 0.000, 0.005], [0.072, 0.030, 0.021],
            [0.025, -0.013, -0.051], [-0.024, -0.025, -0.026], [-0.032, -0.013, 0.033], [0.015, 0.007, 0.011],
            [0.043, 0.010, -0.067], [0.008, 0.010, 0.019], [-0.016, 0.046, 0.134], [0.037, 0.045, 0.012],
            [0.145, 0.119, 0.049], [0.027, 0.027, 0.021], [-0.093, 0.018, 0.167], [0.097, 0.068, 0.017],
        ]  # fmt: skip
        self.latent_rgb_factors_bias = [0.125, 0.037, -0.065]


class TextEncoders(torch.nn.Module):
    """Two CLIP text encoders, whose token vectors and pooled vectors are side by side: SD3's without T5."""

    def __init__(self, encoder, device="cpu", dtype=None, model_options: Any = None):
        super().__init__()
        for name in ENCODERS:
            options = {**(model_options or {}), "model_name": name}
            setattr(self, name, encoder(device=device, dtype=dtype, model_options=options))
        self.dtypes = {dtype}

    @property
    def encoders(self) -> list[Any]:
        return list(self.children())

    def set_clip_options(self, options):
        for encoder in self.encoders:
            encoder.set_clip_options(options)

    def reset_clip_options(self):
        for encoder in self.encoders:
            encoder.reset_clip_options()

    def encode_token_weights(self, token_weight_pairs) -> tuple[Tensor, Tensor]:
        """Tokens of one prompt -> token vectors [1, T, W] and pooled vector [1, P]."""
        encoded = [encoder.encode_token_weights(token_weight_pairs["l"]) for encoder in self.encoders]
        tokens, pooled = zip(*encoded, strict=True)
        return torch.cat(tokens, dim=-1), torch.cat(pooled, dim=-1)

    def load_sd(self, state: dict[str, dict[str, Tensor]]) -> None:
        for name, tensors in state.items():
            getattr(self, name).load_sd(tensors)


def load_model(folder: Path, **options: Any) -> comfy.model_patcher.ModelPatcher:
    """transformer/ -> ModelPatcher; `options` are those of ComfyUI's loader."""
    path = existing(folder / "transformer/diffusion_pytorch_model.safetensors")
    model = comfy.sd.load_diffusion_model(str(path), {"dtype": torch.float32}, **options)
    model.model.latent_format = FlowMiniature()
    model.cached_patcher_init = (load_model, (folder,))
    return model


def load_clip(folder: Path) -> comfy.sd.CLIP:
    """text_encoder/, text_encoder_2/ and tokenizer/, which is that of both -> CLIP."""
    config = read_config(folder / "text_encoder/config.json")
    penultimate = config["num_hidden_layers"] - 2
    encoder = text_encoder(config, layer="hidden", layer_idx=penultimate, layer_norm_hidden_state=False)
    target = comfy.supported_models_base.ClipTarget(
        tokenizer(folder / "tokenizer", config), partial(TextEncoders, encoder)
    )
    clip = comfy.sd.CLIP(target, model_options={"dtype": torch.float32})
    clip.load_sd({name: read_tensors(folder / part / "model.safetensors") for name, part in ENCODERS.items()})
    return clip


def load_flow_miniature(folder: Path) -> tuple[comfy.model_patcher.ModelPatcher, comfy.sd.CLIP, comfy.sd.VAE]:
    """-> (MODEL, CLIP, VAE). Raises FileNotFoundError if a file is missing."""
    return load_model(folder), load_clip(folder), load_vae(folder)
