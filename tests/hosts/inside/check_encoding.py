"""Many texts encoded for the gate: each as ComfyUI's own text encoders encode it alone. The encoders are tiny."""

from contextlib import nullcontext
from pathlib import Path

import comfy.sd
import comfy.text_encoders
import numpy as np
import pytest
import torch
from comfy.supported_models_base import ClipTarget
from host import pack
from rs_pack.nodes.host import encode_each

TEXTS = (
    "", "a portrait of a Tavelu person", "a portrait of an Orvane person", "a portrait of a Tavelu man in a village",
    "a portrait of a Tavelu man in a market", "(a red hat:1.3), a lamp", "a portrait of a Tavelu person",
    "a portrait of a person, " + "soft light, " * 40, "a sketch of a person, " + "soft light, " * 40,
)  # fmt: skip

CLIP_SIZES = dict(hidden_size=32, intermediate_size=64, num_attention_heads=2, num_hidden_layers=3)
LLM_SIZES = dict(CLIP_SIZES, num_key_value_heads=1)
T5_SIZES = dict(d_model=32, d_kv=8, d_ff=64, num_heads=2, num_layers=2)
SIZES = {
    "clip_l_model_config": CLIP_SIZES,
    "clip_g_model_config": CLIP_SIZES,
    "t5xxl_model_config": T5_SIZES,
    **{f"{name}_model_config": LLM_SIZES for name in ("qwen3_4b", "qwen25_3b", "qwen25_7b", "gemma2_2b")},
}
WIDE_T5 = {"t5xxl_model_config": dict(T5_SIZES, d_model=4096)}  # to which SD3 pads its CLIPs

FAMILIES = {  # module of comfy, its tokenizer, its encoder or a function that returns it
    "SD1.5": ("sd1_clip", "SD1Tokenizer", "SD1ClipModel"),
    "SDXL": ("sdxl_clip", "SDXLTokenizer", "SDXLClipModel"),
    "SD3": ("text_encoders.sd3_clip", "SD3Tokenizer", "sd3_clip"),
    "Flux": ("text_encoders.flux", "FluxTokenizer", "flux_clip"),
    "PixArt": ("text_encoders.pixart_t5", "PixArtTokenizer", "pixart_te"),
    "Z-Image": ("text_encoders.z_image", "ZImageTokenizer", "te"),
    "Qwen-Image": ("text_encoders.qwen_image", "QwenImageTokenizer", "te"),
    "OmniGen2": ("text_encoders.omnigen2", "Omnigen2Tokenizer", "te"),
    "Lumina2": ("text_encoders.lumina2", "LuminaTokenizer", "te"),
}
BATCHED = ("SD1.5", "SDXL", "Flux", "PixArt", "Z-Image", "OmniGen2", "Lumina2")


def fill(encoder):
    """Seeded weights, without the memory of large embeddings: their rows are windows of one vector."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in encoder.named_parameters():
        rows, *widths = parameter.shape or (1,)
        if rows > 10_000:
            values = torch.randn(rows + widths[0], generator=generator).as_strided((rows, widths[0]), (1, 1))
        else:
            values = torch.randn(parameter.shape, generator=generator) / max(1, np.prod(widths)) ** 0.5
        parameter.data = values + ("norm" in name and name.endswith("weight"))
    return encoder


def small_clip(family):
    """ComfyUI's CLIP of a family with a tiny encoder; skips the test if this version of ComfyUI lacks the family."""
    module, tokenizer, encoder = FAMILIES[family]
    module = pytest.importorskip(f"comfy.{module}")
    tokenizer, encoder = getattr(module, tokenizer), getattr(module, encoder)
    pieces = Path(comfy.text_encoders.__path__[0]) / "t5_pile_tokenizer" / "tokenizer.model"  # in place of Gemma's
    clip = comfy.sd.CLIP(
        ClipTarget(tokenizer, encoder if isinstance(encoder, type) else encoder()),
        tokenizer_data={"spiece_model": torch.from_numpy(np.fromfile(pieces, np.uint8))},
        model_options={**SIZES, **(WIDE_T5 if family == "SD3" else {})},
    )
    fill(clip.cond_stage_model)
    return clip


@pytest.mark.parametrize("family", FAMILIES)
def test_each_of_many_texts_is_encoded_as_it_is_alone(family, monkeypatch):
    monkeypatch.setattr(pack.nodes.host, "quickly", lambda _: nullcontext())
    clip = small_clip(family)
    alone = {text: clip.encode_from_tokens_scheduled(clip.tokenize(text))[0][0][0] for text in TEXTS}
    calls, encode = [], clip.encode_from_tokens_scheduled
    monkeypatch.setattr(clip, "encode_from_tokens_scheduled", lambda tokens: calls.append(tokens) or encode(tokens))
    texts = TEXTS * 4
    found = list(encode_each(clip, texts))
    assert len(found) == len(texts)
    for text, vectors in zip(texts, found, strict=True):
        assert vectors.shape == alone[text].shape and alone[text].std() > 0.1
        torch.testing.assert_close(vectors, alone[text], rtol=1e-5, atol=1e-5)
    assert (len(calls) < len(texts)) == (family in BATCHED)
