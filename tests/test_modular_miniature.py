"""RSCorrectorGuidance in a modular pipeline of the flow miniature."""

from collections import Counter

import diffusers
import pytest
import torch

from corrector.miniature.flow_model import FLOW_WEIGHTS
from corrector.miniature.model import WEIGHTS
from corrector.miniature.reader import load_reader
from tiny_modular import guided, modular, plain

pytestmark = pytest.mark.usefixtures("one_thread", "no_network", "gates_in_a_folder", "no_earlier_pictures")

PORTRAIT = "a portrait of an Orvane person"


@pytest.fixture(scope="module")
def miniature():
    pipe = diffusers.StableDiffusion3Pipeline.from_pretrained(FLOW_WEIGHTS, text_encoder_3=None, tokenizer_3=None)
    return modular(pipe)


def drawn(pipe, prompts):
    """Pictures [N, 3, height, width] in -1..1."""
    call = dict(height=128, width=128, num_inference_steps=16, output="latents", negative_prompt=[""] * len(prompts))
    generators = [torch.Generator().manual_seed(seed) for seed in range(len(prompts))]
    latents = pipe(prompt=prompts, generator=generators, **call)
    config = pipe.vae.config
    return pipe.vae.decode(latents / config.scaling_factor + config.shift_factor).sample.clamp(-1, 1).detach()


def test_villages_become_cities_and_prompts_out_of_scope_keep_their_bits(miniature):
    prompts = [PORTRAIT] * 6 + ["a cat", f"{PORTRAIT} in a village"]
    before = drawn(plain(miniature, guidance_scale=2.0), prompts)
    after = drawn(guided(miniature, "miniature-backdrop", guidance_scale=2.0), prompts)
    read = [Counter(load_reader(WEIGHTS).read(pictures[:6])["backdrop"]) for pictures in (before, after)]
    assert read[0]["village"] == 6 and read[1]["village"] == 0
    assert [torch.equal(*pair) for pair in zip(before, after, strict=True)] == [False] * 6 + [True] * 2
    assert miniature.guider.run.results() == ["a village: 6 -> 0 of 6"]
    assert "corrected 6 of" in miniature.guider.run.report()
