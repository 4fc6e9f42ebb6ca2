"""Tiny checkpoints with random weights, as folders in diffusers' format and as one file in the original layout."""

import re

import diffusers
import numpy as np
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from corrector.miniature.model import WEIGHTS, load_tokenizer

BETAS = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
KINDS = ("sd15", "sd2", "sdxl")
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
MASK = Image.fromarray(np.uint8(255 * (np.arange(64) < 32))[:, None].repeat(64, axis=1))  # the upper half


def text_encoder(width, kind=CLIPTextModel, layers=3):
    tokenizer = load_tokenizer(WEIGHTS / "tokenizer")
    ids = dict(bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=0)
    sizes = dict(
        hidden_size=width, projection_dim=20, intermediate_size=32, num_hidden_layers=layers, num_attention_heads=2
    )
    return kind(CLIPTextConfig(vocab_size=len(tokenizer), **ids, **sizes))


def unet(width, **more):
    return UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, attention_head_dim=2,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=width, **more,
    )  # fmt: skip


def autoencoder(**more):
    blocks = dict(down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4)
    return AutoencoderKL(block_out_channels=(4, 4, 4, 4), norm_num_groups=2, latent_channels=4, **blocks, **more)


def pipeline(kind, seed=0):
    """A pipeline of a kind of KINDS."""
    parts = dict(tokenizer=load_tokenizer(WEIGHTS / "tokenizer"), feature_extractor=None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if kind == "sd15":
            parts |= dict(unet=unet(16), text_encoder=text_encoder(16), vae=autoencoder())
            parts["scheduler"] = diffusers.PNDMScheduler(**BETAS, skip_prk_steps=True, steps_offset=1)
        elif kind == "sd2":
            parts |= dict(unet=unet(24, use_linear_projection=True), text_encoder=text_encoder(24))
            parts["vae"] = AutoencoderTiny(encoder_block_out_channels=(4,) * 4, decoder_block_out_channels=(4,) * 4)
            parts["scheduler"] = diffusers.DDIMScheduler(
                **BETAS, prediction_type="v_prediction", clip_sample=False, steps_offset=1
            )
        else:
            added = dict(addition_embed_type="text_time", addition_time_embed_dim=4)
            parts |= dict(unet=unet(40, projection_class_embeddings_input_dim=6 * 4 + 20, **added))
            parts |= dict(text_encoder=text_encoder(16), vae=autoencoder(scaling_factor=0.13025, shift_factor=0.05))
            parts |= dict(text_encoder_2=text_encoder(24, CLIPTextModelWithProjection, layers=10))
            parts |= dict(tokenizer_2=load_tokenizer(WEIGHTS / "tokenizer"))
            parts["scheduler"] = diffusers.EulerDiscreteScheduler(**BETAS, timestep_spacing="leading", steps_offset=1)
            return diffusers.StableDiffusionXLPipeline(**parts, add_watermarker=False)
    return diffusers.StableDiffusionPipeline(**parts, safety_checker=None, requires_safety_checker=False)


def build(kind, folder, seed=0, **save):
    """A checkpoint of a kind of KINDS in `folder` -> folder. `save`: options of save_pretrained."""
    pipeline(kind, seed).save_pretrained(folder, **save)
    return folder


UNET_NAMES = [  # of diffusers -> of the original code, one ResNet and at most one attention a layer
    (r"down_blocks.(\d).resnets.0.", lambda m: f"input_blocks.{2 * int(m[1]) + 1}.0."),
    (r"down_blocks.(\d).attentions.0.", lambda m: f"input_blocks.{2 * int(m[1]) + 1}.1."),
    (r"down_blocks.(\d).downsamplers.0.conv.", lambda m: f"input_blocks.{2 * int(m[1]) + 2}.0.op."),
    (r"up_blocks.(\d).resnets.(\d).", lambda m: f"output_blocks.{2 * int(m[1]) + int(m[2])}.0."),
    (r"up_blocks.(\d).attentions.(\d).", lambda m: f"output_blocks.{2 * int(m[1]) + int(m[2])}.1."),
    (r"up_blocks.(\d).upsamplers.0.conv.", lambda m: f"output_blocks.{2 * int(m[1]) + 1}.1.conv."),
    (r"mid_block.resnets.(\d).", lambda m: f"middle_block.{2 * int(m[1])}."),
    (r"mid_block.attentions.0.", "middle_block.1."),
    (r"time_embedding.linear_1", "time_embed.0"), (r"time_embedding.linear_2", "time_embed.2"),
    (r"add_embedding.linear_1", "label_emb.0.0"), (r"add_embedding.linear_2", "label_emb.0.2"),
    (r"^conv_in", "input_blocks.0.0"), (r"^conv_norm_out", "out.0"), (r"^conv_out", "out.2"),
    (r"\.norm1(?=\.\w+$)(?<!blocks.0.norm1)", ".in_layers.0"), (r"\.conv1\.", ".in_layers.2."),
    (r"\.time_emb_proj\.", ".emb_layers.1."), (r"\.norm2(?=\.\w+$)(?<!blocks.0.norm2)", ".out_layers.0"),
    (r"\.conv2\.", ".out_layers.3."), (r"\.conv_shortcut\.", ".skip_connection."),
]  # fmt: skip
VAE_NAMES = [
    (r"down_blocks.(\d).resnets.", r"down.\1.block."), (r"down_blocks.(\d).downsamplers.0.", r"down.\1.downsample."),
    (r"up_blocks.(\d).resnets.", lambda m: f"up.{3 - int(m[1])}.block."),
    (r"up_blocks.(\d).upsamplers.0.", lambda m: f"up.{3 - int(m[1])}.upsample."),
    (r"mid_block.resnets.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}"),
    (r"mid_block.attentions.0.", "mid.attn_1."), (r"to_out.0", "proj_out"), (r"to_([qkv])", r"\1"),
    (r"group_norm", "norm"), (r"conv_norm_out", "norm_out"), (r"conv_shortcut", "nin_shortcut"),
]  # fmt: skip


OPEN_CLIP_NAMES = [
    (r"text_model.encoder.layers", "transformer.resblocks"), (r"layer_norm(\d)", r"ln_\1"), (r"self_attn", "attn"),
    (r"fc1", "c_fc"), (r"fc2", "c_proj"), (r"text_model.final_layer_norm", "ln_final"),
    (r"text_model.embeddings.token_embedding", "token_embedding"), (r"text_projection.weight", "text_projection"),
    (r"text_model.embeddings.position_embedding.weight", "positional_embedding"),
]  # fmt: skip


def to_original_layout(folder, path):
    """Write the networks of an "sd15" or "sdxl" folder as one file in the layout of the original code -> path."""
    found, sdxl = {}, (folder / "text_encoder_2").exists()
    for part, prefix, names in (
        ("unet", "model.diffusion_model.", UNET_NAMES), ("vae", "first_stage_model.", VAE_NAMES),
    ):  # fmt: skip
        for name, tensor in load_file(folder / part / "diffusion_pytorch_model.safetensors").items():
            for pattern, original in names:
                name = re.sub(pattern, original, name)
            found[prefix + name] = tensor[..., None, None] if "attn_1." in name and tensor.ndim == 2 else tensor
    prefix = "conditioner.embedders.0.transformer.text_model." if sdxl else "cond_stage_model.transformer.text_model."
    for name, tensor in load_file(folder / "text_encoder" / "model.safetensors").items():
        found[prefix + name.removeprefix("text_model.")] = tensor
    if sdxl:
        texts, prefix = load_file(folder / "text_encoder_2" / "model.safetensors"), "conditioner.embedders.1.model."
        for name in [name for name in texts if ".q_proj." in name]:
            joined = torch.cat([texts.pop(name.replace(".q_proj.", f".{part}_proj.")) for part in "qkv"])
            texts[name.replace(".q_proj.", ".in_proj_")] = joined
        for name, tensor in texts.items():
            for pattern, original in OPEN_CLIP_NAMES:
                name = re.sub(pattern, original, name)
            found[prefix + name] = tensor.T if name == "text_projection" else tensor
    save_file({name: tensor.contiguous() for name, tensor in found.items()}, path)
    return path
