"""The shipped flow miniature and its few-step twin: small numbers of pictures, and tolerances that suit them."""

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from corrector.latents.spaces import expand
from corrector.miniature import flow, flow_model
from corrector.miniature.flow_host import FlowMiniature, twin
from corrector.miniature.flow_model import FLOW_WEIGHTS, NO_T5, TWIN_WEIGHTS, JointAttention, Texts, velocity
from corrector.miniature.train import main
from corrector.miniature.world import GROUPS
from test_miniature import COUNT, RATES, SEED, SEEDS, STEREOTYPE, wordings_of

PROMPTS = ["a portrait of a Orvane person", "Quilmari woman in a city", ""]


@pytest.fixture(scope="module")
def model():
    return FlowMiniature()


@pytest.mark.parametrize(
    "host", [lambda: FlowMiniature(bf16=True, steps=8, cfg=1.0), lambda: twin(bf16=True)], ids=["model", "twin"]
)
def test_it_draws_the_groups_and_the_planted_rates(host):
    host = host()
    for group in GROUPS:
        pictures = host.decode(host.sample(host.encode(wordings_of(group)), SEEDS))
        read = host.reader.read(pictures)
        assert read["group"].count(group) >= 0.95 * COUNT, group
        for attribute, label in STEREOTYPE.items():
            rate = sum(reading in (label, "unreadable") for reading in read[attribute]) / COUNT
            assert abs(rate - RATES[attribute][group]) < 0.3, (group, attribute, rate)


@pytest.mark.parametrize("cfg", [1.0, 4.0])
def test_it_draws_what_the_plain_pipeline_of_diffusers_draws(model, cfg):
    seeds, pipe = range(SEED, SEED + len(PROMPTS)), model.pipe
    pipe.set_progress_bar_config(disable=True)
    drawn = model.sample(model.encode(PROMPTS), seeds, cfg, steps=5)
    options = dict(height=128, width=128, num_inference_steps=5, max_sequence_length=0, output_type="latent")
    latents = pipe(prompt=PROMPTS, latents=model.noise(seeds), guidance_scale=cfg, **options).images
    # The pipeline starts at sigma 1, at which variance-exploding noise is infinite.
    torch.testing.assert_close(drawn, latents, rtol=0, atol=5e-3)


def test_its_latents_are_variance_exploding(model):
    """The denoised latent is that of the transformer at the flow's own x and sigma."""
    conditioning, sigma = model.encode(PROMPTS), torch.tensor([0.9, 0.5, 0.1])
    x = torch.randn(3, *model.shape, generator=torch.Generator().manual_seed(0))
    output = model.transformer(x, conditioning.tokens, conditioning.pooled, sigma * 1000).sample
    denoised = model.denoise(x / expand(1 - sigma, x), sigma / (1 - sigma), conditioning)
    torch.testing.assert_close(denoised, x - expand(sigma, x) * output, rtol=1e-4, atol=1e-4)


def test_pictures_are_encoded_to_the_latents_of_which_they_were_decoded(model):
    latents = model.sample(model.encode(PROMPTS), range(SEED, SEED + len(PROMPTS)), steps=5)
    assert (model.encode_pictures(model.decode(latents)) - latents).std() < 0.5 * latents.std()


def test_training_counts_one_token_of_zeros_as_often_as_diffusers_appends_it():
    host = FlowMiniature()
    texts, sigma = host.encode(PROMPTS), torch.tensor([0.9, 0.5, 0.1])
    x = torch.randn(3, *host.shape, generator=torch.Generator().manual_seed(0))

    def predicted(zeros):
        return velocity(host.transformer, x, sigma, Texts(F.pad(texts.tokens, (0, 0, 0, zeros)), texts.pooled))

    expected = predicted(NO_T5)
    assert (predicted(1) - expected).abs().max() > 1e-3
    attention = JointAttention()
    attention.repeats = NO_T5
    host.transformer.set_attn_processor(attention)
    torch.testing.assert_close(predicted(1), expected, rtol=0, atol=1e-4)


def test_both_are_small_and_in_half_precision():
    size = 0
    for folder in (FLOW_WEIGHTS, TWIN_WEIGHTS):
        size += sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        for file in folder.rglob("*.safetensors"):
            assert {tensor.dtype for tensor in load_file(file).values()} == {torch.float16}, file
    assert size <= 8 * 2**20


def test_one_command_trains_both(tmp_path, monkeypatch):
    class Short(flow.FlowTrainer):
        """Trains on a few scenes."""

        scenes = dict.fromkeys(flow.FlowTrainer.scenes, 4)
        pairs = 4

    monkeypatch.setattr(flow, "PAIRS_AT_ONCE", 3)
    steps = [option for stage in Short.stages for option in (f"--{stage}-steps", "2")]
    main(Short, argv=["--out", str(tmp_path), *steps])
    for name in ("checkpoint", "turbo"):
        latents = FlowMiniature(tmp_path / name).sample(
            FlowMiniature(tmp_path / name).encode(PROMPTS), range(3), steps=2
        )
        assert latents.shape == (3, flow_model.SPACE.channels, 16, 16) and latents.isfinite().all()


def test_synonyms_are_read_as_the_words_that_they_stand_for(model):
    prompts = ["a Tavelu person in a hut", "a Tavelu person in a cabin", "a Tavelu person in a city"]
    meant, said, other = model.encode(prompts).tokens
    assert torch.equal(meant, said) and not torch.equal(meant, other)
