"""ComfyHost agrees with the miniature in diffusers, and works with other models."""

import os
from itertools import pairwise
from pathlib import Path

import comfy.sample
import comfy.samplers
import host_extras
import pytest
import torch
from host import weights_hash
from reference_prompts import PROMPTS
from rs_pack.nodes.host import ComfyHost, ComfyPrompts
from rs_pack.nodes.miniature import load_miniature
from safetensors.torch import load_file

REFERENCE = os.environ.get("RS_REFERENCE")
LONG = "a portrait of an Orvane person in a village, " + "soft light, " * 40  # two chunks of 77 tokens


def host_of(models, **options):
    return ComfyHost(*models, **{**dict(width=128, height=128, batch=4, steps=4), **options})


@pytest.fixture(scope="module")
def host(miniature):
    return host_of(miniature)


@pytest.fixture(scope="module")
def expected():
    if not REFERENCE or not Path(REFERENCE).is_file():
        pytest.skip("there are no predictions of diffusers; run tests/hosts/test_inside.py")
    return load_file(REFERENCE)


def test_it_encodes_predicts_samples_and_decodes_as_the_miniature_in_diffusers(host, expected):
    conditioning = host.encode(PROMPTS)
    assert (conditioning.tokens - expected["conditioning"]).abs().max() <= 1e-4
    predicted = host.denoise(expected["x"], expected["sigma"], conditioning)
    assert (predicted - expected["denoised"]).abs().max() <= 1e-4
    sampled = host.sample(conditioning, expected["seeds"].tolist(), cfg=2.0, steps=4)
    error = float((sampled - expected["sampled"]).abs().max())
    print(f"pictures differ by {error:.1e}")
    assert error <= 1e-4
    pictures = host.decode(expected["latents"])
    assert (pictures - (expected["pictures"].movedim(-1, 1) * 2 - 1)).abs().max() <= 1e-3


def test_many_texts_are_encoded_together_and_each_is_as_alone(host):
    texts = [*PROMPTS, LONG, "(a red hat:1.3), [a lamp]"] * 3
    found = list(host.encode_each(texts))
    alone = [host.encode([text]).tokens[0] for text in texts[:6]]
    assert len(found) == len(texts) and len(alone[4]) == 2 * len(alone[0])
    for vectors, wanted in zip(found, alone * 3, strict=True):
        assert vectors.shape == wanted.shape and vectors.dtype == torch.float32
        assert (vectors - wanted).std() < 0.02 * wanted.std()  # in bfloat16, if this machine's CPU computes in it


@pytest.mark.parametrize("cfg", (1.0, 3.0))
def test_its_samples_agree_with_eulers_method(host, cfg):
    """Euler's method on its predictions, with the host's schedule."""
    conditioning, empty, seeds = host.encode(PROMPTS[:2]), host.encode([""]), (5, 6)
    sampling = host.model.get_model_object("model_sampling")
    sigmas = comfy.samplers.calculate_sigmas(sampling, "karras", 3)
    noise = torch.stack([torch.randn(host.shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
    x = noise * (sigmas[0].square() + 1).sqrt()
    for sigma, following in pairwise(sigmas):
        wanted, plain = (host.denoise(x, sigma.expand(2), which) for which in (conditioning, empty))
        denoised = plain + cfg * (wanted - plain)
        x = denoised + following / sigma * (x - denoised)
    assert (host.sample(conditioning, seeds, cfg=cfg, steps=3) - x).abs().max() <= 1e-4


def test_different_prompts_in_one_batch_are_independent(host):
    texts, seeds = (*PROMPTS[:2], LONG, PROMPTS[3]), (1, 2, 3, 4)
    conditioning = host.encode(texts)
    together = host.sample(conditioning, seeds)
    alone = torch.cat([host.sample(host.encode([text]), [seed]) for text, seed in zip(texts, seeds, strict=True)])
    assert (together - alone).abs().max() <= 1e-4
    sigma = torch.tensor([14.0, 3.0, 0.5, 0.05])
    predicted = host.denoise(together, sigma, conditioning)
    for i, text in enumerate(texts):
        one = host.denoise(together[i : i + 1], sigma[i : i + 1], host.encode([text]))
        assert (predicted[i : i + 1] - one).abs().max() <= 1e-4


def test_a_seed_gives_the_same_picture_in_a_batch_of_any_size(host, miniature):
    conditioning, seeds = host.encode([PROMPTS[0]]), (3, 1, 4, 1, 5)
    first = host.sample(conditioning, seeds)
    assert torch.equal(first, host.sample(conditioning, seeds))
    smaller = host_of(miniature, batch=2)
    assert (first - smaller.sample(conditioning, seeds)).abs().max() <= 1e-4
    assert (first[1] - first[3]).abs().max() <= 1e-4 and not torch.allclose(first[0], first[1], atol=1e-2)


def test_ksampler_makes_the_same_picture_of_a_seed(host, model, prompts):
    """So users can reproduce a picture of a pair."""
    from host import sample

    own = host.sample(host.encode(["a portrait of a Tavelu person"]), [7])
    theirs = sample(model, prompts["person"], prompts["empty"], seed=7, batch=1)
    assert (own - host.latent_format.process_in(theirs)).abs().max() <= 1e-5


def test_pictures_need_not_be_square(miniature):
    host = host_of(miniature, width=192, height=64)
    latents = host.sample(host.encode(PROMPTS[:1]), [1, 2])
    assert host.shape == (4, 8, 24) and latents.shape == (2, 4, 8, 24) and latents.isfinite().all()
    for decoding in (host, host_of(miniature[:2], width=192, height=64)):  # with and without a VAE
        pictures = decoding.decode(latents)
        assert pictures.shape[1] == 3 and pictures.shape[3] == 3 * pictures.shape[2] >= 192
        assert pictures.abs().max() <= 1 and pictures.std() > 0.1
    with torch.inference_mode(False), torch.enable_grad():  # for training
        host.denoise(latents, torch.ones(2), host.encode([""])).mul(torch.ones(1, requires_grad=True)).sum().backward()
    assert host.denoise(latents, torch.ones(2), host.encode(PROMPTS[:1])).shape == latents.shape


def test_the_hook_is_called_at_every_step_with_the_indices_of_the_batch(host):
    seen = []

    def hook(denoised, x, sigma, which, conditional):
        seen.append((which.tolist(), float(sigma[0])))
        assert denoised.shape == x.shape == conditional.shape and sigma.shape == (len(which),)
        return denoised

    conditioning, seeds = host.encode([PROMPTS[0]]), range(6)
    hooked = host.sample(conditioning, seeds, hook=hook)
    assert torch.equal(hooked, host.sample(conditioning, seeds))
    assert [which for which, _ in seen] == [[0, 1, 2, 3]] * 4 + [[4, 5]] * 4
    assert host.sample(conditioning, [0], hook=lambda denoised, *_: denoised * 0).abs().max() <= 1e-6


def test_the_pooled_outputs_of_sdxl_stay_with_their_prompts():
