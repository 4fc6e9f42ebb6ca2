"""The flow miniature and its twin, as the node loads them, agree with diffusers and are corrected."""

import os

import comfy.model_management
import pytest
import torch
from comfy_execution.graph import DynamicPrompt
from comfy_execution.progress import reset_progress_state
from host import encode, node, sample
from reference_prompts import PROMPTS
from rs_pack.nodes.audit_host import add_reader
from rs_pack.nodes.host import ComfyHost
from rs_pack.nodes.models import space_of
from safetensors.torch import load_file

NAMES = {"flow miniature": "flow-miniature", "flow miniature turbo": "flow-miniature-turbo"}
NEUTRAL = "a portrait of an Orvane person"

reference = pytest.mark.skipif("RS_REFERENCE" not in os.environ, reason="there are no predictions of diffusers")


@pytest.fixture(scope="module")
def expected():
    return load_file(os.environ["RS_REFERENCE"])


@pytest.fixture(scope="module")
def loaded():
    """{name of the model: MODEL, CLIP, VAE}."""
    with torch.inference_mode():
        return {name: node("RSCorrectorMiniature", name) for name in NAMES}


@pytest.fixture
def graph():
    """A running graph, among whose widgets the prompt is."""
    reset_progress_state("prompt", DynamicPrompt({"1": {"class_type": "CLIPTextEncode", "inputs": {"text": NEUTRAL}}}))
    yield
    reset_progress_state("", DynamicPrompt({}))


@reference
@pytest.mark.parametrize("name", NAMES)
def test_its_prediction_agrees_with_diffusers(name, loaded, expected):
    patcher = loaded[name][0]
    assert space_of(patcher) == "flow-miniature" and patcher.model.model_sampling.shift == 3.0
    comfy.model_management.load_models_gpu([patcher])
    network = patcher.model
    network.current_patcher = patcher
    x, sigma, tokens, pooled = (expected[f"flow_{name}"] for name in ("x", "sigma", "tokens", "pooled"))
    denoised = network.apply_model(x, sigma, c_crossattn=tokens, y=pooled)
    error = float((denoised - expected[NAMES[name]]).abs().max())
    print(f"D of {name} differs by {error:.1e}")
    assert error <= 1e-4


@reference
def test_its_text_encoders_agree_with_transformers(loaded, expected):
    for _, clip, _ in loaded.values():
        for index, prompt in enumerate(PROMPTS):
            (((tokens, extra),)) = encode(clip, prompt)
            assert (tokens[0] - expected["flow_tokens"][index]).abs().max() <= 1e-4, prompt
            assert (extra["pooled_output"][0] - expected["flow_pooled"][index]).abs().max() <= 1e-4, prompt


@reference
def test_its_autoencoder_agrees_with_diffusers(loaded, expected):
    for model, _, vae in loaded.values():
        latent_format = model.get_model_object("latent_format")
        pictures = vae.decode(latent_format.process_out(expected["flow_x"]))  # LATENT sockets are in VAE space
        assert (pictures - expected["flow_pictures"]).abs().max() <= 1e-3
        latents = latent_format.process_in(vae.encode(expected["flow_pictures"]))
        assert (latents - expected["flow_encoded"]).abs().max() <= 1e-3


@reference
def test_they_differ(expected):
    assert not torch.equal(*(expected[name] for name in NAMES.values()))


def test_a_saved_graph_without_the_widget_loads_the_miniature():
    with torch.inference_mode():
        assert space_of(node("RSCorrectorMiniature")[0]) == "miniature"


def test_audits_of_it_have_the_reader_as_a_judge(loaded):
    host = ComfyHost(*loaded["flow miniature"], width=128, height=128)
    add_reader(host)
    assert host.reader is not None


@pytest.mark.parametrize(
    ("name", "cfg", "steps"), [("flow miniature", 7.0, 16), ("flow miniature turbo", 1.0, 4)], ids=["model", "turbo"]
)
def test_villages_become_cities(name, cfg, steps, loaded, reader, graph):
    model, clip, vae = loaded[name]
    conditionings = encode(clip, NEUTRAL), encode(clip, "")
    with torch.inference_mode():
        corrected = node("RSCorrectorAnyCheckpoint", model, clip, "miniature-backdrop.json", 1.0, vae=vae)
    readings = []
    for each in (model, corrected):
        latents = sample(each, *conditionings, batch=8, steps=steps, cfg=cfg, scheduler="normal")
        readings.append(reader.read(vae.decode(latents).movedim(-1, 1).float() * 2 - 1))
    plain, made = readings
    assert plain["backdrop"] == ["village"] * 8 and made["backdrop"] == ["city"] * 8
    assert plain["group"] == made["group"] == ["Orvane"] * 8
