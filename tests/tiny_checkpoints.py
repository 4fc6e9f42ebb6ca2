"""Checkpoint folders of each kind, tiny and with random weights, written as diffusers writes its own."""

import json

import diffusers
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from corrector.miniature.model import WEIGHTS, load_tokenizer

BETAS = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
KINDS = ("sd15", "sd2", "sdxl")


def text_encoder(width, kind=CLIPTextModel):
    tokenizer = load_tokenizer(WEIGHTS / "tokenizer")
    ids = dict(bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=0)
    sizes = dict(hidden_size=width, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2, projection_dim=20)
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


def build(kind, folder, seed=0, **save):
    """A checkpoint of a kind of KINDS in `folder` -> folder. `save`: options of save_pretrained."""
    parts = dict(tokenizer=load_tokenizer(WEIGHTS / "tokenizer"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if kind == "sd15":
            parts |= dict(unet=unet(16), text_encoder=text_encoder(16), vae=autoencoder())
            parts["scheduler"] = diffusers.PNDMScheduler(**BETAS, skip_prk_steps=True, steps_offset=1)
        elif kind == "sd2":
            parts |= dict(unet=unet(24, use_linear_projection=True), text_encoder=text_encoder(24))
            parts["vae"] = AutoencoderTiny(encoder_block_out_channels=(4,) * 4, decoder_block_out_channels=(4,) * 4)
            parts["scheduler"] = diffusers.DDIMScheduler(**BETAS, prediction_type="v_prediction", clip_sample=False)
        else:
            added = dict(addition_embed_type="text_time", addition_time_embed_dim=4)
            parts |= dict(unet=unet(40, projection_class_embeddings_input_dim=6 * 4 + 20, **added))
            parts |= dict(text_encoder=text_encoder(16), vae=autoencoder(scaling_factor=0.13025, shift_factor=0.05))
            parts |= dict(text_encoder_2=text_encoder(24, CLIPTextModelWithProjection))
            parts |= dict(tokenizer_2=load_tokenizer(WEIGHTS / "tokenizer"))
            parts["scheduler"] = diffusers.EulerDiscreteScheduler(**BETAS, timestep_spacing="leading", steps_offset=1)
    index = {"_class_name": "StableDiffusionXLPipeline" if kind == "sdxl" else "StableDiffusionPipeline"}
    for name, part in parts.items():
        part.save_pretrained(folder / name, **(save if hasattr(part, "parameters") else {}))
        index[name] = ["diffusers", type(part).__name__]
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder
