"""LoRA files: what they add to the weights, what is refused, and what a derivative is to a host."""

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from torch import nn

from corrector.hosts.lora import LoraError, apply_lora, diffusers_name
from corrector.miniature.derivatives import Lora, save_lora
from corrector.miniature.host import Miniature


@pytest.fixture(scope="module")
def miniature():
    return Miniature()


class Part(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = nn.ModuleDict({"linear": nn.Linear(6, 5), "conv": nn.Conv2d(3, 4, 3)})


def draws(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.fixture
def tensors():
    return {
        "lora_unet_block_linear.lora_up.weight": draws(5, 2),
        "lora_unet_block_linear.lora_down.weight": draws(2, 6),
        "lora_unet_block_linear.alpha": torch.tensor(1.0),
        "lora_te_block_conv.lora_up.weight": draws(4, 2, 1, 1),
        "lora_te_block_conv.lora_down.weight": draws(2, 3, 3, 3),
    }


def test_it_adds_alpha_over_rank_times_up_times_down_and_a_missing_alpha_is_the_rank(tensors, tmp_path):
    save_file(tensors, tmp_path / "one.safetensors")
    unet, encoder = Part(), Part()
    before = unet.block["linear"].weight.clone(), encoder.block["conv"].weight.clone()
    untouched = unet.block["conv"].weight.clone()
    apply_lora(unet, [encoder], tmp_path / "one.safetensors", strength=0.5)
    up, down = draws(5, 2), draws(2, 6)
    torch.testing.assert_close(unet.block["linear"].weight - before[0], 0.5 * 0.5 * up @ down)
    up, down = draws(4, 2, 1, 1)[..., 0, 0], draws(2, 3, 3, 3)
    wanted = torch.einsum("or,rihw->oihw", up, down)
    torch.testing.assert_close(encoder.block["conv"].weight - before[1], 0.5 * wanted)
    assert torch.equal(unet.block["conv"].weight, untouched)


def test_a_file_gives_the_very_outputs_of_the_layers_it_was_trained_as(tmp_path):
    part, x, picture = Part(), draws(7, 6), draws(2, 3, 8, 8)
    loras = {f"block.{name}": Lora(part.block[name], 2) for name in ("linear", "conv")}
    for lora in loras.values():
        lora.up.weight.data.copy_(draws(*lora.up.weight.shape))
    with torch.no_grad():
        wanted = loras["block.linear"](x), loras["block.conv"](picture)
        save_lora(loras, tmp_path / "one.safetensors")
        apply_lora(part, [], tmp_path / "one.safetensors")
        torch.testing.assert_close(part.block["linear"](x), wanted[0], rtol=1e-3, atol=5e-3)
        torch.testing.assert_close(part.block["conv"](picture), wanted[1], rtol=1e-3, atol=5e-3)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"lora_unet_other.lora_up.weight": draws(5, 2)}, "lora_unet_other is not in this model"),
        ({"lora_unet_block_linear.lora_down.weight": draws(2, 9)}, "lora_unet_block_linear has another size"),
        (
            {"lora_unet_block_conv.lora_up.weight": draws(4, 2, 1, 1)},
            "lora_unet_block_conv lacks one of its",
        ),
    ],
)
def test_another_models_file_is_refused_by_name_before_any_weight_is_changed(tensors, tmp_path, change, message):
    save_file(tensors | change, tmp_path / "one.safetensors")
    unet = Part()
    before = unet.block["linear"].weight.clone()
    with pytest.raises(LoraError, match=rf"one\.safetensors: its layer {message}"):
        apply_lora(unet, [Part()], tmp_path / "one.safetensors")
    assert torch.equal(unet.block["linear"].weight, before)


def test_a_file_that_is_torn_missing_or_no_lora_is_refused_in_a_sentence(tensors, tmp_path):
    path = tmp_path / "one.safetensors"
    with pytest.raises(LoraError, match="cannot be read as a safetensors file"):
        apply_lora(Part(), [], path)
    save_file(tensors, path)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(LoraError, match="cannot be read as a safetensors file"):
        apply_lora(Part(), [], path)
    save_file({"weight": draws(2, 2)}, path)
    with pytest.raises(LoraError, match="holds no LoRA layers"):
        apply_lora(Part(), [], path)


def test_a_derivative_is_another_checkpoint_by_name_and_predicts_otherwise(tmp_path, miniature):
    name = "lora_unet_mid_block_attentions_0_proj_in"
    layer = miniature.unet.mid_block.attentions[0].proj_in.weight
    up, down = 0.3 * draws(len(layer), 2, 1, 1), draws(2, *layer.shape[1:])
    tensors = {f"{name}.lora_up.weight": up, f"{name}.lora_down.weight": down}
    save_file(tensors, tmp_path / "one.safetensors")
    derivative = Miniature(lora=tmp_path / "one.safetensors")
    assert derivative.identity["checkpoint"] != miniature.identity["checkpoint"]
    x, sigma = draws(1, 4, 16, 16), torch.tensor([5.0])
    conditioning = miniature.encode(["a portrait of a Tavelu person"])
    assert not torch.allclose(derivative.denoise(x, sigma, conditioning), miniature.denoise(x, sigma, conditioning))


SDXL = {
    # Stable Diffusion XL's own layout, layers_per_block 2: where each layer of the original code is in diffusers.
    "input_blocks_4_1_transformer_blocks_0_attn1_to_q": "down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q",
    "input_blocks_8_1_proj_in": "down_blocks_2_attentions_1_proj_in",
    "input_blocks_3_0_op": "down_blocks_0_downsamplers_0_conv",
    "input_blocks_7_0_skip_connection": "down_blocks_2_resnets_0_conv_shortcut",
    "input_blocks_0_0": "conv_in",
    "middle_block_1_transformer_blocks_9_ff_net_2": "mid_block_attentions_0_transformer_blocks_9_ff_net_2",
    "middle_block_2_in_layers_2": "mid_block_resnets_1_conv1",
    "output_blocks_2_2_conv": "up_blocks_0_upsamplers_0_conv",
    "output_blocks_5_1_transformer_blocks_1_attn2_to_k": "up_blocks_1_attentions_2_transformer_blocks_1_attn2_to_k",
    "output_blocks_8_0_emb_layers_1": "up_blocks_2_resnets_2_time_emb_proj",
    "down_blocks_1_attentions_0_proj_in": "down_blocks_1_attentions_0_proj_in",
}


@pytest.mark.parametrize("original", SDXL)
def test_layers_by_the_names_of_sdxls_original_code_are_found(original):
    assert diffusers_name(f"lora_unet_{original}", 2) == f"lora_unet_{SDXL[original]}"


def test_each_layer_of_sdxls_unet_by_its_original_name_is_a_layer_of_diffusers_unet():
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            sample_size=128, cross_attention_dim=2048, layers_per_block=2, transformer_layers_per_block=[1, 2, 10],
            down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
            up_block_types=["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
            block_out_channels=[320, 640, 1280], attention_head_dim=[5, 10, 20], use_linear_projection=True,
            addition_embed_type="text_time", addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816,
        )  # fmt: skip
    layers = {f"lora_unet_{name.replace('.', '_')}" for name, _ in unet.named_modules()}
    assert all(diffusers_name(f"lora_unet_{original}", 2) in layers for original in SDXL)
