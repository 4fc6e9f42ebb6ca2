"""The shipped miniature as MODEL, CLIP and VAE of ComfyUI's own classes: the whole pack works with no download.

Reads the diffusers-format folder `weights/miniature`. diffusers is not among ComfyUI's requirements and is not used.
"""

import json
from functools import partial
from pathlib import Path
from typing import ClassVar

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

WEIGHTS = Path(__file__).resolve().parents[1] / "weights" / "miniature"


class Miniature(comfy.latent_formats.LatentFormat):
    """A latent format of its own: a preference for SD1.5 must not pass for one for the miniature, nor the reverse."""

    def __init__(self, scale_factor=1.0):
        self.scale_factor = scale_factor
        # Least squares over 60 drawn pictures; skin lightness read from these colours correlates by 0.94 with the true.
        self.latent_rgb_factors = [
            [-0.191, -0.001, 0.237], [0.124, 0.118, 0.107], [-0.047, -0.125, -0.198], [0.020, 0.028, 0.027]
        ]  # fmt: skip
        self.latent_rgb_factors_bias = [0.081, -0.021, -0.153]


class Config(comfy.supported_models_base.BASE):
    """What comfy.model_base.BaseModel asks of a model; the fields of SD1.5."""

    unet_extra_config: ClassVar = {}
    latent_format = Miniature
    memory_usage_factor = 1.0


class Multiple(float):
    """A channel multiplier such as 1.5, whose product with the base width is a whole number of channels."""

    def __mul__(self, width):
        return round(float(self) * width)

    __rmul__ = __mul__


def unet_config(config, dtype):
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
        "num_heads": config["attention_head_dim"],  # diffusers' name; it is the number of heads, as in SD1.5
        "use_spatial_transformer": True,
        "use_linear_in_transformer": False,
        "legacy": False,
        "adm_in_channels": None,
        "dtype": dtype,
    }


def load_model(folder, latent_scale, dtype=torch.float32):
    """unet/ -> ModelPatcher."""
    config = Config(unet_config(_json(folder / "unet/config.json"), dtype))
    config.latent_format = Miniature(latent_scale)
    state = _tensors(folder / "unet/diffusion_pytorch_model.safetensors")
    names = comfy.utils.unet_to_diffusers(config.unet_config)
    offload_device = comfy.model_management.unet_offload_device()
    model = comfy.model_base.BaseModel(config, device=offload_device)
    # The names also list a downsampler of the last level and other parts that this UNet lacks.
    model.diffusion_model.load_state_dict({names[name]: tensor.to(dtype) for name, tensor in state.items()})
    return comfy.model_patcher.ModelPatcher(model, comfy.model_management.get_torch_device(), offload_device)


class TextModel(comfy.clip_model.CLIPTextModel):
    """CLIP's text model with the vocabulary that its configuration says; ComfyUI's is always 49,408 tokens."""

    def __init__(self, config_dict, dtype, device, operations):
        super().__init__(config_dict, dtype, device, operations)
        vocabulary, width = config_dict["vocab_size"], config_dict["hidden_size"]
        self.set_input_embeddings(operations.Embedding(vocabulary, width, dtype=dtype, device=device))


def load_clip(folder):
    """text_encoder/ and tokenizer/ -> CLIP, to which LoRA and clip-skip apply as to any other."""
    config = _json(folder / "text_encoder/config.json")
    special = {"start": config["bos_token_id"], "end": config["eos_token_id"], "pad": config["eos_token_id"]}
    encoder = partial(
        comfy.sd1_clip.SDClipModel,
        textmodel_json_config=config,
        model_class=TextModel,
        special_tokens=special,
        return_projected_pooled=False,
    )
    tokenizer = partial(
        comfy.sd1_clip.SDTokenizer,
        tokenizer_path=str(folder / "tokenizer"),
        embedding_size=config["hidden_size"],
        max_length=config["max_position_embeddings"],
    )
    target = comfy.supported_models_base.ClipTarget(
        partial(comfy.sd1_clip.SD1Tokenizer, tokenizer=tokenizer),
        partial(comfy.sd1_clip.SD1ClipModel, clip_model=encoder),
    )
    clip = comfy.sd.CLIP(target, model_options={"dtype": torch.float32})
    state = _tensors(folder / "text_encoder/model.safetensors")
    state = {name if name.startswith("text_model.") else f"text_model.{name}": value for name, value in state.items()}
    state["text_projection.weight"] = torch.eye(config["hidden_size"])  # the pooled output, which nothing here uses
    missing, _ = clip.load_sd(state)
    if missing:
        raise RuntimeError(f"The miniature's text encoder lacks {missing[0]}; put its files back from the repository.")
    return clip


def load_vae(folder):
    """vae/ (AutoencoderTiny) -> VAE in TAESD's layout: its decoder starts with a clamp, so layers move up by one."""
    state = {"vae_scale": torch.tensor(1.0), "vae_shift": torch.tensor(0.0)}
    for name, tensor in _tensors(folder / "vae/diffusion_pytorch_model.safetensors").items():
        part, _, layer, rest = name.split(".", 3)  # encoder.layers.0.weight
        state[f"taesd_{part}.{int(layer) + (part == 'decoder')}.{rest}"] = tensor
    return comfy.sd.VAE(sd=state, dtype=torch.float32)


def load_miniature(folder=WEIGHTS):
    """-> (MODEL, CLIP, VAE). Raises FileNotFoundError in a sentence where a file is missing."""
    scale = _json(folder / "vae/config.json")["scaling_factor"]
    return load_model(folder, scale), load_clip(folder), load_vae(folder)


def _json(path):
    _require(path)
    return json.loads(path.read_text(encoding="utf-8"))


def _tensors(path):
    _require(path)
    return {name: tensor.float() for name, tensor in comfy.utils.load_torch_file(str(path), safe_load=True).items()}


def _require(path):
    if not path.is_file():
        raise FileNotFoundError(
            f"The miniature's file {path.parent.name}/{path.name} is missing from the extension's folder "
            "weights/miniature; put it back from the repository."
        )


class RSCorrectorMiniature(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RSCorrectorMiniature",
            display_name="RS-Corrector Miniature",
            category="RS-Corrector",
            description="A small model that ships with RS-Corrector, with planted stereotypes: try everything with no "
            "download. It draws 128 x 128 portraits of four invented peoples: Orvane, Tavelu, Quilmari, Zendoli.",
            outputs=[io.Model.Output(), io.Clip.Output(), io.Vae.Output()],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(*load_miniature())
