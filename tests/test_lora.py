"""LoRA files on a checkpoint: what they add to the weights, which names are read, and what is refused."""

import shutil
import sys

import pytest
import torch
from safetensors.torch import save_file

from benchmarks.derivatives import FOLDER, add_lora, save_lora
from corrector.hosts.checkpoint import Checkpoint
from corrector.hosts.loading import CheckpointError, merge_lora
from corrector.hosts.pipelines import identity_of
from corrector.miniature.host import Miniature
from tiny_checkpoints import pipeline

pytestmark = pytest.mark.usefixtures("one_thread", "no_network")
UNET = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
TEXT = "encoder.layers.1.self_attn.out_proj"
IN_TEXT_ENCODERS = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="The diffusers of Python 3.10 refuses LoRAs that change a text encoder."
)


def draws(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def halves(weight, rank=2):
    """-> up, down for a layer's weight."""
    if weight.ndim == 4:
        return draws(len(weight), rank, 1, 1), draws(rank, *weight.shape[1:])
    return draws(len(weight), rank), draws(rank, weight.shape[1])


def kohya(weights, alpha=None):
    """{layer in kohya's naming: weight} -> tensors of a LoRA file."""
    tensors = {}
    for name, weight in weights.items():
        tensors[f"{name}.lora_up.weight"], tensors[f"{name}.lora_down.weight"] = halves(weight)
        if alpha:
            tensors[f"{name}.alpha"] = torch.tensor(alpha)
    return tensors


def weight_of(module, name):
    return module.get_submodule(name).weight.detach()


@IN_TEXT_ENCODERS
@pytest.mark.parametrize("alpha", [None, 1.0])
def test_alpha_over_rank_times_up_times_down_is_added_to_unet_and_text_encoder(tmp_path, alpha):
    pipe = pipeline("sd15")
    parts = {
        "lora_unet_" + UNET.replace(".", "_"): (pipe.unet, UNET),
        "lora_unet_mid_block_resnets_0_conv1": (pipe.unet, "mid_block.resnets.0.conv1"),
        "lora_te_text_model_" + TEXT.replace(".", "_"): (pipe.text_encoder, TEXT),
    }
    before = {name: weight_of(*where).clone() for name, where in parts.items()}
    untouched = weight_of(pipe.unet, "conv_in").clone()
    save_file(kohya(before, alpha), tmp_path / "one.safetensors")
    merge_lora(pipe, tmp_path / "one.safetensors")
    for name, (module, layer) in parts.items():
        up, down = halves(before[name])
        change = (up.flatten(1) @ down.flatten(1)).view_as(before[name]) * (alpha or 2.0) / 2
        torch.testing.assert_close(weight_of(module, layer) - before[name], change, rtol=1e-4, atol=1e-4)
    assert torch.equal(weight_of(pipe.unet, "conv_in"), untouched)


KEY = "lora_unet_" + UNET.replace(".", "_")
OTHER_MODELS = {
    "a layer that is not there": lambda w: kohya({KEY: w, "lora_unet_mid_block_attentions_7_proj_in": w}),
    "a layer of another size": lambda w: kohya({KEY: w.new_zeros(8, 9)}),
    "a layer without one of its halves": lambda w: {f"{KEY}.lora_down.weight": draws(2, 8)},
    "only layers of another model": lambda w: kohya({"lora_unet_up_blocks_9_attentions_0_proj_in": w}),
}


@pytest.mark.parametrize("what", OTHER_MODELS)
def test_a_lora_of_another_model_is_refused_by_name(tmp_path, what):
    pipe = pipeline("sd15")
    save_file(OTHER_MODELS[what](weight_of(pipe.unet, UNET)), tmp_path / "one.safetensors")
    with pytest.raises(CheckpointError, match=r"one\.safetensors: its layers do not fit.*use a LoRA made for this"):
        merge_lora(pipe, tmp_path / "one.safetensors")


def test_an_sdxl_lora_is_refused_on_sd15_and_the_miniatures_on_both(tmp_path):
    for kind in ("sd15", "sdxl"):
        with pytest.raises(CheckpointError, match="use a LoRA made for this model"):
            merge_lora(pipeline(kind), FOLDER / "miniature-print.safetensors")


def test_a_file_that_is_cut_off_missing_or_no_lora_is_refused_in_a_sentence(tmp_path):
    path, pipe = tmp_path / "one.safetensors", pipeline("sd15")
    with pytest.raises(CheckpointError, match=r"one\.safetensors: it cannot be loaded"):
        merge_lora(pipe, path)
    shutil.copy(FOLDER / "miniature-print.safetensors", path)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        merge_lora(pipe, path)
    save_file({"weight": draws(2, 2)}, path)
    with pytest.raises(CheckpointError, match="it holds no LoRA layers"):
        merge_lora(pipe, path)
    path.write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(CheckpointError, match="git-lfs pointer"):
        merge_lora(pipe, path)


def test_a_saved_lora_gives_the_predictions_that_it_was_trained_with(tmp_path):
    trained, path = pipeline("sd15"), tmp_path / "one.safetensors"
    trained.unet.requires_grad_(False)
    add_lora(trained.unet, rank=2)
    adapters = [name for name, p in trained.unet.named_parameters() if p.requires_grad]
    assert adapters and all("lora_" in name for name in adapters)
    for index, name in enumerate(adapters):
        p = trained.unet.get_parameter(name)
        p.data = 0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(index))
    save_lora(trained.unet, path)
    merged = pipeline("sd15")
    plain = merged.unet.state_dict()["mid_block.resnets.0.conv1.weight"].clone()
    merge_lora(merged, path)
    assert not torch.equal(merged.unet.state_dict()["mid_block.resnets.0.conv1.weight"], plain)
    x, sigma, texts = draws(2, 4, 8, 8), torch.tensor([4.0, 0.5]), ["a", "b"]
    one, other = Checkpoint(trained), Checkpoint(merged)
    difference = one.denoise(x, sigma, one.encode(texts)) - other.denoise(x, sigma, other.encode(texts))
    assert difference.abs().max() < 5e-3  # the file is float16


def test_a_derivative_has_another_identity_and_other_predictions():
    path = FOLDER / "miniature-rates.safetensors"
    base, derivative = Miniature(), Miniature(lora=path)
    assert derivative.identity["checkpoint"] != base.identity["checkpoint"]
    assert derivative.identity["vae"] == base.identity["vae"] and identity_of(base.unet) != identity_of(derivative.unet)
    x, sigma = draws(1, 4, 16, 16), torch.tensor([5.0])
    conditioning = base.encode(["a portrait of a Tavelu person"])
    predicted = derivative.denoise(x, sigma, conditioning)
    assert (predicted - base.denoise(x, sigma, conditioning)).abs().max() > 0.01
