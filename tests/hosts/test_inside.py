"""Runs the checks in `inside/` in ComfyUI's own Python, with its real modules and without a server."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hosts.inside.reference_prompts import PROMPTS

INSIDE = Path(__file__).parent / "inside"


@pytest.fixture(scope="session")
def reference(tmp_path_factory):
    """Predictions of diffusers and transformers for the miniatures' checks; None if they are not installed."""
    torch = pytest.importorskip("torch")
    try:
        from corrector.files.folders import WEIGHTS
        from corrector.miniature.host import Miniature
    except ImportError:
        return None
    from safetensors.torch import save_file

    miniature, generator = Miniature(), torch.Generator().manual_seed(1)
    conditioning = miniature.encode(PROMPTS)
    sigma = torch.tensor([14.6, 3.0, 0.5, 0.05])
    noise = torch.randn(4, 4, 16, 16, generator=generator)
    x = noise * (1 + sigma.square()).sqrt().view(-1, 1, 1, 1)
    pictures = (miniature.decode(noise).permute(0, 2, 3, 1) + 1) / 2
    with torch.no_grad():
        encoded = (
            miniature.autoencoder.encode(pictures.permute(0, 3, 1, 2) * 2 - 1).latents
            * miniature.autoencoder.config.scaling_factor
        )
    seeds = torch.tensor([11, 12, 13, 14])
    tensors: dict[str, Any] = dict(
        conditioning=conditioning, sigma=sigma, x=x, denoised=miniature.denoise(x, sigma, conditioning),
        latents=noise, pictures=pictures, encoded=encoded,
        seeds=seeds, sampled=miniature.sample(conditioning, seeds.tolist(), cfg=2.0, steps=4),
    )  # fmt: skip
    for lora in sorted((WEIGHTS / "miniature-derivatives").glob("*.safetensors")):
        tensors[lora.name] = Miniature(lora=lora).denoise(x, sigma, conditioning)
    tensors |= flow_predictions(sigma / (1 + sigma), torch.randn(4, 16, 16, 16, generator=generator))
    path = tmp_path_factory.mktemp("reference") / "reference.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return path


def flow_predictions(sigma, x):
    """Denoised latents of the flow miniatures at flow sigmas [B] and x [B, C, H, W], and what they were given."""
    from corrector.miniature.flow_host import FlowMiniature, twin

    model, scale = FlowMiniature(), (1 - sigma).view(-1, 1, 1, 1)
    texts = model.encode(PROMPTS)
    tensors = dict(flow_x=x, flow_sigma=sigma, flow_tokens=texts.tokens, flow_pooled=texts.pooled)
    for host in (model, twin()):
        tensors[host.folder.name] = host.denoise(x / scale, sigma / (1 - sigma), texts)
    pictures = model.decode(x)
    shown = dict(flow_pictures=(pictures.permute(0, 2, 3, 1) + 1) / 2, flow_encoded=model.encode_pictures(pictures))
    return tensors | shown


def test_all_checks_pass_inside_the_host(comfyui, host_python, reference):
    environment = {**os.environ, "COMFYUI_PATH": str(comfyui), "HF_HUB_OFFLINE": "1"}
    if reference:
        environment["RS_REFERENCE"] = str(reference)
    command = [host_python, "-m", "pytest", "-c", INSIDE / "pytest.ini", "-q", "-p", "no:cacheprovider", INSIDE]
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True)
    if "No module named pytest" in done.stderr:
        pytest.skip(f"The environment of {comfyui} has no pytest: install it there to run these checks.")
    print(done.stdout[-20000:])
    assert done.returncode == 0, "checks failed inside the host; see the report above"
