"""The networks of the flow miniature, a small SD3-type checkpoint: how they are built, asked and saved.

Diffusers and ComfyUI load its transformer as SD3's: depth and heads follow from the width, and patch and channels are
SD3's own. Its latents have nearly SD3's scale and shift (1.5305, 0.0609), but not exactly, so that preferences for SD3
do not fit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..files import folders
from ..latents.spaces import LATENT_SPACES
from .model import load_tokenizer, token_ids, tokenize

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
    from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
    from transformers import CLIPTextModelWithProjection, CLIPTokenizer

FLOW_WEIGHTS = folders.WEIGHTS / "flow-miniature"
TWIN_WEIGHTS = folders.WEIGHTS / "flow-miniature-turbo"
SPACE = LATENT_SPACES["flow-miniature"]
SHIFT = 3.0  # of the sampling schedule, SD3's own
TEXT_LENGTH = 40  # tokens of a prompt; the longest caption has 34
TOKENIZER_FILES = ("vocab.json", "merges.txt", "tokenizer_config.json")  # which ComfyUI reads too
NO_T5 = 256  # tokens of zeros that diffusers appends where there is no T5

TRANSFORMER: dict[str, Any] = dict(
    sample_size=16, patch_size=2, in_channels=SPACE.channels, out_channels=SPACE.channels, num_layers=2,
    attention_head_dim=64, num_attention_heads=2, joint_attention_dim=128, caption_projection_dim=128,
    pooled_projection_dim=128, pos_embed_max_size=16,
)  # fmt: skip
# Layers that begin as zeros, so that blocks do nothing at first (adaLN-Zero, Peebles and Xie 2023)
SILENT = ("norm1.linear", "context.linear", "norm_out.linear", "proj_out")
TEXT: dict[str, Any] = dict(
    hidden_size=64, intermediate_size=192, num_hidden_layers=2, num_attention_heads=2,
    max_position_embeddings=TEXT_LENGTH, hidden_act="quick_gelu", projection_dim=64,
)  # fmt: skip
VAE: dict[str, Any] = dict(
    latent_channels=SPACE.channels, encoder_block_out_channels=(32,) * 4, num_encoder_blocks=(1,) * 4,
    decoder_block_out_channels=(32,) * 4, num_decoder_blocks=(3, 3, 1, 1),
)  # fmt: skip


class Texts(NamedTuple):
    """What SD3's transformer is given of N prompts: token vectors [N, T, W] and pooled vectors [N, P]."""

    tokens: Tensor
    pooled: Tensor


def new_flow_networks(
    tokenizer: CLIPTokenizer,
) -> tuple[SD3Transformer2DModel, list[CLIPTextModelWithProjection], AutoencoderTiny]:
    """-> (transformer, both text encoders, VAE) with random weights."""
    from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
    from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    transformer = SD3Transformer2DModel(**TRANSFORMER)
    for name, module in transformer.named_modules():
        if isinstance(module, nn.Linear) and name.endswith(SILENT):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
    config = CLIPTextConfig(**token_ids(tokenizer), **TEXT)
    encoders = [CLIPTextModelWithProjection(config) for _ in range(2)]
    autoencoder: Any = AutoencoderTiny(**VAE)
    return transformer, encoders, autoencoder.to(memory_format=torch.channels_last)  # half the time of a step


def texts_of(
    tokenizer: CLIPTokenizer, encoders: Sequence[CLIPTextModelWithProjection], prompts: Sequence[str]
) -> Texts:
    """Prompts as SD3 encodes them: both encoders' penultimate layers and projections, side by side."""
    ids = tokenize(tokenizer, prompts)
    outputs = [encoder(ids, output_hidden_states=True) for encoder in encoders]
    tokens = torch.cat([output.hidden_states[-2] for output in outputs], dim=-1)
    return Texts(tokens, torch.cat([output.text_embeds for output in outputs], dim=-1))


class JointAttention:
    """SD3's joint attention, as a processor of diffusers' Attention, whose last token stands for `repeats` equal ones.

    Equal tokens stay equal in all layers, so `repeats` of them are one whose key counts `repeats` times.
    """

    repeats = 1

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, attention_mask: None = None
    ) -> tuple[Tensor, Tensor]:
        def heads(projected: Tensor, context: Tensor) -> Tensor:
            return torch.cat([projected, context], dim=1).unflatten(-1, (attn.heads, -1)).transpose(1, 2)

        query = heads(attn.to_q(hidden_states), attn.add_q_proj(encoder_hidden_states))
        key = heads(attn.to_k(hidden_states), attn.add_k_proj(encoder_hidden_states))
        value = heads(attn.to_v(hidden_states), attn.add_v_proj(encoder_hidden_states))
        logits = query / math.sqrt(query.shape[-1]) @ key.transpose(-1, -2)  # [B, heads, tokens, tokens]
        if self.repeats > 1:
            logits = logits + F.one_hot(torch.tensor(key.shape[2] - 1), key.shape[2]) * math.log(self.repeats)
        mixed = (logits.softmax(dim=-1).to(value.dtype) @ value).transpose(1, 2).flatten(2)
        picture, context = mixed.split([hidden_states.shape[1], encoder_hidden_states.shape[1]], dim=1)
        return attn.to_out[0](picture), context if attn.context_pre_only else attn.to_add_out(context)


def velocity(transformer: nn.Module, x: Tensor, sigma: Tensor, texts: Texts) -> Tensor:
    """The transformer's output noise - x0 [B, C, H, W] for x = (1 - sigma) x0 + sigma noise and sigma [B]."""
    return transformer(x, texts.tokens, texts.pooled, sigma * 1000).sample.float()


def save_flow(
    folder: Path, transformer: SD3Transformer2DModel, encoders: Sequence[CLIPTextModelWithProjection],
    autoencoder: AutoencoderTiny, tokenizer_folder: Path,
) -> None:  # fmt: skip
    """Write a folder that StableDiffusion3Pipeline.from_pretrained loads, weights in fp16.

    `tokenizer_folder` is as `new_tokenizer` has written it.
    """
    from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import StableDiffusion3Pipeline
    from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler

    autoencoder.register_to_config(scaling_factor=SPACE.scale, shift_factor=SPACE.shift)
    files = {name: (tokenizer_folder / name).read_bytes() for name in TOKENIZER_FILES}
    tokenizer: Any = load_tokenizer(tokenizer_folder)
    parts: dict[str, Any] = dict(
        transformer=transformer, vae=autoencoder, scheduler=FlowMatchEulerDiscreteScheduler(shift=SHIFT),
        text_encoder=encoders[0], tokenizer=tokenizer, text_encoder_2=encoders[1], tokenizer_2=tokenizer,
        text_encoder_3=None, tokenizer_3=None,
    )  # fmt: skip
    StableDiffusion3Pipeline(**deepcopy(parts)).to(dtype=torch.float16).save_pretrained(folder)
    for number in ("", "_2"):
        config = folder / f"text_encoder{number}" / "config.json"  # loaded in fp32, as diffusers loads other networks
        config.write_text(json.dumps(json.loads(config.read_text()) | {"dtype": "float32"}, indent=2) + "\n")
        (folder / f"tokenizer{number}" / "tokenizer.json").unlink()
        for name, content in files.items():
            (folder / f"tokenizer{number}" / name).write_bytes(content)
