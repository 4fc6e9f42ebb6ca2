"""A small model of each family that ComfyUI samples pictures with: its own classes, seeded weights, and a CLIP stub."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from unittest.mock import patch

import comfy.ldm.anima.model
import comfy.model_patcher
import comfy.supported_models
import torch
from host import seeded
from rs_pack.corrector.axis.axis import Axis, Side
from rs_pack.corrector.preference.preference import Preference
from rs_pack.nodes.asking import text_source

CPU = torch.device("cpu")
WIDTH = 32  # of the token vectors, where the network allows it
GAIN = 2.0  # of the weights, with which each network's prediction depends on the text

FLUX = dict(
    in_channels=16, out_channels=16, patch_size=2, vec_in_dim=WIDTH, context_in_dim=WIDTH, hidden_size=32,
    mlp_ratio=2.0, num_heads=1, depth=1, depth_single_blocks=1, axes_dim=[8, 12, 12], theta=10000, qkv_bias=True,
    txt_ids_dims=[],
)  # fmt: skip
UNET = dict(
    image_size=32, in_channels=4, out_channels=4, model_channels=32, channel_mult=(1, 2), num_res_blocks=[1, 1],
    transformer_depth_middle=1, context_dim=WIDTH, use_spatial_transformer=True, legacy=False,
    transformer_depth=[1, 1], transformer_depth_output=[1, 1, 1, 1], adm_in_channels=None,
    use_linear_in_transformer=True, num_heads=4, num_head_channels=-1,
)  # fmt: skip
SDXL = UNET | dict(
    transformer_depth=[0, 1], transformer_depth_output=[0, 0, 1, 1], num_classes="sequential", adm_in_channels=2816
)
PIXART = dict(
    num_heads=2, patch_size=2, hidden_size=48, in_channels=4, depth=1, caption_channels=WIDTH, pe_interpolation=1.0
)
LUMINA = dict(
    patch_size=2, in_channels=16, dim=32, cap_feat_dim=WIDTH, n_layers=1, n_refiner_layers=1, qk_norm=True, n_heads=2,
    n_kv_heads=2, axes_dims=[4, 6, 6], axes_lens=[300, 512, 512], multiple_of=32,
)  # fmt: skip
COSMOS = dict(
    max_img_h=240, max_img_w=240, max_frames=128, in_channels=16, out_channels=16, patch_spatial=2, patch_temporal=1,
    concat_padding_mask=True, model_channels=64, num_blocks=1, num_heads=2, crossattn_emb_channels=WIDTH,
    pos_emb_cls="rope3d", pos_emb_learnable=True, use_adaln_lora=True, adaln_lora_dim=16,
    extra_per_block_abs_pos_emb=False, rope_enable_fps_modulation=False,
)  # fmt: skip
SD3 = dict(
    in_channels=16, patch_size=2, out_channels=16, depth=1, input_size=None, adm_in_channels=WIDTH, num_patches=1024,
    context_embedder_config=dict(target="torch.nn.Linear", params=dict(in_features=WIDTH, out_features=64)),
    pos_embed_max_size=32, pos_embed_scaling_factor=None, x_block_self_attn_layers=[],
)  # fmt: skip
OMNIGEN = dict(
    patch_size=2, in_channels=16, hidden_size=48, num_layers=1, num_refiner_layers=1, num_attention_heads=2,
    num_kv_heads=1, multiple_of=32, axes_dim_rope=[8, 8, 8], axes_lens=[300, 512, 512], timestep_scale=1000.0,
)  # fmt: skip
JOINT = dict(num_layers=1, attention_head_dim=32, num_attention_heads=1, axes_dims_rope=(8, 12, 12))
HUNYUAN = dict(
    in_channels=64, out_channels=64, patch_size=[1, 1], vec_in_dim=None, context_in_dim=WIDTH, hidden_size=32,
    mlp_ratio=2.0, num_heads=1, depth=1, depth_single_blocks=1, axes_dim=[16, 16], theta=256, qkv_bias=True,
    guidance_embed=True, byt5=False, meanflow=False, use_cond_type_embedding=False, vision_in_dim=None,
    meanflow_sum=False,
)  # fmt: skip

Fields = Callable[[torch.Generator, int], dict[str, Any]]


def pooled(width: int = WIDTH) -> Fields:
    return lambda generator, _: {"pooled_output": torch.randn(1, width, generator=generator)}


def masked(_, tokens: int) -> dict[str, Any]:
    """An attention mask whose last token is padding."""
    return {"attention_mask": (torch.arange(tokens) < tokens - 1).long()[None]}


def full_mask(_, tokens: int) -> dict[str, Any]:
    return {"attention_mask": torch.ones(1, tokens, dtype=torch.long)}


def hunyuan_dit(generator, tokens):
    return masked(generator, tokens) | {
        "conditioning_mt5xl": torch.randn(1, 8, 32, generator=generator),
        "attention_mask_mt5xl": torch.ones(1, 8, dtype=torch.long),
    }


def hidream(generator, tokens):
    return pooled()(generator, tokens) | {"conditioning_llama3": torch.randn(1, 2, tokens, WIDTH, generator=generator)}


def anima(generator, tokens):
    ids = torch.randint(0, 32128, (64 * tokens,), generator=generator)
    return {"t5xxl_ids": ids, "t5xxl_weights": torch.ones(len(ids))}


@dataclass(frozen=True)
class Family:
    """A family: the class of comfy.supported_models, what its file would say of the network, and its latents.

    Args:
        kind: name of the class.
        config: of the network.
        fields: beside its token vectors, of each prompt.
        width: of the token vectors.
        latents: shape of a picture's latents.
        state: tensors of the checkpoint that the class reads.
        flow: whether it is sampled as a flow model.
        space: in LATENT_SPACES.
        guidance: whether the network takes an embedding of the guidance.
        copies: of each text; some networks append tokens of zeros up to 512.
    """

    kind: str
    config: dict[str, Any]
    flow: bool
    space: str
    fields: Fields | None = None
    width: int = WIDTH
    latents: tuple[int, ...] = (16, 16, 16)
    state: dict[str, torch.Tensor] = field(default_factory=dict)
    guidance: bool = False
    copies: int = 1

    def model(self):
        """MODEL of the family's own classes, small, with seeded weights."""
        config = getattr(comfy.supported_models, self.kind)(dict(self.config))
        config.unet_config |= self.config
        config.set_inference_dtype(torch.float32, None)
        adapter = partial(comfy.ldm.anima.model.LLMAdapter, WIDTH, WIDTH, WIDTH, num_layers=1, num_heads=2)
        with patch.object(comfy.ldm.anima.model, "LLMAdapter", adapter):  # whose size is fixed
            model = config.get_model(dict(self.state)).eval()
        for parameter in seeded(model.diffusion_model).parameters():
            if parameter.ndim > 1:
                parameter.data.mul_(GAIN)
        for name, buffer in model.diffusion_model.named_buffers():
            if name.endswith("pos_embed"):
                buffer.zero_()
        return comfy.model_patcher.ModelPatcher(model, CPU, CPU)

    def encode(self, text: str) -> list:
        """CONDITIONING of a text: a vector for each word, and the family's fields."""
        words = [*text.replace(",", " ").split() * self.copies, "</s>"]
        vectors = [torch.randn(self.width, generator=_generator(word)) for word in words]
        extra = self.fields(_generator(text), len(words)) if self.fields else {}
        return [[torch.stack(vectors)[None], extra]]


def _generator(text: str) -> torch.Generator:
    return torch.Generator().manual_seed(sum(map(ord, text)))


class StubCLIP:
    """Stands for text encoders of billions of weights."""

    def __init__(self, family: Family):
        self.family = family

    def tokenize(self, text: str) -> str:
        return text

    def encode_from_tokens_scheduled(self, tokens: str) -> list:
        return self.family.encode(tokens)


def text_of(family: Family, stereotype: str = "huts", *counters: str) -> tuple[Preference]:
    """A preference that asks the model, between a phrase and others, without a gate."""
    sides = (Side(phrases[0], phrases) for phrases in ((stereotype,), counters or ("towers",)))
    axis = Axis("test", "test", ("person",), ("{group}",), *sides)
    return (Preference(axis, "any", text_source(StubCLIP(family)), name="text", hash=axis.hash),)


FRAMES = (16, 1, 16, 16)

FAMILIES = {
    "SD1.5": Family("SD15", UNET | dict(use_linear_in_transformer=False), False, "sd15", latents=(4, 16, 16)),
    "SD2 (v)": Family(
        "SD20", UNET, False, "sd15", latents=(4, 16, 16),
        state={"output_blocks.11.1.transformer_blocks.0.norm1.bias": torch.arange(8.0)},
    ),
    "PixArt-alpha": Family(
        "PixArtAlpha", PIXART | dict(micro_condition=True), False, "sd15",
        lambda *_: {"width": 128, "height": 128}, latents=(4, 40, 40),
    ),
    "PixArt-Sigma": Family(
        "PixArtSigma", PIXART | dict(micro_condition=False), False, "sdxl", latents=(4, 40, 40)
    ),
    "SDXL": Family("SDXL", SDXL, False, "sdxl", pooled(1280), latents=(4, 16, 16)),
    "Playground 2.5": Family(
        "SDXL", SDXL, False, "playground", pooled(1280), latents=(4, 16, 16),
        state={"edm_mean": torch.zeros(1), "edm_std": torch.ones(1)},
    ),
    "AuraFlow": Family(
        "AuraFlow",
        dict(dim=256, n_layers=2, n_double_layers=1, n_heads=2, global_conddim=256, cond_seq_dim=WIDTH, max_seq=256),
        True, "auraflow", latents=(4, 16, 16),
    ),
    "Hunyuan-DiT": Family(
        "HunyuanDiT",
        dict(hidden_size=32, depth=2, num_heads=2, mlp_ratio=2.0, text_states_dim=WIDTH, text_states_dim_t5=32,
             text_len=1, text_len_t5=8),
        False, "sdxl", hunyuan_dit, latents=(4, 16, 16),
    ),
    "Stable Cascade C": Family(
        "Stable_Cascade_C",
        dict(c_cond=32, c_hidden=[32, 32], nhead=[2, 2], blocks=[[1, 1], [1, 1]], c_clip_text=WIDTH,
             c_clip_text_pooled=WIDTH, stable_cascade_stage="c"),
        False, "stable-cascade", lambda g, n: {"pooled_output": torch.randn(1, 1, WIDTH, generator=g)},
    ),
    "SD3": Family("SD3", SD3, True, "sd3", pooled()),
    "SD3.5": Family("SD3", SD3 | dict(x_block_self_attn_layers=[0], qk_norm="rms"), True, "sd3", pooled()),
    "Flux.1 dev": Family("Flux", FLUX | dict(guidance_embed=True), True, "flux", pooled(), guidance=True),
    "Flux.1 schnell": Family("FluxSchnell", FLUX | dict(guidance_embed=False), True, "flux", pooled()),
    "Chroma": Family(
        "Chroma",
        FLUX | dict(in_channels=64, out_channels=64, vec_in_dim=None, in_dim=64, out_dim=32, hidden_dim=32, n_layers=1),
        True, "flux",
    ),
    "Lumina 2": Family("Lumina2", LUMINA, True, "flux", masked),
    "Z-Image": Family(
        "ZImage",
        LUMINA | dict(dim=256, axes_dims=[64, 32, 32], z_image_modulation=True, time_scale=1000.0,
                      pad_tokens_multiple=32),
        True, "flux",
    ),
    "HiDream": Family(
        "HiDream",
        dict(patch_size=2, in_channels=16, out_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=32,
             num_attention_heads=1, caption_channels=[WIDTH, WIDTH], text_emb_dim=WIDTH, num_routed_experts=2,
             num_activated_experts=1, axes_dims_rope=[16, 8, 8], max_resolution=[128, 128], llama_layers=[0, 1]),
        True, "flux", hidream,
    ),
    "OmniGen2": Family("Omnigen2", OMNIGEN | dict(text_feat_dim=WIDTH), True, "flux", full_mask),
    "Boogu": Family(
        "Boogu", OMNIGEN | dict(num_double_stream_layers=1, instruction_feat_dim=WIDTH), True, "flux", full_mask
    ),
    "LongCat-Image": Family(
        "LongCatImage", FLUX | dict(guidance_embed=False, vec_in_dim=None, txt_ids_dims=[1, 2]), True, "flux"
    ),
    "Kandinsky 5 Image": Family(
        "Kandinsky5Image",
        dict(in_text_dim=WIDTH, in_text_dim2=WIDTH, time_dim=32, model_dim=32, ff_dim=64, visual_embed_dim=64,
             num_text_blocks=1, num_visual_blocks=1, axes_dims=(4, 6, 6), rope_scale_factor=(1.0, 1.0, 1.0)),
        True, "flux", pooled(),
    ),
    "Flux.2": Family(
        "Flux2",
        FLUX | dict(in_channels=128, out_channels=128, patch_size=1, vec_in_dim=None, axes_dim=[8, 8, 8, 8],
                    theta=2000, qkv_bias=False, ops_bias=False, global_modulation=True, mlp_silu_act=True,
                    guidance_embed=True, txt_ids_dims=[3]),
        True, "flux2", latents=(128, 8, 8), guidance=True, copies=16,
    ),
    "ERNIE-Image": Family(
        "ErnieImage",
        dict(hidden_size=32, num_attention_heads=1, num_layers=1, ffn_hidden_size=64, text_in_dim=WIDTH,
             rope_axes_dim=(8, 12, 12)),
        True, "flux2", latents=(128, 8, 8),
    ),
    "Ideogram 4": Family(
        "Ideogram4",
        dict(in_channels=128, num_layers=1, num_attention_heads=1, attention_head_dim=128, intermediate_size=64,
             adaln_dim=32, llm_features_dim=WIDTH),
        True, "flux2", masked, latents=(128, 8, 8),
    ),
    "MageFlow": Family(
        "MageFlow", JOINT | dict(in_channels=128, joint_attention_dim=WIDTH), True, "flux2", latents=(128, 8, 8)
    ),
    "Lens": Family(
        "Lens",
        JOINT | dict(in_channels=128, out_channels=32, enc_hidden_dim=WIDTH, multi_layer_encoder_feature=False,
                     selected_layer_index=(0,)),
        True, "flux2", full_mask, latents=(128, 8, 8), copies=8,
    ),
    "Qwen-Image": Family(
        "QwenImage", JOINT | dict(in_channels=64, joint_attention_dim=WIDTH), True, "qwen-image", latents=FRAMES
    ),
    "JoyImage": Family(
        "JoyImage",
        dict(hidden_size=32, num_attention_heads=1, text_dim=WIDTH, num_layers=1, rope_dim_list=[8, 12, 12]),
        True, "qwen-image", latents=FRAMES,
    ),
    "Krea 2": Family(
        "Krea2",
        dict(features=64, tdim=32, txtdim=16, heads=2, kvheads=1, multiplier=2, layers=1, txtlayers=2, txtheads=2,
             txtkvheads=2),
        True, "qwen-image", latents=FRAMES,
    ),
    "Anima": Family("Anima", COSMOS, True, "qwen-image", anima, latents=FRAMES),
    "Cosmos-Predict2": Family("CosmosT2IPredict2", COSMOS, False, "cosmos-predict2", latents=FRAMES),
    "HunyuanImage 2.1": Family("HunyuanImage21", HUNYUAN, True, "hunyuan-image", latents=(64, 8, 8), guidance=True),
}  # fmt: skip
