"""Invalid models, preferences and settings are refused with a clear message."""

import comfy.latent_formats
import comfy.supported_models
import pytest
import torch
from comfy_extras import nodes_model_advanced
from families import FAMILIES, text_of
from host import NODES, correct, encode, sample, untrained
from rs_pack.corrector.correction.update import CorrectionError
from rs_pack.corrector.files.errors import RSCorrectorError
from rs_pack.corrector.gate.prompt_gate import GateError
from rs_pack.corrector.preference.networks import PreferenceError
from rs_pack.nodes.models import check_model, name_of


def with_latents(model, latent_format):
    model = model.clone()
    model.add_object_patch("latent_format", latent_format)
    return model


TITLES = {"SD15": "SD1.5 and SD2.x", "SDXL": "SDXL"}


@pytest.mark.parametrize("kind", TITLES)
def test_a_preference_for_another_model_is_refused_with_both_names(model, kind):
    made_for = "SDXL" if kind == "SD15" else "SD15"
    preference = untrained(made_for.lower())
    other = with_latents(model, getattr(comfy.latent_formats, kind)())
    with pytest.raises(PreferenceError) as refused:
        correct(other, preference)
    name = preference[0].name
    assert f'"{name}" was made for {TITLES[made_for]}, and the model has the latents of {TITLES[kind]}' in str(
        refused.value
    )


def test_preferences_for_sd15_and_for_the_miniature_are_not_interchangeable(model, sd15, backdrop):
    with pytest.raises(PreferenceError, match=r"for SD1.5 and SD2.x, and the model has the latents of the miniature"):
        correct(model, untrained("sd15"))
    with pytest.raises(PreferenceError, match=r"for the miniature, and the model has the latents of SD1.5 and SD2.x"):
        correct(sd15[0], backdrop)


def of_kind(model, kind, monkeypatch):
    """A model that has the configuration and the latents of a class of comfy.supported_models, and its sampling."""
    supported = getattr(comfy.supported_models, kind, None)
    if supported is None:
        pytest.skip(f"this version of ComfyUI has no {kind}")
    monkeypatch.setattr(model.model, "model_config", supported({"hidden_size": 128}))
    return with_latents(model, model.model.model_config.latent_format)


VIDEOS = {
    "LTXAV": "LTX-2", "SVD_img2vid": "Stable Video Diffusion", "SV3D_p": "Stable Video 3D", "SeedVR2": "SeedVR2",
    "MiniMaxH3": "MiniMax H3",
}  # fmt: skip


@pytest.mark.parametrize("kind", VIDEOS)
def test_models_that_only_make_videos_are_refused_by_the_names_that_people_know(model, backdrop, kind, monkeypatch):
    """Also those with the latents of SD1.5."""
    with pytest.raises(
        CorrectionError, match=f"^{VIDEOS[kind]} makes videos, and .* only corrects pictures. Remove the"
    ):
        correct(of_kind(model, kind, monkeypatch), backdrop)


@pytest.mark.parametrize("kind", ("WAN21_T2V", "HunyuanVideo", "CosmosT2V", "Kandinsky5", "QwenImage"))
def test_models_whose_latents_have_frames_are_not_refused_by_their_class(model, kind, monkeypatch):
    """They draw a picture if they are asked for one frame."""
    check_model(of_kind(model, kind, monkeypatch), ())


@pytest.mark.parametrize(
    "preference", (untrained("qwen-image"), text_of(FAMILIES["Qwen-Image"])), ids=("learned", "text")
)
def test_a_run_of_several_frames_is_refused_as_a_video_with_their_number(preference):
    family = FAMILIES["Qwen-Image"]
    latent = {"samples": torch.zeros(1, 16, 3, 16, 16)}
    conds = family.encode("a person"), family.encode("")
    with pytest.raises(CorrectionError, match=r"^This is a video of 3 latent frames, and .* only corrects pictures"):
        sample(correct(family.model(), preference), *conds, latent=latent, scheduler="simple")


def test_models_that_make_no_pictures_are_refused(model, backdrop, monkeypatch):
    sound = {"ACEStep": "ACE-Step", "StableAudio": "Stable Audio", "MiniMaxMusic3": "MiniMax Music 3"}
    solids = {"Hunyuan3Dv2": "Hunyuan3D", "Trellis2": "TRELLIS.2", "TripoSplat": "TripoSplat"}
    for kind, name in (sound | solids).items():
        with pytest.raises(
            CorrectionError, match=f"^{name} makes no pictures, and RS-Corrector only corrects pictures"
        ):
            correct(of_kind(model, kind, monkeypatch), backdrop)


def test_every_video_model_of_the_host_has_a_name(model, monkeypatch):
    """A latent with frames is of a video model or, as Qwen-Image's, of one that draws pictures."""
    for kind in comfy.supported_models.models:
        if kind.latent_format.latent_dimensions == 3:
            assert name_of(of_kind(model, kind.__name__, monkeypatch), "") != "", kind


@pytest.mark.parametrize(
    ("kind", "name"),
    (("ZImage", "Z-Image"), ("Chroma", "Chroma"), ("PixArtAlpha", "PixArt-α"), ("Stable_Cascade_C", "Stable Cascade")),
)
def test_models_are_named_where_a_preference_does_not_fit(model, backdrop, kind, name, monkeypatch):
    other = of_kind(model, kind, monkeypatch)
    check_model(other, ())
    with pytest.raises(PreferenceError, match=f"was made for the miniature, and {name} has"):
        correct(other, backdrop)


def test_auraflow_which_has_the_latents_of_sdxl_refuses_a_preference_for_sdxl_by_name():
    says = "was made for SDXL, and AuraFlow has the latents of AuraFlow; use .*, or RS-Corrector .any checkpoint."
    with pytest.raises(PreferenceError, match=says):
        correct(FAMILIES["AuraFlow"].model(), untrained("sdxl"))


def test_a_preference_for_another_prediction_is_refused_as_read_from_the_sampling_that_a_node_replaced(sd15):
    (flow,) = nodes_model_advanced.ModelSamplingSD3().patch(sd15[0], 3.0)
    correct(sd15[0], untrained("sd15"))
    with pytest.raises(PreferenceError, match=r"was made for SD1.5 and SD2.x, and the model has other latents"):
        correct(flow, untrained("sd15"))
    as_flux = with_latents(sd15[0], comfy.latent_formats.Flux())
    with pytest.raises(PreferenceError, match=r"was made for Flux.1, and the model has other latents"):
        correct(as_flux, untrained("flux"))


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
