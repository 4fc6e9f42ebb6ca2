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
from rs_pack.nodes.host import ComfyHost
from rs_pack.nodes.miniature import load_miniature
from rs_pack.nodes.prompts import ComfyPrompts
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
    host = ComfyHost(host_extras.small_sdxl(), host_extras.SeededCLIP(), width=128, height=64, batch=4, steps=3)
    assert host.space == "sdxl"
    conditioning = host.encode(["one", "two", "three"])
    together = host.sample(conditioning, [1, 2, 3], cfg=4.0)
    alone = torch.cat([host.sample(conditioning[i], [i + 1], cfg=4.0) for i in range(3)])
    assert together.isfinite().all() and (together - alone).abs().max() <= 1e-3
    other = conditioning.conditionings[0][0][1] | {"pooled_output": torch.zeros(1, 1280)}
    swapped = ComfyPrompts([[[conditioning.conditionings[0][0][0], other]]])
    assert (host.sample(swapped, [1], cfg=4.0) - together[:1]).abs().max() > 1e-3


def test_the_identity_does_not_change_by_loading_again_or_sampling(miniature, host):
    before = host.identity
    host.sample(host.encode(PROMPTS[:1]), [1])
    assert host.identity == before == host_of(load_miniature()).identity
    assert before["size"] == "128 x 128"


def test_the_identity_changes_with_weights_loras_and_settings(miniature, host):
    model, clip, vae = miniature
    kept = host.identity
    lora_model, lora_clip = host_extras.with_lora(model, clip, 1.0, 1.0)
    weaker, _ = host_extras.with_lora(model, clip, 0.5, 0.0)
    skipped = clip.clone()
    skipped.clip_layer(-2)
    changed = {
        "checkpoint": [host_of((lora_model, clip, vae)), host_of((weaker, clip, vae))],
        "text encoder": [host_of((model, lora_clip, vae)), host_of((model, skipped, vae))],
        "vae": [host_of((model, clip))],
        "sampler": [host_of(miniature, sampler="heun")],
        "scheduler": [host_of(miniature, scheduler="simple")],
        "size": [host_of(miniature, width=64)],
    }
    for name, hosts in changed.items():
        for other in hosts:
            assert {key for key in kept if other.identity[key] != kept[key]} == {name}
    assert changed["checkpoint"][0].identity != changed["checkpoint"][1].identity
    finetuned = load_miniature()
    with torch.no_grad():
        next(finetuned[0].model.diffusion_model.parameters()).mul_(1.01)
    assert host_of(finetuned).identity["checkpoint"] != kept["checkpoint"]


def test_a_lora_that_is_currently_patched_in_does_not_change_the_plain_models_identity(miniature, host):
    kept = host.identity
    with_lora = host_of((*host_extras.with_lora(*miniature[:2], 1.0, 1.0), miniature[2]))
    own = with_lora.identity
    before = weights_hash(miniature[0])
    with_lora.sample(with_lora.encode(PROMPTS[:1]), [1])
    assert weights_hash(miniature[0]) != before  # the host patches the weights for a run
    assert host.identity == kept and with_lora.identity == own
    host.sample(host.encode(PROMPTS[:1]), [1])
    assert weights_hash(miniature[0]) == before
