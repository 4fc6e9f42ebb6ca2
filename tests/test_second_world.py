"""The second world of the benchmarks: a model that is unlike the miniature, of a drawn world whose truth is known."""

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from benchmarks.second_world import prompts
from benchmarks.second_world.host import WEIGHTS, SecondWorld, skin_lightness
from benchmarks.second_world.world import FARMER_DARKER, GROUPS, WORK, WORK_RATES, draw, sample_scene, wanted_scene
from corrector.hosts.checkpoint import space_of
from corrector.miniature.prompts import held_out
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


def test_diffusers_loads_it_as_a_small_v_prediction_model_with_latents_of_eight_by_eight(host):
    pipe = StableDiffusionPipeline.from_pretrained(WEIGHTS)
    assert pipe.unet.dtype == pipe.vae.dtype == pipe.text_encoder.dtype == torch.float32
    assert pipe.scheduler.config.prediction_type == "v_prediction" and space_of(pipe) == "second-world"
    pipe.set_progress_bar_config(disable=True)
    assert pipe("a photo of a Velan Dor person at a desk", num_inference_steps=2).images[0].size == (64, 64)
    assert host.prediction == "v" and host.shape == (4, 8, 8) and host.scale == 2.0
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) <= 4 * 2**20


def test_the_planted_rates_are_drawn_the_counter_side_is_rare_and_one_name_is_a_part_of_another(scenes):
    for group in GROUPS:
        shares = [np.mean([scene.work == work for scene in scenes[group]]) for work in WORK]
        assert shares == pytest.approx(WORK_RATES[group], abs=0.012) and WORK_RATES[group][1] <= 0.05
    assert WORK_RATES["Velan"][1] == 0 and "Velan Dor".startswith("Velan ") and "Velandi".startswith("Velan")


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


@pytest.mark.parametrize("work", [*WORK, None])
def test_it_draws_the_work_and_the_group_that_a_held_out_prompt_asks_for_or_the_stereotype(host, work):
    groups, texts = [group for group in GROUPS for _ in range(2)], prompts.HELD_OUT_WORK.get(work)
    wordings = [held_out(texts or prompts.HELD_OUT_NEUTRAL, group, index) for index, group in enumerate(groups)]
    latents = host.sample(host.encode(wordings), range(SEED, SEED + len(wordings)), cfg=3.0, steps=8)
    read = host.reader.read(host.decode(latents))
    assert read["work"].count(work or "farmer") >= len(wordings) - (1 if work else 2)
    assert sum(found == group for found, group in zip(read["group"], groups, strict=True)) >= len(groups) - 1
