"""The flow miniature and its twin, loaded by ComfyUI as any SD3 file, agree with diffusers."""

import os

import comfy.latent_formats
import comfy.model_management
import comfy.sd
import pytest
import torch
from rs_pack.corrector.miniature.flow_model import FLOW_WEIGHTS, TWIN_WEIGHTS
from safetensors.torch import load_file

pytestmark = pytest.mark.skipif("RS_REFERENCE" not in os.environ, reason="there are no predictions of diffusers")


@pytest.mark.parametrize("folder", [FLOW_WEIGHTS, TWIN_WEIGHTS], ids=lambda folder: folder.name)
def test_its_prediction_agrees_with_diffusers(folder):
    expected = load_file(os.environ["RS_REFERENCE"])
    patcher = comfy.sd.load_diffusion_model(str(folder / "transformer" / "diffusion_pytorch_model.safetensors"))
    network = patcher.model
    assert isinstance(network.latent_format, comfy.latent_formats.SD3) and network.model_sampling.shift == 3.0
    comfy.model_management.load_models_gpu([patcher])
    network.current_patcher = patcher
    x, sigma, tokens, pooled = (expected[f"flow_{name}"] for name in ("x", "sigma", "tokens", "pooled"))
    denoised = network.apply_model(x, sigma, c_crossattn=tokens, y=pooled)
    error = float((denoised - expected[folder.name]).abs().max())
    print(f"D of {folder.name} differs by {error:.1e}")
    assert error <= 1e-4


def test_they_differ():
    expected = load_file(os.environ["RS_REFERENCE"])
    assert not torch.equal(expected[FLOW_WEIGHTS.name], expected[TWIN_WEIGHTS.name])
