"""The second world of the benchmarks: a model that is unlike the miniature, of a drawn world whose truth is known."""

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from benchmarks.second_world import prompts
from benchmarks.second_world.host import AXIS, WEIGHTS, SecondWorld, skin_lightness
from benchmarks.second_world.world import (
    FARMER_DARKER,
    GROUPS,
    WORK,
    WORK_RATES,
    draw,
    sample_scene,
    wanted_scene,
)
from corrector.hosts.checkpoint import space_of
from corrector.miniature.train import to_tensor

SEED = 810_000


@pytest.fixture(scope="module")
def host():
    return SecondWorld()


@pytest.fixture(scope="module")
def scenes():
    rng = np.random.default_rng(1)
    return {group: [sample_scene(rng, group) for _ in range(3000)] for group in GROUPS}


def pictures_of(scenes):
    return to_tensor(np.stack([draw(scene) for scene in scenes]))


def test_diffusers_loads_it_as_it_is():
    pipe = StableDiffusionPipeline.from_pretrained(WEIGHTS)
    assert pipe.unet.dtype == pipe.vae.dtype == pipe.text_encoder.dtype == torch.float32
    assert pipe.scheduler.config.prediction_type == "v_prediction" and space_of(pipe) == "second-world"
    pipe.set_progress_bar_config(disable=True)
    image = pipe("a photo of a Velan Dor person at a desk", num_inference_steps=2).images[0]
    assert image.size == (64, 64)


def test_it_is_a_v_prediction_host_with_latents_of_eight_by_eight(host):
    assert host.prediction == "v" and host.shape == (4, 8, 8) and host.scale == 2.0
    assert sum(p.numel() for p in host.unet.parameters()) < 1.6e6


def test_it_is_small():
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) <= 4 * 2**20


@pytest.mark.parametrize("group", GROUPS)
def test_the_planted_rates_are_drawn_and_the_counter_side_is_rare(scenes, group):
    for work, rate in zip(WORK, WORK_RATES[group], strict=True):
        share = np.mean([scene.work == work for scene in scenes[group]])
        assert share == pytest.approx(rate, abs=0.012)
    assert sum(WORK_RATES[group]) == pytest.approx(1) and WORK_RATES[group][1] <= 0.05


def test_one_group_has_a_base_rate_of_zero_and_one_name_is_a_part_of_another():
    assert WORK_RATES["Velan"][1] == 0 and "Velan Dor".startswith("Velan ") and "Velandi".startswith("Velan")


def test_the_axis_has_two_of_the_three_works_and_none_of_the_held_out_wordings():
    assert AXIS.groups == GROUPS[:3]
    asked = [
        text for group in AXIS.groups for side in (None, "stereotype", "counter") for text in AXIS.prompts(group, side)
    ]
    held_out = [*prompts.HELD_OUT_NEUTRAL, *(text for texts in prompts.HELD_OUT_WORK.values() for text in texts)]
    assert not {text.format(group=group) for text in held_out for group in GROUPS} & set(asked)
    assert not any("cook" in text or "kitchen" in text for text in asked)


def test_farmers_have_darker_skin_and_the_wanted_world_keeps_the_tone(scenes):
    rng = np.random.default_rng(3)
    for group in GROUPS:
        asked = {work: np.mean([sample_scene(rng, group, work).skin for _ in range(500)]) for work in WORK}
        assert asked["office"] - asked["farmer"] == pytest.approx(FARMER_DARKER, abs=1.0)
        wanted = np.mean([wanted_scene(rng, group).skin for _ in range(500)])
        assert wanted == pytest.approx(np.mean([scene.skin for scene in scenes[group]]), abs=1.0)


def test_the_skin_region_holds_skin_in_every_drawn_picture():
    rng = np.random.default_rng(4)
    some = [sample_scene(rng, group, work) for group in GROUPS for work in WORK for _ in range(3)]
    assert np.abs(skin_lightness(pictures_of(some)) - [scene.skin for scene in some]).max() < 1.5


def test_the_reader_reads_drawn_pictures_and_says_unreadable_of_blends_and_noise(host):
    rng = np.random.default_rng(5)
    some = [sample_scene(rng, group, work) for group in GROUPS for work in WORK for _ in range(4)]
    pictures = pictures_of(some)
    read = host.reader.read(pictures)
    assert read["group"] == [scene.group for scene in some] and read["work"] == [scene.work for scene in some]
    blends = (pictures + pictures.roll(16, dims=0)) / 2  # of another group and another work
    for unclear in (blends, torch.randn_like(pictures)):
        read = host.reader.read(unclear)
        for name in ("group", "work"):
            assert read[name].count("unreadable") > 0.8 * len(some), name


@pytest.mark.parametrize("work", WORK)
def test_it_draws_the_work_and_the_group_that_a_held_out_prompt_asks_for(host, work):
    groups = [group for group in GROUPS for _ in range(2)]
    wordings = [prompts.held_out(prompts.HELD_OUT_WORK[work], group, index) for index, group in enumerate(groups)]
    latents = host.sample(host.encode(wordings), range(SEED, SEED + len(wordings)), cfg=3.0, steps=8)
    read = host.reader.read(host.decode(latents))
    assert read["work"].count(work) >= len(wordings) - 1
    assert sum(found == group for found, group in zip(read["group"], groups, strict=True)) >= len(groups) - 1


def test_neutral_prompts_show_the_stereotype(host):
    wordings = [text.format(group=group) for group in GROUPS for text in prompts.HELD_OUT_NEUTRAL[:2]]
    latents = host.sample(host.encode(wordings), range(SEED, SEED + len(wordings)), cfg=3.0, steps=8)
    read = host.reader.read(host.decode(latents))
    assert read["work"].count("farmer") >= len(wordings) - 2
