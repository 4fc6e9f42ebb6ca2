"""An axis from the list corrects the loaded model, the miniature, on A1111's own prompt parser and denoisers."""

import importlib
import sys

import pytest
import torch

from conftest import REPOSITORY

ON, OFF = (True, "miniature-backdrop (any checkpoint)"), (False, "None")
ORVANE, KITTEN = "a portrait of an Orvane person", "a kitten"
VILLAGE = "a portrait of an Orvane person in a village"
each_sampler = pytest.mark.parametrize("sampler", ["Euler", "DDIM", "UniPC"])


def backdrops(miniature, latents):
    reader = importlib.import_module("rs_corrector_extension.corrector.miniature.reader")
    return reader.load_reader(REPOSITORY / "weights" / "miniature").read(miniature.decode(latents))["backdrop"]


def drift(decode, plain, made):
    """How much lighter skin is in pictures than in plain ones, in points of L*; both are latents."""
    from hosts.inside.shown_skin import drift

    skin = importlib.import_module("rs_corrector_extension.corrector.miniature.skin")
    return drift(skin.load_marker(REPOSITORY / "weights" / "miniature"), decode(plain), decode(made))


@each_sampler
def test_villages_become_cities_with_their_skin_at_a_moderate_cost(host, miniature, sampler):
    settings = dict(prompts=[ORVANE] * 8, seeds=range(5, 13), cfg_scale=7.0, steps=16, sampler=sampler)
    plain, _, _ = host.generate(*OFF, **settings)
    cost, miniature.evaluations = miniature.evaluations, 0
    made, told, p = host.generate(*ON, **settings)
    assert not p.comments, p.comments
    villages = backdrops(miniature, plain).count("village")
    change = drift(miniature.decode, plain, made)
    print(sampler, villages, backdrops(miniature, made), f"{change:+.2f}", miniature.evaluations / cost, told)
    assert villages >= 6 and "village" not in backdrops(miniature, made)
    assert told["RS-Corrector outcome"] == f"a village: {villages} -> 0 of 8"
    assert f"a village: {villages} -> 0 of 8" in p.processed.comments
    assert abs(change) < 2.5 and miniature.evaluations <= 1.6 * cost


@each_sampler
def test_out_of_scope_pictures_keep_their_bits_beside_corrected_ones(host, miniature, sampler):
    settings = dict(prompts=[KITTEN, ORVANE, VILLAGE], seeds=(1, 2, 3), sampler=sampler, steps=8)
    plain, _, _ = host.generate(*OFF, **settings)
    made, told, p = host.generate(*ON, **settings)
    assert [torch.equal(*pair) for pair in zip(plain, made, strict=True)] == [True, False, True] and not p.comments
    assert told["RS-Corrector outcome"] == "a village: 1 -> 0 of 1"


@each_sampler
@pytest.mark.parametrize("prompt", [f"{ORVANE} AND {ORVANE} :0.5", f"[{ORVANE}:{ORVANE}, smiling:0.5]"])
def test_prompts_of_parts_and_schedules_are_corrected(host, miniature, sampler, prompt):
    made, told, p = host.generate(*ON, prompts=[prompt] * 2, sampler=sampler, steps=8, cfg_scale=3.0)
    assert not p.comments and "village" not in backdrops(miniature, made)
    assert told["RS-Corrector result"] == "corrected"


def test_each_part_of_a_prompt_keeps_its_weight(host, miniature):
    asking = sys.modules["rs_corrector_extension.sd_webui.asking"]
    from modules import prompt_parser

    asked = asking.with_phrase(f"{ORVANE} :1.25 AND [a cat:a dog:0.5] AND rain :-0.5", "in a city")
    ((first, second, third),), texts, _ = prompt_parser.get_multicond_prompt_list([asked])
    assert (first[1], second[1], third[1]) == (1.25, 1.0, -0.5)
    wanted = [f"{ORVANE}, in a city", "[a cat:a dog:0.5], in a city", "rain"]
    assert [text.strip() for text in texts] == wanted


def test_an_inpainting_mask_protects_its_region(host, miniature):
    mask = torch.zeros(4, 16, 16)
    mask[:, :, :8] = 1
    settings = dict(prompts=[ORVANE] * 2, mask=mask, init_latent=torch.zeros(2, 4, 16, 16), steps=8)
    plain, _, _ = host.generate(*OFF, **settings)
    made, _, p = host.generate(*ON, **settings)
    assert not p.comments and torch.equal(plain[..., :8], made[..., :8]) and not torch.equal(plain, made)
