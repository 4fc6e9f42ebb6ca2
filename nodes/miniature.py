"""The shipped miniature as ComfyUI's MODEL, CLIP and VAE, and the node that loads it or the flow miniature."""

from functools import partial
from typing import Any, ClassVar

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

from ..corrector.files.folders import WEIGHTS
from .flow_miniature import load_flow_miniature
from .miniature_files import load_vae, read_config, read_tensors, text_encoder, tokenizer
from .search import CORRECT, found_by

MINIATURE = WEIGHTS / "miniature"


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
    config = Config(unet_config(read_config(MINIATURE / "unet/config.json")))
    config.latent_format = Miniature(read_config(MINIATURE / "vae/config.json")["scaling_factor"])
    names = comfy.utils.unet_to_diffusers(config.unet_config)
    offload_device = comfy.model_management.unet_offload_device()
    model = comfy.model_base.BaseModel(config, device=offload_device)
    state = read_tensors(MINIATURE / "unet/diffusion_pytorch_model.safetensors")
    # `names` also has parts that this UNet lacks, such as a downsampler of the last level.
    model.diffusion_model.load_state_dict({names[name]: tensor for name, tensor in state.items()})
    return comfy.model_patcher.ModelPatcher(model, comfy.model_management.get_torch_device(), offload_device)


def load_clip() -> comfy.sd.CLIP:
    """text_encoder/ and tokenizer/ -> CLIP; LoRA and clip-skip work as usual."""
    config = read_config(MINIATURE / "text_encoder/config.json")
    encoder = text_encoder(config, return_projected_pooled=False)
    target = comfy.supported_models_base.ClipTarget(
        tokenizer(MINIATURE / "tokenizer", config), partial(comfy.sd1_clip.SD1ClipModel, clip_model=encoder)
    )
    clip = comfy.sd.CLIP(target, model_options={"dtype": torch.float32})
    state = read_tensors(MINIATURE / "text_encoder/model.safetensors")
    state = {name if name.startswith("text_model.") else f"text_model.{name}": value for name, value in state.items()}
    state["text_projection.weight"] = torch.eye(config["hidden_size"])  # of the pooled output, which is not used
    clip.load_sd(state)
    return clip


def load_miniature() -> tuple[comfy.model_patcher.ModelPatcher, comfy.sd.CLIP, comfy.sd.VAE]:
    """-> (MODEL, CLIP, VAE). Raises FileNotFoundError if a file is missing."""
    return load_model(), load_clip(), load_vae(MINIATURE)


MODELS = {
    "miniature": load_miniature,
    "flow miniature": partial(load_flow_miniature, WEIGHTS / "flow-miniature"),
    "flow miniature turbo": partial(load_flow_miniature, WEIGHTS / "flow-miniature-turbo"),
}


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
            inputs=[
                io.Combo.Input(
                    "model",
                    options=list(MODELS),
                    default="miniature",
                    optional=True,
                    tooltip="miniature is of SD1.5's kind: CFG 2, 16 steps, scheduler karras. flow miniature is of "
                    "SD3's kind: CFG 2, 16 steps, scheduler normal; its turbo draws in 4 steps at CFG 1.",
                ),
            ],
            outputs=[
                io.Model.Output(
                    tooltip="The model. Preferences named miniature-* fit the miniature, not the flow miniature."
                ),
                io.Clip.Output(tooltip="The miniature's text encoder, which knows few words."),
                io.Vae.Output(tooltip="The miniature's VAE, for pictures of 128 x 128 pixels."),
            ],
        )

    @classmethod
    def execute(cls, model: str = "miniature") -> io.NodeOutput:
        return io.NodeOutput(*MODELS[model]())
