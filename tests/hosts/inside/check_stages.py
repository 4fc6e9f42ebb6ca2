"""Later stages of a picture keep the decision of the first, and each sampler has its own report."""

import host_extras
import pytest
import torch
from host import correct, host_nodes, sample
from rs_pack.corrector.correction.run import MEMORY
from rs_pack.nodes import correction, provenance

ADVANCED = dict(steps=6, cfg=2.0, sampler_name="euler", scheduler="karras")


@pytest.fixture
def said(monkeypatch):
    """A list with the result of each run, C for corrected and L for left alone."""
    found = []

    def remember(run, _):
        found.append("".join("L" if why else "C" for why in run.reasons[0]))

    monkeypatch.setattr(provenance, "remember", remember)
    monkeypatch.setattr(correction, "_prompt_id", lambda: "the graph")
    monkeypatch.setattr(MEMORY, "runs", type(MEMORY.runs)())
    return found


@pytest.fixture
def halved(model, backdrop):
    return correct(model, backdrop, target=0.5)


def first_stage(halved, prompts, seed):
    return sample(halved, prompts["person"], prompts["empty"], seed=seed, batch=8, steps=6)


def second_stage(halved, prompts, samples, **more):
    latent = samples if isinstance(samples, dict) else {"samples": samples}
    return sample(halved, prompts["person"], prompts["empty"], seed=99, latent=latent, denoise=0.6, steps=6, **more)


def pictures(vae, samples, size):
    return host_nodes.ImageScale().upscale(vae.decode(samples), "bicubic", size, size, "disabled")[0]


@pytest.mark.parametrize("seed", range(3))
def test_two_samplers_in_a_row_keep_the_decision(halved, model, backdrop, prompts, said, seed):
    empty = {"samples": torch.zeros(8, 4, 16, 16)}
    conds = dict(positive=prompts["person"], negative=prompts["empty"])
    for second in (halved, correct(model, backdrop, target=0.5)):
        first = host_nodes.KSamplerAdvanced().sample(
            halved, "enable", seed, latent_image=empty, start_at_step=0, end_at_step=3,
            return_with_leftover_noise="enable", **conds, **ADVANCED,
        )[0]  # fmt: skip
        host_nodes.KSamplerAdvanced().sample(
            second, "disable", seed, latent_image=first, start_at_step=3, end_at_step=6,
            return_with_leftover_noise="disable", **conds, **ADVANCED,
        )  # fmt: skip
    assert len(set(said)) == 1 and {"C", "L"} == set(said[0])


@pytest.mark.parametrize("seed", range(3))
def test_upscaling_inpainting_and_splitting_a_batch_keep_the_decision(halved, miniature, prompts, said, seed):
    _, _, vae = miniature
    made = first_stage(halved, prompts, seed)
    (first,) = said
    mask = torch.zeros(1, 128, 128)
    mask[:, 32:96, 64:] = 1
    latent = {"samples": made}
    larger = host_nodes.LatentUpscale().upscale(latent, "bislerp", 192, 192, "disabled")[0]["samples"]
    for later in (
        larger,
        vae.encode(pictures(vae, made, 192)),
        {"samples": made, "noise_mask": mask},
        host_nodes.VAEEncodeForInpaint().encode(vae, vae.decode(made), mask)[0],
    ):
        second_stage(halved, prompts, later)
        assert said[-1] == first
    second_stage(halved, prompts, host_nodes.LatentFromBatch().frombatch(latent, 5, 2)[0])
    assert said[-1] == first[5:7]
    other = sample(halved, prompts["person"], prompts["empty"], seed=50, batch=3, steps=6)
    second_stage(halved, prompts, torch.cat([other, made]))
    assert said[-1] == said[-2] + first


def test_tiles_keep_the_decision_of_their_picture(halved, miniature, prompts, said):
    _, _, vae = miniature
    larger = pictures(vae, first_stage(halved, prompts, 4), 256)
    (first,) = said
    for top in (0, 128):
        for left in (0, 128):
            second_stage(halved, prompts, vae.encode(larger[:, top : top + 128, left : left + 128]))
            assert said[-1] == first


def test_a_graph_with_a_cached_first_stage_keeps_the_decision(halved, prompts, said, monkeypatch):
    made = first_stage(halved, prompts, 5)
    monkeypatch.setattr(correction, "_prompt_id", lambda: "the graph again")
    second_stage(halved, prompts, made)
    assert said[0] == said[1]


def test_the_log_says_if_the_pictures_are_not_from_an_earlier_run(halved, prompts, said, caplog):
    elsewhere = torch.randn(4, 4, 16, 16, generator=torch.Generator().manual_seed(8))
    first_stage(halved, prompts, 6)
    caplog.clear()
    with caplog.at_level("INFO"):
        second_stage(halved, prompts, elsewhere)
    assert "4 of 4 pictures that this run starts from were not made by an earlier run" in caplog.text
    caplog.clear()
    with caplog.at_level("INFO"):
        first_stage(halved, prompts, 7)
    assert "were not made by" not in caplog.text


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


def test_two_samplers_of_one_model_have_separate_reports(halved, prompts, monkeypatch):
    runs = []
    monkeypatch.setattr(provenance, "remember", lambda run, _: runs.append(run.reasons[0]))
    first_stage(halved, prompts, 1)
    sample(halved, prompts["cat"], prompts["empty"], seed=2, batch=3)
    assert [len(reasons) for reasons in runs] == [8, 3]
    assert all("names nobody" in why for why in runs[1])
