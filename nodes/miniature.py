"""The shipped miniature model as ComfyUI's MODEL, CLIP and VAE, to try all nodes without a download.

Reads the folder `weights/miniature` in diffusers' format without diffusers, which ComfyUI does not require.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import comfy.clip_model
import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.sd1_clip
import comfy.supported_models_base
import comfy.utils
import torch
from comfy_api.latest import io
from torch import Tensor

from ..corrector.files.folders import WEIGHTS
from .search import CORRECT, found_by

MINIATURE = WEIGHTS / "miniature"
WARNED_LENGTH = 8192  # tokens, as ComfyUI's own: of a shorter limit transformers warns, though the host makes chunks


class Miniature(comfy.latent_formats.LatentFormat):
    """A separate latent format, so that preferences for SD1.5 do not fit the miniature, nor the reverse."""

    def __init__(self, scale_factor=1.0):
        self.scale_factor = scale_factor
        # Least squares over 60 drawn pictures; skin lightness in these colours correlates with the true one by 0.94.
        self.latent_rgb_factors = [
            [-0.191, -0.001, 0.237], [0.124, 0.118, 0.107], [-0.047, -0.125, -0.198], [0.020, 0.028, 0.027]
        ]  # fmt: skip
        self.latent_rgb_factors_bias = [0.081, -0.021, -0.153]


class Config(comfy.supported_models_base.BASE):
    """The fields that comfy.model_base.BaseModel reads, as for SD1.5."""

    unet_extra_config: ClassVar = {}
    latent_format: Any = Miniature
    memory_usage_factor = 1.0


class Multiple(float):
    """A channel multiplier that need not be whole, such as 1.5; its product with the base width is."""

    def __mul__(self, width: float, /) -> int:
        return round(float(self) * width)

    def __rmul__(self, width: float, /) -> int:
        return self * width


def unet_config(config: dict[str, Any]) -> dict[str, Any]:
    """diffusers' config.json of a UNet2DConditionModel -> the arguments of ComfyUI's UNetModel."""
    widths, layers = config["block_out_channels"], config["layers_per_block"]
    attention = [int(block.startswith("CrossAttn")) for block in config["down_block_types"]]
    return {
        "image_size": config["sample_size"],
        "in_channels": config["in_channels"],
        "out_channels": config["out_channels"],
        "model_channels": widths[0],
        "channel_mult": [Multiple(width / widths[0]) for width in widths],
        "num_res_blocks": [layers] * len(widths),
        "transformer_depth": [depth for depth in attention for _ in range(layers)],
        "transformer_depth_output": [depth for depth in attention for _ in range(layers + 1)],
        "transformer_depth_middle": 1,
        "context_dim": config["cross_attention_dim"],
        "num_heads": config["attention_head_dim"],  # despite its name in diffusers, the number of heads
        "use_spatial_transformer": True,
        "use_linear_in_transformer": False,
        "legacy": False,
        "adm_in_channels": None,
        "dtype": torch.float32,
    }


def load_model() -> comfy.model_patcher.ModelPatcher:
    """unet/ -> ModelPatcher."""
    config = Config(unet_config(_json("unet/config.json")))
    config.latent_format = Miniature(_json("vae/config.json")["scaling_factor"])
    names = comfy.utils.unet_to_diffusers(config.unet_config)
    offload_device = comfy.model_management.unet_offload_device()
    model = comfy.model_base.BaseModel(config, device=offload_device)
    state = _tensors("unet/diffusion_pytorch_model.safetensors")
    # `names` also has parts that this UNet lacks, such as a downsampler of the last level.
    model.diffusion_model.load_state_dict({names[name]: tensor for name, tensor in state.items()})
    return comfy.model_patcher.ModelPatcher(model, comfy.model_management.get_torch_device(), offload_device)


class TextModel(comfy.clip_model.CLIPTextModel):
    """CLIP's text model with the vocabulary of its configuration; ComfyUI's always has 49,408 tokens."""

    def __init__(self, config_dict, dtype, device, operations):
        super().__init__(config_dict, dtype, device, operations)
        vocabulary, width = config_dict["vocab_size"], config_dict["hidden_size"]
        self.set_input_embeddings(operations.Embedding(vocabulary, width, dtype=dtype, device=device))


def load_clip() -> comfy.sd.CLIP:
    """text_encoder/ and tokenizer/ -> CLIP; LoRA and clip-skip work as usual."""
    config = _json("text_encoder/config.json")
    special = {"start": config["bos_token_id"], "end": config["eos_token_id"], "pad": config["eos_token_id"]}
    encoder = partial(
        comfy.sd1_clip.SDClipModel, textmodel_json_config=config, model_class=TextModel, special_tokens=special,
        return_projected_pooled=False,
    )  # fmt: skip
    tokenizer = partial(
        comfy.sd1_clip.SDTokenizer, tokenizer_path=str(MINIATURE / "tokenizer"), embedding_size=config["hidden_size"],
        max_length=config["max_position_embeddings"], tokenizer_args={"model_max_length": WARNED_LENGTH},
    )  # fmt: skip
    target = comfy.supported_models_base.ClipTarget(
        partial(comfy.sd1_clip.SD1Tokenizer, tokenizer=tokenizer),
        partial(comfy.sd1_clip.SD1ClipModel, clip_model=encoder),
    )
    clip = comfy.sd.CLIP(target, model_options={"dtype": torch.float32})
    state = _tensors("text_encoder/model.safetensors")
    state = {name if name.startswith("text_model.") else f"text_model.{name}": value for name, value in state.items()}
    state["text_projection.weight"] = torch.eye(config["hidden_size"])  # of the pooled output, which is not used
    clip.load_sd(state)
    return clip


def load_vae() -> comfy.sd.VAE:
    """vae/ (AutoencoderTiny) -> VAE in TAESD's layout, whose decoder has one more layer at its start, a clamp."""
    state = {"vae_scale": torch.tensor(1.0), "vae_shift": torch.tensor(0.0)}
    for name, tensor in _tensors("vae/diffusion_pytorch_model.safetensors").items():
        part, _, layer, weight = name.split(".", 3)  # encoder.layers.0.weight
        state[f"taesd_{part}.{int(layer) + (part == 'decoder')}.{weight}"] = tensor
    return comfy.sd.VAE(sd=state, dtype=torch.float32)


def load_miniature() -> tuple[comfy.model_patcher.ModelPatcher, comfy.sd.CLIP, comfy.sd.VAE]:
    """-> (MODEL, CLIP, VAE). Raises FileNotFoundError if a file is missing."""
    return load_model(), load_clip(), load_vae()


def _json(name: str) -> dict[str, Any]:
    return json.loads(_existing(name).read_text(encoding="utf-8"))


def _tensors(name: str) -> dict[str, Tensor]:
    tensors = comfy.utils.load_torch_file(str(_existing(name)), safe_load=True)
    return {name: tensor.float() for name, tensor in tensors.items()}


def _existing(name: str) -> Path:
    path = MINIATURE / name
    if not path.is_file():
        raise FileNotFoundError(f"The miniature's file {path} is missing; restore it from the repository.")
    return path


class RSCorrectorMiniature(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RSCorrectorMiniature",
            display_name="RS-Corrector Miniature",
            category=CORRECT,
            **found_by("demo model", "tiny model", "test model", "stereotype"),
            description="A small model with planted stereotypes, to try all nodes without a download. It draws "
            "128 x 128 portraits of four invented peoples: Orvane, Tavelu, Quilmari, Zendoli.",
            outputs=[
                io.Model.Output(tooltip="The miniature's UNet. Preferences named miniature-* fit it."),
                io.Clip.Output(tooltip="The miniature's text encoder, which knows few words."),
                io.Vae.Output(tooltip="The miniature's VAE, for pictures of 128 x 128 pixels."),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(*load_miniature())
