"""Operations of a learned preference beside those of an evaluation of full-size models, for pictures of 1024 pixels.

Counted on meta tensors, without weights: multiplications and additions of matrix products, convolutions and attention.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measuring import Options, number
from benchmarks.records import Row
from corrector.latents.spaces import LATENT_SPACES
from corrector.preference.networks import Distilled

SIDE = 128  # latent cells of a picture's
GROUPS = 3


def sdxl() -> Any:
    blocks: dict[str, Any] = dict(
        block_out_channels=(320, 640, 1280), layers_per_block=2, transformer_layers_per_block=(1, 2, 10),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), cross_attention_dim=2048,
        attention_head_dim=(5, 10, 20), use_linear_projection=True, addition_embed_type="text_time",
        addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816,
    )  # fmt: skip
    unet = UNet2DConditionModel(sample_size=SIDE, **blocks)
    added = dict(text_embeds=torch.rand(1, 1280), time_ids=torch.rand(1, 6))
    return unet(torch.rand(1, 4, SIDE, SIDE), 1, torch.rand(1, 77, 2048), added_cond_kwargs=added)


def sd35_medium() -> Any:
    options: dict[str, Any] = dict(
        num_layers=24, num_attention_heads=24, caption_projection_dim=1536, qk_norm="rms_norm"
    )
    options |= dict(sample_size=SIDE, pos_embed_max_size=384, dual_attention_layers=tuple(range(13)))
    transformer = SD3Transformer2DModel(**options)
    return transformer(torch.rand(1, 16, SIDE, SIDE), torch.rand(1, 333, 4096), torch.rand(1, 2048), torch.rand(1))


def flux_dev() -> Any:
    cells, tokens, time = SIDE**2 // 4, 512, torch.rand(1)
    transformer = FluxTransformer2DModel(guidance_embeds=True)
    ids = torch.rand(cells, 3), torch.rand(tokens, 3)
    texts = torch.rand(1, tokens, 4096), torch.rand(1, 768)
    return transformer(torch.rand(1, cells, 64), *texts, time, *ids, guidance=time)


MODELS: dict[str, tuple[str, Callable[[], Any]]] = {  # with the latent space
    "SDXL": ("sdxl", sdxl),
    "SD3.5 medium": ("sd3", sd35_medium),
    "Flux.1 dev": ("flux", flux_dev),
}


def read(space: str) -> Any:
    x, time = torch.rand(1, LATENT_SPACES[space].channels, SIDE, SIDE), torch.rand(1)
    return Distilled(space, GROUPS)(x, time, torch.zeros(1, dtype=torch.long), x)


def counted(evaluate: Callable[..., Any], *args: Any) -> int:
    with FlopCounterMode(display=False) as counter, torch.device("meta"):
        evaluate(*args)
    return counter.get_total_flops()


def models(options: Options) -> Iterator[Row]:
    for name, (space, evaluate) in MODELS.items():
        of_model, of_preference = counted(evaluate), counted(read, space)
        figures = {
            "10^9 of an evaluation": number(of_model / 1e9, 1),
            "10^9 of the preference": number(of_preference / 1e9, 1),
            "ratio": number(of_preference / of_model, 1),
        }
        yield Row({"model": name}, figures)


PARTS = {"models": models}
