"""RSCorrectorGuidance in diffusers' modular pipelines: tiny ones with random weights."""

import json

import diffusers
import pytest
import torch

from corrector.axis.axis import save_axis
from corrector.correction.asked import AskedSides
from corrector.correction.update import CorrectionError
from corrector.correction.verdict import Verdict
from corrector.files.errors import RSCorrectorError
from corrector.hosts import given
from corrector.hosts.diffusers import corrected
from corrector.hosts.guider import RSCorrectorGuidance
from corrector.hosts.modular_run import MODULAR
from corrector.preference.file import save_preference
from corrector.preference.networks import Distilled
from corrector.preference.preference import Preference
from tiny_checkpoints import MASK, PICTURE, autoencoder, pipeline
from tiny_modular import guided, latents_of, modular, plain
from tiny_transformers import transformer_pipeline

pytestmark = pytest.mark.usefixtures("one_thread", "no_network", "no_earlier_pictures")

SPACES = dict(zip(MODULAR, ("sdxl", "sd3", "qwen-image", "flux"), strict=True))


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
        torch.nn.init.normal_(weight, std=0.05)
    save_preference(Preference(axis, SPACES[name], source, name="learned"), tmp_path / "learned.safetensors")
    return tmp_path / "learned.safetensors"


@pytest.fixture
def asks(axis, tmp_path, monkeypatch):
    """The file of an axis. It has no gate, as text encoders of random weights know no words."""
    monkeypatch.setattr(
        given, "asking_preference", lambda axis, source, *_: Preference(axis, "any", source, name="asks", hash="0")
    )
    return save_axis(axis, tmp_path)


def test_a_learned_preference_corrects_as_in_the_pipeline_that_is_not_modular(whole, pipe, learned):
    call = dict(prompt="a portrait", negative_prompt="a dog", height=64, width=96, num_inference_steps=4)
    scale = dict(QwenImagePipeline=dict(true_cfg_scale=4.0), ZImagePipeline=dict(guidance_scale=3.0))
    call |= scale.get(type(whole).__name__, dict(guidance_scale=4.0))
    whole.set_progress_bar_config(disable=True)

    def drawn():
        made = whole(**call, generator=torch.Generator().manual_seed(1), output_type="latent").images
        return made if made.ndim == 4 else whole._unpack_latents(made, 64, 96, whole.vae_scale_factor)[:, :, 0]

    unchanged, before = drawn(), latents_of(plain(pipe, guidance_scale=4.0))
    torch.testing.assert_close(before, unchanged, rtol=1e-3, atol=1e-2)
    with corrected(whole, learned) as run:
        reference = drawn()
    changed = latents_of(guided(pipe, learned, guidance_scale=4.0))
    assert run.outcomes() == pipe.guider.run.outcomes() == ["corrected"]
    assert (reference - unchanged).abs().max() > 0.1
    torch.testing.assert_close(changed, reference, rtol=1e-3, atol=1e-2)


@pytest.fixture
def villages(monkeypatch):
    """Models of random weights show a village."""
    monkeypatch.setattr(AskedSides, "verdict", lambda _, made, noises: Verdict(-torch.ones(len(made))))


@pytest.mark.parametrize("cfg", [1.0, 4.0])
def test_strength_zero_is_classifier_free_guidance_bit_for_bit(pipe, asks, learned, cfg):
    reference = latents_of(plain(pipe, guidance_scale=cfg))
    assert torch.equal(latents_of(guided(pipe, asks, learned, strength=0, guidance_scale=cfg)), reference)
    assert pipe.guider.run.report() == "Nothing was corrected: the strength is 0."
    pipe.update_components(guider=RSCorrectorGuidance(str(asks), strength=0, guidance_scale=cfg))
    assert torch.equal(latents_of(pipe), reference)


@pytest.mark.parametrize("cfg", [1.0, 4.0])
def test_the_model_can_be_asked_and_nothing_is_left_behind(pipe, asks, villages, cfg):
    reference = latents_of(plain(pipe, guidance_scale=cfg))
    denoiser = getattr(pipe, "unet", None) or pipe.transformer
    before = [len(hooks) for hooks in (denoiser._forward_pre_hooks, denoiser._forward_hooks)]
    changed = latents_of(guided(pipe, asks, guidance_scale=cfg))
    assert pipe.guider.run.outcomes() == ["corrected"] and pipe.guider.run.results()
    assert changed.isfinite().all() and not torch.equal(changed, reference)
    assert "step" not in vars(pipe.scheduler)
    assert [len(hooks) for hooks in (denoiser._forward_pre_hooks, denoiser._forward_hooks)] == before
    assert torch.equal(latents_of(pipe), changed)
    assert len(pipe.guider.run.outcomes()) == 1
    assert torch.equal(latents_of(plain(pipe, guidance_scale=cfg)), reference)


def test_the_model_is_asked_as_if_the_pipeline_were_given_token_vectors(asks, villages):
    whole = transformer_pipeline("StableDiffusion3Pipeline")
    names = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
    texts = dict(prompt="a portrait", prompt_2=None, prompt_3=None, negative_prompt="a dog")
    tokens = dict(zip(names, whole.encode_prompt(**texts), strict=True))
    call = dict(height=64, width=96, num_inference_steps=4, guidance_scale=4.0, output_type="latent")
    with corrected(whole, asks):
        reference = whole(**tokens, **call, generator=torch.Generator().manual_seed(1)).images
    changed = latents_of(guided(modular(whole), asks, guidance_scale=4.0))
    torch.testing.assert_close(changed, reference, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize(
    ("name", "settings", "scale"),
    [
        ("StableDiffusionXLModularPipeline", dict(guidance_scale=4.0, guidance_rescale=0.7), 4.0),
        ("StableDiffusionXLModularPipeline", dict(guidance_scale=3.0, use_original_formulation=True), 4.0),
        ("StableDiffusion3ModularPipeline", dict(guidance_scale=4.0, start=0.5), 1.0),
        ("StableDiffusion3ModularPipeline", dict(guidance_scale=4.0, enabled=False), 1.0),
    ],
    indirect=["name"],
    ids=str,
)
def test_the_scale_is_that_of_the_first_step_in_any_formulation(pipe, asks, villages, settings, scale):
    reference = latents_of(plain(pipe, **settings))
    changed = latents_of(guided(pipe, asks, **settings))
    assert pipe.guider.run._runs[0].cfg == scale and not torch.equal(changed, reference)
    assert torch.equal(latents_of(guided(pipe, asks, **settings, strength=0)), reference)


@pytest.fixture
def sd3():
    return modular(transformer_pipeline("StableDiffusion3Pipeline"))


def test_without_a_negative_prompt_sd3_is_corrected_as_without_cfg(sd3, asks, villages):
    for pipe, changed in ((plain, False), (guided, True)):
        made = [
            latents_of(pipe(sd3, *[asks] * changed, guidance_scale=scale), negative_prompt=None) for scale in (1.0, 4.0)
        ]
        torch.testing.assert_close(*made, rtol=1e-4, atol=1e-3)


def test_it_is_saved_and_loaded_as_guiders_are(sd3, asks, villages, tmp_path):
    settings = dict(guidance_scale=4.0, target=0.9, strength=1.0)
    changed = latents_of(guided(sd3, asks, **settings))
    sd3.guider.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "guider_config.json").read_text())
    assert saved["_class_name"] == "RSCorrectorGuidance" and saved["preferences"] == [str(asks)]
    assert {name: saved[name] for name in settings} == settings
    loaded = RSCorrectorGuidance.from_pretrained(tmp_path)
    assert dict(loaded.config) == dict(sd3.guider.config)
    sd3.update_components(guider=loaded)
    with pytest.raises(CorrectionError, match="does not know its pipeline"):
        latents_of(sd3)
    sd3.guider.attach(sd3)
    assert torch.equal(latents_of(sd3), changed)


def test_a_new_one_with_other_settings_keeps_its_pipeline(sd3, asks, villages):
    off = latents_of(plain(sd3, guidance_scale=4.0))
    guided(sd3, asks, guidance_scale=4.0)
    half = sd3.guider.new(strength=0.5)
    assert half.config.guidance_scale == 4.0 and half.config.preferences == [str(asks)]
    whole = latents_of(sd3)
    sd3.update_components(guider=half)
    changed = (latents_of(sd3) - off).norm(), (whole - off).norm()
    assert 0 < changed[0] < changed[1]
    sd3.update_components(guider=half.new(strength=0))
    assert torch.equal(latents_of(sd3), off)


def test_components_that_are_exchanged_later_are_used(sd3, asks, villages):
    guided(sd3, asks, guidance_scale=4.0)
    latents_of(sd3)
    sd3.update_components(scheduler=diffusers.FlowMatchHeunDiscreteScheduler(shift=2.0))
    changed = latents_of(sd3)
    assert sd3.guider.run.outcomes() == ["corrected"] and "step" not in vars(sd3.scheduler)
    assert not torch.equal(changed, latents_of(plain(sd3, guidance_scale=4.0)))


@pytest.mark.parametrize("part", ["transformer", "scheduler"])
def test_a_guider_of_another_pipeline_is_refused(sd3, asks, part):
    other = modular(transformer_pipeline("StableDiffusion3Pipeline"))
    other.update_components(**{name: each for name, each in sd3.components.items() if name != part})
    sd3.update_components(guider=RSCorrectorGuidance(str(asks)).attach(other))
    with pytest.raises(CorrectionError, match="attached to a pipeline with another denoiser or scheduler"):
        latents_of(sd3)


@pytest.mark.parametrize("more", [{}, dict(mask_image=MASK)], ids=["img2img", "inpainting"])
def test_pictures_that_start_from_a_picture(asks, villages, more):
    pipe = modular(pipeline("sdxl"))
    torch.manual_seed(1)
    pipe.update_components(vae=autoencoder(scaling_factor=0.13025).eval())
    call = dict(image=PICTURE, width=64, strength=0.7, num_inference_steps=10, **more)
    reference = latents_of(plain(pipe, guidance_scale=4.0), **call)
    changed = latents_of(guided(pipe, asks, guidance_scale=4.0), **call)
    assert pipe.guider.run.outcomes() == ["corrected"] and not torch.equal(changed, reference)
    assert torch.equal(latents_of(guided(pipe, asks, guidance_scale=4.0, strength=0), **call), reference)


def test_after_an_interruption_other_pipelines_are_left_alone(sd3, asks, villages):
    whole = transformer_pipeline("StableDiffusion3Pipeline")
    whole.scheduler = sd3.scheduler
    call = dict(prompt="a portrait", height=64, width=64, num_inference_steps=4, output_type="latent")
    reference = whole(**call, generator=torch.Generator().manual_seed(1)).images
    changed = latents_of(guided(sd3, asks, guidance_scale=4.0))
    steps = []

    def interrupt(*_):
        steps.append(1)
        if len(steps) == 3:
            raise KeyboardInterrupt

    hook = sd3.transformer.register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        latents_of(sd3)
    hook.remove()
    assert torch.equal(whole(**call, generator=torch.Generator().manual_seed(1)).images, reference)
    sd3.guider.attach(sd3)
    assert "step" not in vars(sd3.scheduler)
    assert torch.equal(latents_of(sd3), changed)


def test_half_precision_and_several_pictures_of_each_prompt(name, asks, villages):
    whole = pipeline("sdxl") if "XL" in name else transformer_pipeline(MODULAR[name])
    pipe = modular(whole.to(torch.bfloat16))
    call = dict(prompt=["a portrait", "a cat"], negative_prompt=["a dog"] * 2, num_images_per_prompt=2)
    reference = latents_of(plain(pipe, guidance_scale=4.0), **call)
    changed = latents_of(guided(pipe, asks, guidance_scale=4.0), **call)
    assert pipe.guider.run.outcomes() == ["corrected"] * 4 and changed.isfinite().all()
    assert reference.dtype == changed.dtype and not any(map(torch.equal, reference, changed))


def test_what_it_cannot_do_is_told_in_a_sentence(sd3, asks, preference, tmp_path):
    with pytest.raises(CorrectionError, match="give names of axes or paths of files"):
        RSCorrectorGuidance([preference])
    with pytest.raises(CorrectionError, match="target share is 2"):
        RSCorrectorGuidance(str(asks), target=2)
    guider = RSCorrectorGuidance(str(asks)).attach(sd3)
    assert "has made no picture with this guider yet" in guider.run.report()
    asks.unlink()
    for change in (guider.new, lambda: RSCorrectorGuidance(str(asks)).attach(sd3)):
        with pytest.raises(RSCorrectorError, match=r"test\.json"):
            change()
    flux = diffusers.FluxModularPipeline()
    with pytest.raises(CorrectionError, match="does not support the FluxModularPipeline; use one of Stable"):
        RSCorrectorGuidance("miniature-backdrop").attach(flux)
    with pytest.raises(CorrectionError, match="has no transformer and no vae and no scheduler; load it with"):
        RSCorrectorGuidance("miniature-backdrop").attach(diffusers.StableDiffusion3ModularPipeline())
    sd3.update_components(text_encoder=None, text_encoder_2=None)
    with pytest.raises(CorrectionError, match=r"no text encoder.* use a learned preference"):
        RSCorrectorGuidance("miniature-backdrop").attach(sd3)


def test_a_transformer_that_was_compiled_in_place_is_refused(sd3, asks):
    guided(sd3, asks).transformer.compile(backend="eager")
    with pytest.raises(CorrectionError, match=r"transformer was compiled in place.* torch.compile\(pipe.transformer\)"):
        latents_of(sd3)
