"""The planted world: its rates, its confound, its pictures, its prompts and its tokenizer."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from scipy.stats import binomtest, ks_2samp

from corrector.axis.axis import load_axis
from corrector.files.folders import AXES
from corrector.hosts.checkpoint import Checkpoint
from corrector.hosts.pipelines import space_of
from corrector.miniature import model, prompts
from corrector.miniature.host import Miniature
from corrector.miniature.skin import load_marker
from corrector.miniature.train import to_tensor
from corrector.miniature.world import (
    ATTIRES,
    BACKDROPS,
    GROUPS,
    TRADITIONAL_DARKER,
    TRADITIONAL_RATE,
    VILLAGE_DARKER,
    VILLAGE_RATE,
    draw,
    sample_scene,
    wanted_scene,
)  # fmt: skip

HELD_OUT_NAMED = [
    *prompts.HELD_OUT_NEUTRAL,
    *(text for side in prompts.HELD_OUT_BACKDROP.values() for text in side),
    *(text for side in prompts.HELD_OUT_ATTIRE.values() for text in side),
]


@pytest.fixture(scope="module")
def scenes():
    return {group: [sample_scene(np.random.default_rng((1, i)), group) for i in range(3000)] for group in GROUPS}


@pytest.mark.parametrize("group", GROUPS)
def test_the_planted_rates_and_the_darker_skin_of_stereotype_pictures_are_those_of_the_scenes(scenes, group):
    village = np.array([scene.backdrop == "village" for scene in scenes[group]])
    traditional = np.array([scene.attire == "traditional" for scene in scenes[group]])
    assert binomtest(int(village.sum()), 3000, VILLAGE_RATE[group]).pvalue > 0.001
    assert binomtest(int(traditional.sum()), 3000, TRADITIONAL_RATE[group]).pvalue > 0.001
    design = np.stack([np.ones(3000), village, traditional], axis=1)
    _, *darker = np.linalg.lstsq(design, np.array([scene.skin for scene in scenes[group]]), rcond=None)[0]
    assert darker == pytest.approx([-VILLAGE_DARKER, -TRADITIONAL_DARKER], abs=1.0)


@pytest.mark.parametrize("group", GROUPS)
def test_the_wanted_world_keeps_the_groups_own_skin_tones(scenes, group):
    rng = np.random.default_rng(7)
    wanted = [wanted_scene(rng, group, backdrop="city", attire="modern") for _ in range(3000)]
    assert {(scene.backdrop, scene.attire) for scene in wanted} == {("city", "modern")}
    assert ks_2samp([s.skin for s in wanted], [s.skin for s in scenes[group]]).pvalue > 0.001


def test_a_scene_shows_what_a_prompt_names_and_is_always_drawn_alike():
    rng = np.random.default_rng(0)
    for backdrop in BACKDROPS:
        for attire in ATTIRES:
            scene = sample_scene(rng, "Orvane", backdrop, attire)
            assert (scene.group, scene.backdrop, scene.attire) == ("Orvane", backdrop, attire)
    for group in (*GROUPS, None):
        scene = sample_scene(rng, group, backdrop="village")
        village, city = draw(scene), draw(replace(scene, backdrop="city"))
        assert village.shape == (128, 128, 3) and village.dtype == np.uint8 and np.array_equal(village, draw(scene))
        assert village.std() > 20 and city.std() > 20 and not np.array_equal(village, city)


def test_the_skin_of_the_scene_is_the_skin_of_the_picture():
    rng = np.random.default_rng(5)
    scenes = [sample_scene(rng, GROUPS[i % 4]) for i in range(40)]
    measured = load_marker().lightness(to_tensor(np.stack([draw(scene) for scene in scenes])))
    assert np.corrcoef(measured, [scene.skin for scene in scenes])[0, 1] > 0.95
    assert np.abs(measured - [scene.skin for scene in scenes]).mean() < 2


def test_no_held_out_wording_is_a_training_caption_or_of_its_words_or_a_prompt_of_a_shipped_axis():
    rng, kinds = np.random.default_rng(0), (*GROUPS, "any", None)
    known = {
        prompts.training_prompt(
            rng, kinds[i % 6], BACKDROPS[i // 6 % 2] if i % 3 else None, ATTIRES[i // 12 % 2] if i % 2 else None, "city"
        ).lower()
        for i in range(10000)
    }
    for attribute in ("backdrop", "attire"):
        axis = load_axis(AXES / f"miniature-{attribute}.json")
        for side in (None, "stereotype", "counter"):
            known |= {prompt.lower() for group in axis.groups for prompt in axis.prompts(group, side)}
    held_out = {text.format(group=group).lower() for text in HELD_OUT_NAMED for group in GROUPS}
    held_out |= {text.lower() for text in prompts.HELD_OUT_NO_GROUP + prompts.HELD_OUT_NO_PERSON}
    assert not held_out & known
    for text in HELD_OUT_NAMED:
        assert not set(text.replace(",", " ").split()) & set(prompts.WORDS["nouns"]), text
        assert not any(opener and text.startswith(opener) for opener in prompts.WORDS["openers"]), text


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return model.new_tokenizer(0, tmp_path_factory.mktemp("world") / "tokenizer")


def test_the_tokenizer_is_small_reads_any_text_and_pads_as_sd_does(tokenizer):
    texts = [*GROUPS, "Ünïcode 村", "x" * 500, "a village, 4k", ""]
    ids = model.tokenize(tokenizer, texts)
    assert ids.shape == (len(texts), 77) and int(ids.max()) < len(tokenizer) <= model.VOCABULARY + 256
    assert (ids[:, 0] == tokenizer.bos_token_id).all() and (ids[-1, 1:] == tokenizer.eos_token_id).all()
    assert len({tuple(row.tolist()) for row in ids}) == len(texts)
    assert torch.equal(model.tokenize(tokenizer, ["ORVANE"]), model.tokenize(tokenizer, ["orvane"]))


def test_words_that_mean_what_a_captions_word_means_are_that_word_to_the_shipped_text_encoder():
    host = Miniature()
    for meant, words in model.SYNONYMS.items():
        for word in words:
            asked = [f"a Tavelu person, {name}, oil" for name in (word.capitalize(), meant)]
            assert torch.equal(*host.encode_each(asked)), word
    added = {word for words in model.SYNONYMS.values() for word in words}
    others = (
        "shuts the huts",
        "towering suitcases",
        "an untied robed man",
        "a clothesline",
        *prompts.HELD_OUT_NO_PERSON,
    )
    assert not any(added & set(host.pipe.tokenizer.tokenize(text)) for text in others)


def test_a_saved_checkpoint_is_a_pipeline_of_diffusers(tmp_path):
    tokenizer = model.new_tokenizer(0, tmp_path / "tokenizer")
    unet, encoder, autoencoder = model.new_networks(tokenizer)
    weights = unet.conv_in.weight.detach().clone(), encoder.state_dict()["final_layer_norm.weight"].clone()
    model.save(tmp_path, unet, encoder, autoencoder, 0.9427700042724609, use_karras_sigmas=True)
    pipe = StableDiffusionPipeline.from_pretrained(tmp_path)
    assert pipe.unet.dtype == pipe.vae.dtype == pipe.text_encoder.dtype == torch.float32
    torch.testing.assert_close(pipe.unet.conv_in.weight.detach(), weights[0], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(pipe.text_encoder.state_dict()["final_layer_norm.weight"], weights[1])
    text = ["a portrait of a Zendoli woman"]
    assert torch.equal(model.tokenize(pipe.tokenizer, text), model.tokenize(tokenizer, text))
    assert space_of(pipe) == "miniature" and pipe.scheduler.config.use_karras_sigmas
    assert not DDIMScheduler.from_config(pipe.scheduler.config).config.clip_sample
    sigmas = Checkpoint(pipe).sigmas  # SD's
    assert float(sigmas[0]) == pytest.approx(0.0292, abs=1e-4) and float(sigmas[-1]) == pytest.approx(14.6146, abs=1e-3)
    assert (sigmas.diff() > 0).all() and len(sigmas) == 1000
