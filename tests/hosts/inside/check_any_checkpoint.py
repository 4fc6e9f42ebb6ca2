"""RS-Corrector (any checkpoint): one node, no learning."""

import pytest
import torch
from comfy_execution.graph import DynamicPrompt
from comfy_execution.progress import reset_progress_state
from host import encode, node, sample

AXIS = "miniature-backdrop.json"
NEUTRAL = "a portrait of an Orvane person"


@pytest.fixture(autouse=True)
def graph():
    """A running graph, among whose widgets the prompt is."""
    reset_progress_state("prompt", DynamicPrompt({"1": {"class_type": "CLIPTextEncode", "inputs": {"text": NEUTRAL}}}))
    yield
    reset_progress_state("", DynamicPrompt({}))


def corrected(model, clip, strength=1.0, axis=AXIS, **phrases):
    with torch.inference_mode():
        return node("RSCorrectorAnyCheckpoint", model, clip, axis, strength, **phrases)


def sides(reader, vae, latents):
    pictures = vae.decode(latents).movedim(-1, 1) * 2 - 1
    return reader.read(pictures.float())["backdrop"]


@pytest.fixture(scope="module")
def plain(model, clip):
    return sample(model, encode(clip, NEUTRAL), encode(clip, ""), batch=4, steps=12)


def test_villages_become_cities(model, clip, vae, reader, plain):
    made = sample(corrected(model, clip), encode(clip, NEUTRAL), encode(clip, ""), batch=4, steps=12)
    assert sides(reader, vae, plain).count("village") >= 3
    assert sides(reader, vae, made) == ["city"] * 4


def test_two_phrases_do_as_well_as_an_axis(model, clip, vae, reader):
    phrases = {"stereotype": "an Orvane person in a village", "counter": "an Orvane person in a city"}
    made = sample(corrected(model, clip, **phrases), encode(clip, NEUTRAL), encode(clip, ""), batch=4, steps=12)
    assert sides(reader, vae, made) == ["city"] * 4


def test_strength_zero_and_other_prompts_are_bit_identical(model, clip, plain):
    empty = encode(clip, "")
    off = sample(corrected(model, clip, strength=0.0), encode(clip, NEUTRAL), empty, batch=4, steps=12)
    assert torch.equal(off, plain)
    for prompt in ("a cat", "a portrait of an Orvane person in a village", "a portrait of a Zendoli person"):
        conditioning = encode(clip, prompt)
        images = [sample(each, conditioning, empty, steps=3) for each in (model, corrected(model, clip))]
        assert torch.equal(*images), prompt


def test_pictures_that_are_fine_keep_their_bits_beside_corrected_ones(model, clip, vae, reader):
    prompt, empty = "a portrait of a Tavelu person", encode(clip, "")
    reset_progress_state("prompt", DynamicPrompt({"1": {"class_type": "CLIPTextEncode", "inputs": {"text": prompt}}}))
    runs = [sample(each, encode(clip, prompt), empty, batch=8, steps=12) for each in (model, corrected(model, clip))]
    before, after = (sides(reader, vae, latents) for latents in runs)
    assert 0 < before.count("city") < 8 and after == ["city"] * 8
    kept = [torch.equal(*pair) for pair in zip(*runs, strict=True)]
    assert kept == [side == "city" for side in before]


@pytest.mark.parametrize("sampler", ("euler_ancestral", "lcm"))
def test_where_the_sampler_adds_noise_no_village_is_left(model, clip, vae, reader, sampler):
    """Whether pictures are fine is asked again there, between two evaluations of the host."""
    prompt, empty = "a portrait of a Tavelu person", encode(clip, "")
    reset_progress_state("prompt", DynamicPrompt({"1": {"class_type": "CLIPTextEncode", "inputs": {"text": prompt}}}))
    runs = [
        sample(each, encode(clip, prompt), empty, batch=8, steps=10, sampler=sampler)
        for each in (model, corrected(model, clip))
    ]
    before, after = (sides(reader, vae, latents) for latents in runs)
    assert before.count("village") > 0 and after == ["city"] * 8


def test_what_an_inpainting_mask_protects_stays(model, clip, plain):
    latent = {"samples": plain, "noise_mask": torch.zeros(4, 1, 128, 128)}
    latent["noise_mask"][..., :40] = 1
    runs = [
        sample(each, encode(clip, NEUTRAL), encode(clip, ""), steps=8, latent=latent)
        for each in (model, corrected(model, clip))
    ]
    assert torch.equal(runs[0][..., 5:], runs[1][..., 5:]) and not torch.equal(*runs)


@pytest.mark.parametrize("steps", (16, 30))
def test_a_run_costs_at_most_sixty_per_cent_more_evaluations(model, clip, steps):
    evaluations = []

    def count(apply, options):
        evaluations.append(len(options["input"]))
        return apply(options["input"], options["timestep"], **options["c"])

    counts = []
    for candidate in (model.clone(), corrected(model, clip)):
        evaluations.clear()
        candidate.set_model_unet_function_wrapper(count)
        sample(candidate, encode(clip, NEUTRAL), encode(clip, ""), steps=steps, batch=1)
        counts.append(sum(evaluations))
    assert counts[0] == 2 * steps and counts[1] <= 1.6 * counts[0], counts


def test_a_prompt_that_is_in_no_widget_gets_the_phrase_behind_its_tokens(model, clip):
    """As where other nodes compute it: the host joins prompts in the same way."""
    reset_progress_state("prompt", DynamicPrompt({}))
    made = sample(corrected(model, clip), encode(clip, NEUTRAL), encode(clip, ""), batch=1, steps=3)
    assert made.isfinite().all()
