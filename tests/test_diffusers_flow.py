"""`corrected(pipe, axis)` with the trained flow miniature and its few-step twin, as anybody loads SD3 in diffusers."""

from collections import Counter

import pytest
import torch
from diffusers import StableDiffusion3Pipeline

from corrector.hosts.diffusers import corrected
from corrector.miniature.flow_model import FLOW_WEIGHTS, TWIN_WEIGHTS
from corrector.miniature.model import WEIGHTS
from corrector.miniature.reader import load_reader

pytestmark = pytest.mark.usefixtures("one_thread", "no_network", "gates_in_a_folder", "no_earlier_pictures")

PORTRAIT = "a portrait of an Orvane person"
AXIS = "miniature-backdrop"
RUNS = {"turbo": dict(num_inference_steps=4, guidance_scale=1.0), "cfg 7": dict(num_inference_steps=16)}


@pytest.fixture(scope="module", params=RUNS)
def run_of(request):
    """A pipeline and the settings of its calls."""
    folder = TWIN_WEIGHTS if request.param == "turbo" else FLOW_WEIGHTS
    pipe = StableDiffusion3Pipeline.from_pretrained(folder, text_encoder_3=None, tokenizer_3=None)
    pipe.set_progress_bar_config(disable=True)
    return pipe, RUNS[request.param]


def drawn(pipe, settings, prompt=PORTRAIT, count=8, **call):
    """Pictures [N, 3, height, width] in -1..1."""
    generators = [torch.Generator().manual_seed(seed) for seed in range(count)]
    size = dict(height=128, width=128, num_images_per_prompt=count // (len(prompt) if isinstance(prompt, list) else 1))
    return pipe(prompt, output_type="pt", **size, **settings, **call, generator=generators).images.float() * 2 - 1


def backdrops(pictures):
    return Counter(load_reader(WEIGHTS).read(pictures)["backdrop"])


def test_villages_become_cities_and_the_model_says_so(run_of):
    pipe, settings = run_of
    villages = backdrops(drawn(pipe, settings))["village"]
    with corrected(pipe, AXIS) as run:
        changed = drawn(pipe, settings)
    assert villages >= 6 and backdrops(changed)["village"] == 0
    assert run.results() == [f"a village: {villages} -> 0 of 8"]
    assert run.outcomes().count("corrected") == villages


def test_each_picture_has_its_own_prompt_and_those_left_alone_keep_their_bits(run_of):
    pipe, settings = run_of
    prompts = [PORTRAIT, f"{PORTRAIT} in a village", "a cat", PORTRAIT]
    plain = drawn(pipe, settings, prompts, 4)
    with corrected(pipe, AXIS) as run:
        changed = drawn(pipe, settings, prompts, 4)
    alone = [outcome != "corrected" for outcome in run.outcomes()]
    assert [torch.equal(*pair) for pair in zip(plain, changed, strict=True)] == alone and alone[1:3] == [True, True]
    assert not alone[0] and not backdrops(changed[[0, 3]])["village"]
