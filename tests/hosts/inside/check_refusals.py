"""Invalid models, preferences and settings are refused with a clear message."""

import comfy.latent_formats
import pytest
import torch
from host import NODES, correct, encode, sample, untrained
from rs_pack.corrector.correction.update import CorrectionError
from rs_pack.corrector.files.errors import RSCorrectorError
from rs_pack.corrector.gate.prompt_gate import GateError
from rs_pack.corrector.preference.networks import PreferenceError


def with_latents(model, latent_format):
    model = model.clone()
    model.add_object_patch("latent_format", latent_format)
    return model


@pytest.mark.parametrize("kind", ("SD3", "Flux", "SDXL", "SD15"))
def test_a_preference_for_another_model_is_refused_with_both_names(model, kind):
    preference = untrained("sdxl" if kind == "SD15" else "sd15")
    other = with_latents(model, getattr(comfy.latent_formats, kind)())
    with pytest.raises(PreferenceError) as refused:
        correct(other, preference)
    assert kind in str(refused.value) and f'"{preference[0].name}"' in str(refused.value)


def test_preferences_for_sd15_and_for_the_miniature_are_not_interchangeable(model, sd15, backdrop):
    with pytest.raises(PreferenceError, match="Miniature"):
        correct(model, untrained("sd15"))
    with pytest.raises(PreferenceError, match="SD15"):
        correct(sd15[0], backdrop)


@pytest.mark.parametrize("kind", ("Wan21", "LTXV", "HunyuanVideo"))
def test_video_models_are_refused_by_name(model, backdrop, kind):
    with pytest.raises(CorrectionError, match=f"{kind} latents, which are video.*Remove the"):
        correct(with_latents(model, getattr(comfy.latent_formats, kind)()), backdrop)


def test_an_unknown_latent_format_is_refused_by_name(model, backdrop):
    with pytest.raises(CorrectionError, match="SC_Prior latents; RS-Corrector supports only SD15"):
        correct(with_latents(model, comfy.latent_formats.SC_Prior()), backdrop)


def test_a_prompt_of_another_text_encoder_is_refused(model, backdrop, prompts):
    wide = [[torch.zeros(1, 77, 768), {}]]
    with pytest.raises(GateError, match=r"768 wide.*width 128"):
        sample(correct(model, backdrop), wide, prompts["empty"])


@pytest.mark.parametrize(
    ("settings", "says"),
    (
        (dict(start_percent=0.6, end_percent=0.4), "window is empty"),
        (dict(target=0.0), "target share is 0"),
        (dict(strength=-1.0), "strength is -1"),
        (dict(strength=float("nan")), "strength is nan"),
        (dict(cap=float("nan")), "cap is nan"),
    ),
)
def test_invalid_settings_are_refused(model, backdrop, settings, says):
    strength = settings.pop("strength", 1.0)
    with pytest.raises(CorrectionError, match=says):
        correct(model, backdrop, strength, **{"target": 1.0, **settings})


@pytest.mark.parametrize("name", ("a\0b.json", "../a\0.safetensors", "a" * 5000, "\ud800", ""), ids=range(5))
def test_names_that_no_file_can_have_are_refused_in_a_sentence(name, backdrop):
    for loader in ("RSCorrectorLoadPreference", "RSCorrectorLoadAxis"):
        said = NODES[loader].validate_inputs(name)
        assert "is not in models/rs_corrector" in said and len(said) <= 1000 and "\0" not in said
        assert NODES[loader].fingerprint_inputs(name) == ""
        with pytest.raises(RSCorrectorError):
            NODES[loader].execute(name)
    said = NODES["RSCorrectorSavePreference"].validate_inputs(name)
    assert "cannot name a preference file" in said and "\0" not in said
    with pytest.raises(ValueError, match="cannot name a preference file"):
        NODES["RSCorrectorSavePreference"].execute(backdrop, name)
    if name:
        texts = dict(title="title", groups="Orvane", neutral="a {group} person")
        texts |= dict(stereotype="in a village", counter="in a city")
        with pytest.raises(RSCorrectorError, match="cannot name an axis file"):
            NODES["RSCorrectorAxis"].execute(**texts, save_as=name)


def test_combining_without_preferences_is_refused():
    with pytest.raises(ValueError, match="connect one to four"):
        NODES["RSCorrectorCombinePreferences"].execute()


@pytest.mark.parametrize(
    ("prompts", "says"),
    (
        (("", "a man in a village", "a man in a city"), "group is empty"),
        (("woman", "a man in a village", "a woman in a city"), "stereotype prompt does not name"),
        (("man", "a man in a village", "A man  in a village"), "are the same"),
        (("man", "a man", "a man in a city"), "has no words that the other lacks"),
    ),
)
def test_prompts_that_make_no_axis_are_refused(clip, prompts, says):
    with pytest.raises(ValueError, match=says):
        NODES["RSCorrectorTextPreference"].execute(clip, *prompts)


def test_a_prompt_with_a_missing_embedding_is_encoded(clip):
    assert encode(clip, "embedding:missing a portrait")[0][0].isfinite().all()
