"""An axis from the list corrects the loaded model, which is the miniature inside Forge."""

import importlib
import sys

import pytest
import torch

from conftest import REPOSITORY, miniature_model, switch_to

ON, OFF = (True, "miniature-backdrop (any checkpoint)"), (False, "None")
ORVANE, KITTEN = "a portrait of an Orvane person", "a kitten"
VILLAGE = "a portrait of an Orvane person in a village"
CFG7 = dict(steps=16, cfg_scale=7.0)


@pytest.fixture(scope="module")
def model(sd_model):
    """Forge with the miniature loaded."""
    model = switch_to(miniature_model())
    yield model
    switch_to(sd_model)


@pytest.fixture(scope="module")
def backdrops(model):
    """-> a function: latents -> what the miniature's reader sees behind the person."""
    reader = importlib.import_module("rs_corrector_extension.corrector.miniature.reader")
    network = reader.load_reader(REPOSITORY / "weights" / "miniature")
    return lambda latents: network.read(model.miniature.decode(latents))["backdrop"]


def drift(decode, plain, made):
    """How much lighter skin is in pictures than in plain ones, in points of L*; both are latents."""
    from hosts.inside.shown_skin import drift

    skin = importlib.import_module("rs_corrector_extension.corrector.miniature.skin")
    return drift(skin.load_marker(REPOSITORY / "weights" / "miniature"), decode(plain), decode(made))


@pytest.mark.parametrize("sampler", ["Euler", "DPM++ 2M", "DDIM"])
def test_villages_become_cities_with_their_skin_at_a_moderate_cost(generate, model, backdrops, sampler):
    settings = dict(prompt=ORVANE, batch_size=8, sampler_name=sampler, **CFG7)
    model.miniature.evaluations = 0
    plain, _, _, _ = generate(*OFF, **settings)
    cost, model.miniature.evaluations = model.miniature.evaluations, 0
    made, texts, _, processed = generate(*ON, **settings)
    villages = backdrops(plain).count("village")
    change = drift(model.miniature.decode, plain, made)
    print(sampler, villages, backdrops(made), f"{change:+.2f}", model.miniature.evaluations / cost, texts[0])
    assert villages >= 6 and backdrops(made).count("village") == 0
    assert f'RS-Corrector outcome: "a village: {villages} -> 0 of 8"' in texts[0]
    assert f"a village: {villages} -> 0 of 8" in processed.comments
    assert abs(change) < 2.5 and model.miniature.evaluations <= 1.6 * cost


@pytest.mark.parametrize("prompt", [KITTEN, VILLAGE])
def test_out_of_scope_pictures_keep_their_bits_and_nothing_is_asked(generate, model, prompt):
    plain, _, _, _ = generate(*OFF, prompt=prompt)
    model.miniature.evaluations = 0
    same, texts, _, _ = generate(*ON, prompt=prompt)
    assert torch.equal(plain, same) and "RS-Corrector outcome" not in texts[0]
    assert model.miniature.evaluations == 8


@pytest.mark.parametrize("prompt", [f"{ORVANE} AND {ORVANE} :0.5", f"[{ORVANE}:{ORVANE}, smiling:0.5]"])
def test_prompts_of_parts_and_schedules_are_corrected(generate, backdrops, prompt):
    made, texts, p, _ = generate(*ON, prompt=prompt, batch_size=2, steps=8, cfg_scale=3.0)
    assert not p.comments and "village" not in backdrops(made) and "RS-Corrector result: corrected" in texts[0]


def test_a_hires_pass_is_judged_at_its_end(generate):
    hires = dict(enable_hr=True, hr_scale=2, hr_upscaler="Latent", denoising_strength=0.6, hr_second_pass_steps=8)
    hires |= dict(hr_additional_modules=["Use same choices"], hr_cfg=3.0)
    _, texts, p, _ = generate(*ON, prompt=ORVANE, steps=8, cfg_scale=3.0, **hires)
    assert not p.comments and 'RS-Corrector outcome: "a village: 1 -> 0 of 1"' in texts[0]


def test_img2img_and_inpainting_are_corrected_outside_what_is_preserved(generate):
    from PIL import Image

    init, mask = Image.effect_noise((128, 128), 80).convert("RGB"), Image.new("L", (128, 128), 0)
    mask.paste(255, (64, 0, 128, 128))
    settings = dict(prompt=ORVANE, init=init, mask=mask, denoising_strength=0.9, mask_blur=0, inpainting_fill=1)
    plain, _, _, _ = generate(*OFF, **settings, steps=8)
    made, _, p, _ = generate(*ON, **settings, steps=8)
    assert not p.comments and torch.equal(plain[..., :8], made[..., :8])


def test_nothing_is_left_on_the_model(generate, model):
    generate(*ON, prompt=ORVANE)
    assert not model.forge_objects.unet.model_options.get("sampler_post_cfg_function")


def test_sdxls_texts_have_their_pooled_vectors_replaced_in_the_hosts_own_form(model):
    from modules.prompt_parser import DictWithShape

    asking = sys.modules["rs_corrector_extension.sd_webui.asking"]
    own = DictWithShape({"crossattn": torch.zeros(2, 77, 4), "vector": torch.zeros(2, 6)})
    changed = asking._changed(own, lambda name, tensor: tensor + 1)
    assert type(changed) is DictWithShape and changed.shape == (2, 77, 4) and changed["vector"].mean() == 1
    assert torch.equal(changed.advanced_indexing([1])["vector"], torch.ones(1, 6)) and not own["vector"].any()
