"""The networks of the miniature, a small SD1.5-type checkpoint: how they are built and saved."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from ..files import folders
from .prompts import WORDS, training_prompt
from .world import ATTIRES, BACKDROPS, GROUPS

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer, PreTrainedModel

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
SCHEDULE: dict[str, Any] = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")  # SD1.5's
VOCABULARY = 1024
SYNONYMS: dict[str, tuple[str, ...]] = WORDS["synonyms"]  # a word of the captions: others that mean the same


def new_networks(
    tokenizer: CLIPTokenizer, unet: dict = UNET, text: dict = TEXT, vae: dict | None = None
) -> tuple[UNet2DConditionModel, CLIPTextModel, AutoencoderTiny]:
    """-> (UNet, text encoder, VAE) of some settings, with random weights."""
    from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(**token_ids(tokenizer), **text)
    return UNet2DConditionModel(**unet), CLIPTextModel(config), AutoencoderTiny(**vae or {})


def token_ids(tokenizer: CLIPTokenizer) -> dict[str, Any]:
    """What a CLIPTextConfig says of a tokenizer."""
    end = tokenizer.eos_token_id
    return dict(
        vocab_size=len(tokenizer), bos_token_id=tokenizer.bos_token_id, eos_token_id=end, pad_token_id=end
    )  # fmt: skip


def new_tokenizer(seed: int, folder: Path, length: int = 77) -> CLIPTokenizer:
    """A CLIP tokenizer (byte-pair encoding) with a small vocabulary, trained on captions of the miniature.

    `length`: most tokens of a prompt. Read from `folder` if it is there already, else written to it.
    """
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    if not (folder / "vocab.json").exists():
        rng, captions = np.random.default_rng((seed, 9)), []
        for index in range(20000):
            group = (*GROUPS, "any", None)[index % 6]
            backdrop, attire = BACKDROPS[rng.integers(2)], ATTIRES[rng.integers(2)]
            captions.append(training_prompt(rng, group, backdrop, attire, scene=backdrop))
        trained = CLIPTokenizer().train_new_from_iterator(captions, VOCABULARY, show_progress=False)
        pairs = json.loads(trained.backend_tokenizer.to_str())["model"]
        special = [trained.bos_token, trained.eos_token]  # the last ids, as in CLIP's own vocabulary
        letters = [letter + "</w>" for letter in sorted(ByteLevel.alphabet())]
        tokens = [token for token in dict.fromkeys([*pairs["vocab"], *letters]) if token not in special] + special
        ids, merges = {token: index for index, token in enumerate(tokens)}, cast(Any, list(map(tuple, pairs["merges"])))
        tokenizer = CLIPTokenizer(ids, merges, model_max_length=length)
        tokenizer.save_pretrained(folder)
        tokenizer.backend_tokenizer.model.save(str(folder))  # vocab.json and merges.txt, which ComfyUI reads
    return load_tokenizer(folder)


def load_tokenizer(folder: Path) -> CLIPTokenizer:
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(folder, local_files_only=True)


@torch.no_grad()
def add_synonyms(folder: Path, *text_encoders: PreTrainedModel) -> None:
    """Give the SYNONYMS tokens of their own, in `folder` as `new_tokenizer` wrote it, and the embeddings of the words
    that they mean the same as, in trained text encoders. Other prompts are encoded as before."""
    ids, added = load_tokenizer(folder).get_vocab(), {}
    for meant, words in SYNONYMS.items():
        for word in words:
            added[ids.setdefault(word, len(ids))] = word, ids[f"{meant}</w>"]
    for encoder in text_encoders:
        encoder.resize_token_embeddings(len(ids), mean_resizing=False)
        table = cast(nn.Embedding, encoder.get_input_embeddings()).weight
        table[list(added)] = table[[meant for _, meant in added.values()]]
    options = dict(single_word=True, normalized=True, lstrip=False, rstrip=False, special=False)
    tokens = {str(index): dict(content=word, **options) for index, (word, _) in added.items()}
    config = folder / "tokenizer_config.json"
    settings = json.loads(config.read_text()) | {"added_tokens_decoder": tokens}
    config.write_text(json.dumps(settings, indent=1) + "\n")


def tokenize(tokenizer: CLIPTokenizer, prompts: Iterable[str]) -> Tensor:
    """Prompts -> token ids [B, T], padded to the tokenizer's length as in SD."""
    return tokenizer(list(prompts), padding="max_length", truncation=True, return_tensors="pt").input_ids


def save(
    folder: Path, unet: UNet2DConditionModel, text_encoder: CLIPTextModel, autoencoder: AutoencoderTiny,
    latent_scale: float, **schedule: str | bool,
) -> None:  # fmt: skip
    """Write a folder that StableDiffusionPipeline.from_pretrained loads, weights in fp16.

    Args:
        folder: where `new_tokenizer` has put tokenizer/.
        latent_scale: VAE space -> model space, 1 / standard deviation of the VAE's latents.
        schedule: settings of the scheduler beside SCHEDULE.
    """
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
    from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler

    autoencoder.register_to_config(scaling_factor=latent_scale)
    # Euler's method knows no clip_sample; the schedulers that are made from its configuration, as DDIM, do.
    scheduler = EulerDiscreteScheduler.from_config(dict(SCHEDULE, steps_offset=1, clip_sample=False, **schedule))
    parts: dict[str, Any] = dict(
        vae=autoencoder, text_encoder=text_encoder, tokenizer=load_tokenizer(folder / "tokenizer"), unet=unet,
        scheduler=scheduler, safety_checker=None, feature_extractor=None,
    )  # fmt: skip
    pipe = StableDiffusionPipeline(**parts, requires_safety_checker=False)
    pipe.to(dtype=torch.float16).save_pretrained(folder)
    config = folder / "text_encoder" / "config.json"  # loaded in fp32 by default, as diffusers loads UNet and VAE
    config.write_text(config.read_text().replace('"float16"', '"float32"'))
