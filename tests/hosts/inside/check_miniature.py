"""The miniature in ComfyUI agrees with the miniature in diffusers."""

import logging
import os

import comfy.model_management
import folder_paths
import pytest
import torch
from host import REPOSITORY, encode, host_nodes, node
from reference_prompts import PROMPTS
from rs_pack.nodes.miniature import load_miniature
from safetensors.torch import load_file

DERIVATIVES = REPOSITORY / "weights" / "miniature-derivatives"

reference = pytest.mark.skipif("RS_REFERENCE" not in os.environ, reason="there are no predictions of diffusers")


@pytest.fixture(scope="module")
def expected():
    return load_file(os.environ["RS_REFERENCE"])


@reference
def test_its_conditioning_agrees_with_transformers(clip, expected):
    for prompt, conditioning in zip(PROMPTS, expected["conditioning"], strict=True):
        assert (encode(clip, prompt)[0][0][0] - conditioning).abs().max() <= 1e-4


def prediction(model, expected):
    comfy.model_management.load_models_gpu([model])
    network = model.model
    network.current_patcher = model
    return torch.cat(
        [
            network.apply_model(x[None], sigma[None], c_crossattn=conditioning[None])
            for x, sigma, conditioning in zip(expected["x"], expected["sigma"], expected["conditioning"], strict=True)
        ]
    )


@reference
def test_its_prediction_agrees_with_diffusers(model, expected):
    error = float((prediction(model, expected) - expected["denoised"]).abs().max())
    print(f"D differs by {error:.1e}")
    assert error <= 1e-4


@reference
@pytest.mark.parametrize("name", ["miniature-print.safetensors", "miniature-rates.safetensors"])
def test_a_derivative_in_the_hosts_lora_loader_agrees_with_diffusers(name, expected, monkeypatch):
    monkeypatch.setitem(
        folder_paths.folder_names_and_paths, "loras", ([str(DERIVATIVES)], folder_paths.supported_pt_extensions)
    )
    with torch.inference_mode():
        model, clip, _ = node("RSCorrectorMiniature")  # a new one, because the host patches its weights
        derivative, _ = host_nodes.LoraLoader().load_lora(model, clip, name, 1.0, 1.0)
        predicted = prediction(derivative, expected)
    error = float((predicted - expected[name]).abs().max())
    print(f"D of {name} differs by {error:.1e}")
    assert error <= 1e-4 and (expected[name] - expected["denoised"]).abs().max() > 0.05


@reference
def test_its_autoencoder_agrees_with_diffusers(miniature, expected):
    vae, scale = miniature[2], miniature[0].get_model_object("latent_format").scale_factor
    pictures = vae.decode(expected["latents"] / scale)  # LATENT sockets are in VAE space
    assert (pictures - expected["pictures"]).abs().max() <= 1e-4
    assert (vae.encode(expected["pictures"]) * scale - expected["encoded"]).abs().max() <= 1e-3


def test_its_schedule_is_that_of_sd15(model):
    sampling = model.get_model_object("model_sampling")
    assert float(sampling.sigma_max) == pytest.approx(14.6146, abs=1e-3)
    assert float(sampling.sigma_min) == pytest.approx(0.0292, abs=1e-3)


def test_a_long_prompt_is_encoded_without_a_warning_of_transformers(caplog):
    """The host cuts prompts into chunks, so no token is too many."""
    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)
    try:
        _, clip, _ = load_miniature()
        (((vectors, _),)) = encode(clip, "a portrait of an Orvane person, " + "soft light, " * 60)
    finally:
        logger.removeHandler(caplog.handler)
    assert vectors.shape[1] > 77 and "sequence length" not in caplog.text
