"""RSCorrectorGuidance in diffusers' modular pipelines: tiny ones with random weights, and the flow miniature."""

import json
from collections import Counter

import diffusers
import pytest
import torch
from diffusers.guiders import ClassifierFreeGuidance

from corrector.correction.asked import AskedSides
from corrector.correction.update import CorrectionError
from corrector.correction.verdict import Verdict
from corrector.files.errors import RSCorrectorError
from corrector.hosts.diffusers import corrected
from corrector.hosts.guider import RSCorrectorGuidance
from corrector.hosts.modular_run import MODULAR
from corrector.miniature.flow_model import FLOW_WEIGHTS
from corrector.miniature.model import WEIGHTS
from corrector.miniature.reader import load_reader
from corrector.preference.file import save_preference
from corrector.preference.networks import Distilled
from corrector.preference.preference import Preference
from corrector.preference.text import Text
from tiny_checkpoints import pipeline
from tiny_transformers import transformer_pipeline

pytestmark = pytest.mark.usefixtures("one_thread", "no_network", "gates_in_a_folder", "no_earlier_pictures")

SPACES = dict(zip(MODULAR, ("sdxl", "sd3", "qwen-image", "flux"), strict=True))
PORTRAIT = "a portrait of an Orvane person"


def modular(pipe):
    """The modular pipeline of a pipeline's components, which ends with latents."""
    kind = getattr(diffusers, type(pipe).__name__.replace("Pipeline", "ModularPipeline"))
    blocks = getattr(diffusers, kind.default_blocks_name)()
    blocks.sub_blocks.pop("decode")
    made = blocks.init_pipeline()
    made.update_components(**{name: part for name, part in pipe.components.items() if name in made.component_names})
    made.set_progress_bar_config(disable=True)
    return made


def guided(pipe, *preferences, **settings):
    """The pipeline with an RSCorrectorGuidance."""
    guider = RSCorrectorGuidance(preferences, **settings).attach(pipe)
    pipe.update_components(guider=guider)
    return pipe


def plain(pipe, **settings):
    """The pipeline with a ClassifierFreeGuidance."""
    pipe.update_components(guider=ClassifierFreeGuidance(**settings))
    return pipe


def latents_of(pipe, **call):
    """Latents [B, C, H, W]."""
    settings = dict(prompt=["a portrait"], negative_prompt=["a dog"], height=64, width=64, num_inference_steps=4)
    made = pipe(**settings | call, generator=torch.Generator().manual_seed(1), output="latents")
    return made[:, :, 0] if made.ndim == 5 else made


@pytest.fixture(params=MODULAR)
def name(request):
    return request.param


@pytest.fixture
def whole(name):
    """The pipeline of the same components that is not modular."""
    return pipeline("sdxl") if "XL" in name else transformer_pipeline(MODULAR[name])


@pytest.fixture
def pipe(whole):
    return modular(whole)


@pytest.fixture
def learned(axis, name, tmp_path):
    """The file of a preference with a network of random weights."""
    torch.manual_seed(0)
    source = Distilled(space=SPACES[name], groups=2, width=16, blocks=1).eval().requires_grad_(False)
    for weight in source.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    save_preference(Preference(axis, SPACES[name], source, name="learned"), tmp_path / "learned.safetensors")
    return tmp_path / "learned.safetensors"


@pytest.fixture
def asks(axis, tmp_path):
    """The file of a preference that asks the model."""
    save_preference(Preference(axis, "any", Text(), name="asks"), tmp_path / "asks.safetensors")
    return tmp_path / "asks.safetensors"


def test_a_learned_preference_corrects_as_in_the_pipeline_that_is_not_modular(whole, pipe, learned):
    call = dict(prompt="a portrait", negative_prompt="a dog", height=64, width=64, num_inference_steps=4)
    scale = dict(QwenImagePipeline=dict(true_cfg_scale=4.0), ZImagePipeline=dict(guidance_scale=3.0))
    call |= scale.get(type(whole).__name__, dict(guidance_scale=4.0))
    whole.set_progress_bar_config(disable=True)

    def drawn():
        made = whole(**call, generator=torch.Generator().manual_seed(1), output_type="latent").images
        return made if made.ndim == 4 else whole._unpack_latents(made, 64, 64, whole.vae_scale_factor)[:, :, 0]

    unchanged, before = drawn(), latents_of(plain(pipe, guidance_scale=4.0))
    torch.testing.assert_close(before, unchanged, rtol=1e-4, atol=1e-3)
    with corrected(whole, learned) as run:
        wanted = drawn()
    changed = latents_of(guided(pipe, learned, guidance_scale=4.0))
    assert run.outcomes() == pipe.guider.run.outcomes() == ["corrected"]
    print((wanted - unchanged).abs().max(), (changed - wanted).abs().max())
    assert (wanted - unchanged).abs().max() > 0.1
    torch.testing.assert_close(changed, wanted, rtol=1e-3, atol=1e-2)
