"""The networks of the miniature, a small SD1.5-type checkpoint: how they are built and saved."""

import json

import numpy as np
import torch

from ..latent_space import folders
from .prompts import training_prompt
from .world import ATTIRES, BACKDROPS, GROUPS

WEIGHTS = folders.WEIGHTS / "miniature"

UNET = dict(
    sample_size=16, in_channels=4, out_channels=4, block_out_channels=(64, 96, 128), layers_per_block=1,
    down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    attention_head_dim=4, cross_attention_dim=128,
)  # fmt: skip
TEXT = dict(
    hidden_size=128, intermediate_size=384, num_hidden_layers=3, num_attention_heads=4, max_position_embeddings=77,
    hidden_act="quick_gelu", projection_dim=128,
)  # fmt: skip
VOCABULARY = 1024
START, END = "<|startoftext|>", "<|endoftext|>"


def new_unet():
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(**UNET)


def new_autoencoder():
    from diffusers import AutoencoderTiny

    return AutoencoderTiny()


def new_text_encoder(tokenizer):
    from transformers import CLIPTextConfig, CLIPTextModel

    ids = dict(bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id)
    return CLIPTextModel(CLIPTextConfig(vocab_size=len(tokenizer), pad_token_id=ids["eos_token_id"], **ids, **TEXT))


def new_tokenizer(seed, folder):
    """A CLIP tokenizer (byte-pair encoding) with a small vocabulary, trained on captions of the miniature.

    Read from `folder` if it is there already, else written to it.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    if not (folder / "vocab.json").exists():
        rng = np.random.default_rng((seed, 9))
        captions = []
        for index in range(20000):
            group = (*GROUPS, "any", None)[index % 6]
            backdrop, attire = BACKDROPS[rng.integers(2)], ATTIRES[rng.integers(2)]
            captions.append(training_prompt(rng, group, backdrop, attire, scene=backdrop))
        bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token=END))
        bpe.normalizer = normalizers.Lowercase()
        bpe.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Split(" ", "removed"), pre_tokenizers.Punctuation(), pre_tokenizers.ByteLevel(False)]
        )
        letters = pre_tokenizers.ByteLevel.alphabet()
        bpe.train_from_iterator(
            captions,
            trainers.BpeTrainer(
                vocab_size=VOCABULARY - 2,
                initial_alphabet=sorted(letters),
                end_of_word_suffix="</w>",
                show_progress=False,
            ),
        )
        model_of = json.loads(bpe.to_str())["model"]
        vocabulary = list(model_of["vocab"])
        vocabulary += [letter + "</w>" for letter in sorted(letters) if letter + "</w>" not in model_of["vocab"]]
        folder.mkdir(parents=True, exist_ok=True)
        vocabulary = {token: index for index, token in enumerate([*vocabulary, START, END])}
        (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
        merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in model_of["merges"]]
        (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")
        config = dict(bos_token=START, eos_token=END, unk_token=END, pad_token=END)
        config |= dict(tokenizer_class="CLIPTokenizer", model_max_length=77)
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    return load_tokenizer(folder)


def load_tokenizer(folder):
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(folder, local_files_only=True)


def tokenize(tokenizer, prompts):
    """Prompts -> token ids [B, 77], padded as in SD."""
    return tokenizer(list(prompts), padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids


def training_sigmas():
    """SD1.5's 1000 training sigmas (scaled-linear betas 0.00085 .. 0.012), ascending [1000]."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64).square()
    alphas = (1 - betas).cumprod(0)
    return ((1 - alphas) / alphas).sqrt().float()


def save(folder, unet, text_encoder, autoencoder, latent_scale):
    """Write a folder that StableDiffusionPipeline.from_pretrained loads, weights in fp16.

    Args:
        folder: where `new_tokenizer` has put tokenizer/.
        latent_scale: VAE space -> model space, 1 / standard deviation of the VAE's latents.
    """
    from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline

    autoencoder.register_to_config(scaling_factor=latent_scale)
    betas = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    scheduler = EulerDiscreteScheduler(**betas, use_karras_sigmas=True, steps_offset=1)
    pipe = StableDiffusionPipeline(
        autoencoder, text_encoder, load_tokenizer(folder / "tokenizer"), unet, scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.save_config(folder)
    scheduler.save_pretrained(folder / "scheduler")
    for module, name in ((unet, "unet"), (text_encoder, "text_encoder"), (autoencoder, "vae")):
        module.half().save_pretrained(folder / name)
    config = folder / "text_encoder" / "config.json"  # loaded in fp32 by default, as diffusers loads UNet and VAE
    config.write_text(config.read_text().replace('"float16"', '"float32"'))
