"""Tiny pipelines with a transformer in place of a UNet, of diffusers' and transformers' classes with random weights."""

import diffusers
import torch
from transformers import (
    CLIPTextModelWithProjection,
    Gemma2Config,
    Gemma2Model,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3Config,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
)

from corrector.correction.run import Run
from corrector.miniature.model import WEIGHTS, load_tokenizer
from tiny_checkpoints import text_encoder

NAMES = (
    "StableDiffusion3Pipeline", "FluxPipeline", "ZImagePipeline", "QwenImagePipeline", "Lumina2Pipeline",
    "SanaPipeline", "PixArtAlphaPipeline", "PixArtSigmaPipeline",
)  # fmt: skip
TRUE_CFG = ("FluxPipeline", "QwenImagePipeline")  # beside a guidance embedding
WIDTH = 16  # of token vectors
CHAT = "{% for message in messages %}a picture of {{ message['content'] }} end{% endfor %}"
LAYERS = dict(intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2)


def tokenizer():
    tokens = load_tokenizer(WEIGHTS / "tokenizer")
    tokens.chat_template = CHAT
    tokens.model_max_length = 512
    return tokens


def words(**more):
    return dict(vocab_size=len(tokenizer()), hidden_size=WIDTH, **LAYERS, **more)


def t5():
    return T5EncoderModel(
        T5Config(vocab_size=len(tokenizer()), d_model=WIDTH, d_ff=32, d_kv=8, num_heads=2, num_layers=2)
    )


def gemma():
    return Gemma2Model(Gemma2Config(**words(head_dim=8)))


def autoencoder(channels, scale, shift=None):
    blocks = dict(down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4)
    sizes = dict(block_out_channels=(4,) * 4, norm_num_groups=2, latent_channels=channels)
    return diffusers.AutoencoderKL(**sizes, **blocks, scaling_factor=scale, shift_factor=shift)


def sd3():
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=8, in_channels=16, out_channels=16, num_layers=2, attention_head_dim=8, num_attention_heads=2,
        joint_attention_dim=32, caption_projection_dim=16, pooled_projection_dim=40, pos_embed_max_size=8,
    )  # fmt: skip
    texts = {f"text_encoder{number}": text_encoder(16, CLIPTextModelWithProjection) for number in ("", "_2")}
    texts |= dict(tokenizer=load_tokenizer(WEIGHTS / "tokenizer"), tokenizer_2=load_tokenizer(WEIGHTS / "tokenizer"))
    texts |= dict(text_encoder_3=None, tokenizer_3=None)
    return dict(transformer=transformer, vae=autoencoder(16, 1.5305, 0.0609), **texts)


def flux():
    transformer = diffusers.FluxTransformer2DModel(
        in_channels=64, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=WIDTH, pooled_projection_dim=16, guidance_embeds=True, axes_dims_rope=(4, 4, 8),
    )  # fmt: skip
    clip = dict(text_encoder=text_encoder(16), tokenizer=load_tokenizer(WEIGHTS / "tokenizer"))
    return dict(
        transformer=transformer, vae=autoencoder(16, 0.3611, 0.1159), text_encoder_2=t5(), tokenizer_2=tokenizer(),
        **clip,
    )  # fmt: skip


def z_image():
    transformer = diffusers.ZImageTransformer2DModel(
        dim=32, n_layers=2, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=WIDTH, axes_dims=[8, 4, 4],
        axes_lens=[1024, 32, 32],
    )  # fmt: skip
    encoder = Qwen3Model(Qwen3Config(**words(head_dim=8)))
    return dict(
        transformer=transformer, vae=autoencoder(16, 0.3611, 0.1159), text_encoder=encoder, tokenizer=tokenizer()
    )


def qwen_image():
    transformer = diffusers.QwenImageTransformer2DModel(
        in_channels=64, out_channels=16, num_layers=2, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=WIDTH, axes_dims_rope=(8, 4, 4),
    )  # fmt: skip
    vae = diffusers.AutoencoderKLQwenImage(base_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1)
    vision = dict(depth=1, hidden_size=16, intermediate_size=16, num_heads=2, out_hidden_size=WIDTH)
    rope = dict(rope_type="default", mrope_section=[1, 1, 2], rope_theta=1e6)
    encoder = Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(text_config=words(rope_parameters=rope), vision_config=vision)
    )
    return dict(transformer=transformer, vae=vae, text_encoder=encoder, tokenizer=tokenizer())


def lumina2():
    transformer = diffusers.Lumina2Transformer2DModel(
        sample_size=8, hidden_size=32, num_layers=2, num_refiner_layers=1, num_attention_heads=2, num_kv_heads=2,
        multiple_of=16, axes_dim_rope=(8, 4, 4), axes_lens=(300, 64, 64), cap_feat_dim=WIDTH,
    )  # fmt: skip
    return dict(
        transformer=transformer, vae=autoencoder(16, 0.3611, 0.1159), text_encoder=gemma(), tokenizer=tokenizer()
    )


def sana():
    transformer = diffusers.SanaTransformer2DModel(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=8, num_layers=2,
        num_cross_attention_heads=2, cross_attention_head_dim=8, cross_attention_dim=16, caption_channels=WIDTH,
    )  # fmt: skip
    blocks = {f"{part}_block_out_channels": (8,) * 4 for part in ("encoder", "decoder")}
    blocks |= {f"{part}_layers_per_block": (1,) * 4 for part in ("encoder", "decoder")}
    blocks |= {f"{part}_qkv_multiscales": ((),) * 4 for part in ("encoder", "decoder")}
    vae = diffusers.AutoencoderDC(latent_channels=4, scaling_factor=0.41407, **blocks)
    return dict(transformer=transformer, vae=vae, text_encoder=gemma(), tokenizer=tokenizer())


def pixart(scale):
    transformer = diffusers.PixArtTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, num_layers=2, cross_attention_dim=16, sample_size=8,
        caption_channels=WIDTH, use_additional_conditions=False,
    )  # fmt: skip
    return dict(transformer=transformer, vae=autoencoder(4, scale), text_encoder=t5(), tokenizer=tokenizer())


PARTS = dict(
    zip(
        NAMES,
        (sd3, flux, z_image, qwen_image, lumina2, sana, lambda: pixart(0.18215), lambda: pixart(0.13025)),
        strict=True,
    )
)


def transformer_pipeline(name, seed=0):
    """A pipeline of a class in NAMES."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parts = PARTS[name]()
        for network in parts.values():
            if isinstance(network, torch.nn.Module):
                network.eval().requires_grad_(False)
        for weight in parts["transformer"].parameters():  # some are zeros at first, or not set
            torch.nn.init.normal_(weight, std=0.3)
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    if name.startswith("PixArt"):
        scheduler = diffusers.DPMSolverMultistepScheduler()
    pipe = getattr(diffusers, name)(scheduler=scheduler, **parts)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def settings_of(name, cfg):
    """Arguments of a call with a CFG scale."""
    call = dict(height=64, width=64, num_inference_steps=4, output_type="latent")
    if name.startswith(("Sana", "PixArt")):
        call |= dict(use_resolution_binning=False, clean_caption=False)
    if name in TRUE_CFG:
        return call | (dict(true_cfg_scale=cfg, negative_prompt="a dog in a field") if cfg > 1 else {})
    return call | dict(guidance_scale=cfg - 1 if name == "ZImagePipeline" else cfg)


def latents_of(pipe, cfg=1.0, prompt="a portrait", **call):
    settings = settings_of(type(pipe).__name__, cfg) | call
    prompt = list(prompt) if isinstance(prompt, list) else prompt  # Z-Image writes its chat template into it
    return pipe(prompt=prompt, generator=torch.Generator().manual_seed(1), **settings).images


def spied(monkeypatch, look):
    """`look(run, x, sigma, cfg, conditional, predicted)` at each step of a run."""
    change = Run.change

    def spy(run, x, sigma, cfg, conditional, predicted, *more):
        changed = change(run, x, sigma, cfg, conditional, predicted, *more)
        look(run, x, sigma, cfg, conditional, predicted)
        return changed

    monkeypatch.setattr(Run, "change", spy)
