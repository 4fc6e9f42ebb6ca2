"""Later stages of a picture keep the decision of the first, and each sampler has its own report."""

import host_extras
import pytest
import torch
from comfy_execution.utils import CurrentNodeContext
from host import correct, host_nodes, sample
from rs_pack.corrector.correction.run import MEMORY
from rs_pack.nodes import provenance

ADVANCED = dict(steps=6, cfg=2.0, sampler_name="euler", scheduler="karras")


@pytest.fixture
def said(monkeypatch):
    """A list with the result of each run, C for corrected and L for left alone."""
    results = []

    def remember(run, _):
        results.append("".join("L" if why else "C" for why in run.reasons[0]))

    monkeypatch.setattr(provenance, "remember", remember)
    MEMORY.pictures.clear()
    with CurrentNodeContext("a graph", "a node", 0):
        yield results


@pytest.fixture
def halved(model, backdrop):
    return correct(model, backdrop, target=0.5)


def first_stage(halved, prompts, seed):
    return sample(halved, prompts["person"], prompts["empty"], seed=seed, batch=8, steps=6)


def second_stage(model, prompts, samples, prompt="person"):
    latent = samples if isinstance(samples, dict) else {"samples": samples}
    return sample(model, prompts[prompt], prompts["empty"], seed=99, latent=latent, denoise=0.6, steps=6)


def test_two_samplers_in_a_row_keep_the_decision(halved, model, clip, backdrop, prompts, said):
    empty = {"samples": torch.zeros(8, 4, 16, 16)}
    conds = dict(positive=prompts["person"], negative=prompts["empty"])
    refiner = correct(host_extras.with_lora(model, clip, 0.5, 0.0)[0], backdrop, target=0.5)
    for second in (halved, correct(model, backdrop, target=0.5), refiner):
        first = host_nodes.KSamplerAdvanced().sample(
            halved, "enable", 1, latent_image=empty, start_at_step=0, end_at_step=3,
            return_with_leftover_noise="enable", **conds, **ADVANCED,
        )[0]  # fmt: skip
        host_nodes.KSamplerAdvanced().sample(
            second, "disable", 1, latent_image=first, start_at_step=3, end_at_step=6,
            return_with_leftover_noise="disable", **conds, **ADVANCED,
        )  # fmt: skip
    assert len(said) == 6 and len(set(said)) == 1 and {"C", "L"} == set(said[0])


@pytest.mark.parametrize("seed", range(2))
def test_upscaling_inpainting_and_splitting_a_batch_keep_the_decision(halved, miniature, prompts, said, seed):
    _, _, vae = miniature
    made = first_stage(halved, prompts, seed)
    (first,) = said
    mask = torch.zeros(1, 128, 128)
    mask[:, 32:96, 64:] = 1
    latent = {"samples": made}
    pixels = host_nodes.ImageScale().upscale(vae.decode(made), "bicubic", 192, 192, "disabled")[0]
    for later in (
        host_nodes.LatentUpscale().upscale(latent, "bislerp", 192, 192, "disabled")[0],
        vae.encode(vae.decode(made)),
        vae.encode(pixels),
        latent | {"noise_mask": mask},
        host_nodes.VAEEncodeForInpaint().encode(vae, vae.decode(made), mask)[0],
    ):
        second_stage(halved, prompts, later)
        assert said[-1] == first
    second_stage(halved, prompts, host_nodes.LatentFromBatch().frombatch(latent, 5, 2)[0])
    assert said[-1] == first[5:7]
    other = sample(halved, prompts["person"], prompts["empty"], seed=50, batch=3, steps=6)
    second_stage(halved, prompts, torch.cat([other, made]))
    assert said[-1] == said[-2] + first


def test_the_log_says_if_the_pictures_are_not_from_an_earlier_run(halved, prompts, said, caplog):
    elsewhere = torch.randn(4, 4, 16, 16, generator=torch.Generator().manual_seed(8))
    first_stage(halved, prompts, 6)
    assert "were not made by" not in caplog.text
    with caplog.at_level("INFO"):
        second_stage(halved, prompts, elsewhere)
    assert "4 of 4 pictures that this run starts from were not made by an earlier run" in caplog.text


def test_a_custom_sampler_that_starts_from_the_prediction_keeps_the_decision(halved, prompts, said):
    latent, predicted = torch.zeros(8, 4, 16, 16), {}
    guider = host_extras.comfy.samplers.CFGGuider(halved)
    guider.set_conds(prompts["person"], prompts["empty"])
    guider.set_cfg(2.0)
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(5))
    euler = host_extras.comfy.samplers.sampler_object("euler")
    sigmas = torch.tensor([14.6, 8.0, 4.0, 2.0, 1.0, 0.3, 0.0])
    guider.sample(noise, latent, euler, sigmas[:4], callback=lambda step, x0, x, total: predicted.update(x0=x0), seed=3)
    denoised = halved.model.process_latent_out(predicted["x0"].cpu())
    guider.sample(noise, denoised, euler, sigmas[3:], seed=3)
    assert said[0] == said[1] and {"C", "L"} == set(said[0])


def test_two_samplers_of_one_model_have_separate_reports(halved, prompts, said):
    first_stage(halved, prompts, 1)
    sample(halved, prompts["cat"], prompts["empty"], seed=2, batch=3)
    assert len(said[0]) == 8 and said[1] == "LLL"
