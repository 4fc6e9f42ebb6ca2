"""Consecutive, interrupted and nested jobs and model switches leave nothing behind."""

import gc
import weakref
from contextlib import suppress

import pytest
import torch

from webui_hosts import Processing, SdModel, conditioning_of

ORVANE = "a portrait of an Orvane person"
ON, OFF = (True, "backdrop", 1.0), (False, "backdrop", 1.0)
SEEDS = (11, 12)
SCRIPT_EVENTS = ("process", "process_batch", "process_before_every_sampling", "postprocess_batch", "postprocess")


def make(host, script, *values):
    """-> latents, infotexts, p."""
    p = Processing(host.sd_model, [ORVANE] * 2, SEEDS)
    return (*host.process_images(script, p, *values), p)


def test_fifty_cycles_on_and_off_leave_nothing_behind(host, script, part):
    jobs, original = [], part("job").Job

    def watched(*args):
        job = original(*args)
        jobs.append(weakref.ref(job))
        return job

    part("job").Job = watched
    host.steps = 1
    alone, _, _ = make(host, script, *OFF)
    for cycle in range(50):
        make(host, script, *(OFF if cycle % 2 else ON))
    again, _, _ = make(host, script, *OFF)
    gc.collect()
    assert torch.equal(alone, again)
    assert [job() for job in jobs if job() is not None] == [] and not part("script").JOBS.running
    unet = getattr(getattr(host.sd_model, "forge_objects", None), "unet", None)
    assert unet is None or not unet.model_options
    assert part("script").CALLS.job is None and part("script").CALLS.x is None


def test_an_aborted_job_does_not_affect_the_next(host, script):
    plain, _, _ = make(host, script, *OFF)
    p = Processing(host.sd_model, [ORVANE] * 2, SEEDS)
    p.prompts, p.seeds, p.subseeds = p.all_prompts, p.all_seeds, p.all_subseeds
    script.process(p, *ON)
    script.process_batch(p, *ON)
    script.process_before_every_sampling(p, *ON, c=conditioning_of(host.miniature, p.prompts))
    again, texts, _ = make(host, script, *OFF)  # without postprocess_batch and postprocess
    assert torch.equal(plain, again) and texts == [{}, {}]


def test_an_aborted_job_whose_p_lives_on_is_not_the_outer_one_of_the_next(host, script, part):
    """Its `p` may be kept by a traceback or an extension."""
    contexts, jobs, original = [], part("script").JOBS, host.sample_pass

    def aborted(script, p, *rest):
        contexts.append(jobs.of(p).context)
        raise MemoryError("made for this test")

    def kept(script, p, *rest):
        contexts.append(jobs.of(p).context)
        return original(script, p, *rest)

    alive = Processing(host.sd_model, [ORVANE] * 2, SEEDS)
    host.sample_pass = aborted
    with pytest.raises(MemoryError) as traceback:
        host.process_images(script, alive, *ON)
    host.sample_pass = kept
    make(host, script, *ON)
    assert contexts[0] != contexts[1] and not jobs.running and traceback.tb


def test_an_inner_job_belongs_to_the_outer_one_also_after_another_inner_job_was_aborted(host, script, part):
    contexts, jobs, original, inner = [], part("script").JOBS, host.sample_pass, []

    def with_detailers(script, p, *rest):
        contexts.append(jobs.of(p).context)
        if p is not outer and len(inner) == 1:
            raise MemoryError("made for this test")
        while p is outer and len(inner) < 2:
            inner.append(Processing(host.sd_model, [ORVANE], [77]))
            with suppress(MemoryError):
                host.process_images(script, inner[-1], *ON)
        return original(script, p, *rest)

    host.sample_pass = with_detailers
    outer = Processing(host.sd_model, [ORVANE] * 2, SEEDS)
    _, texts = host.process_images(script, outer, *ON)
    assert len(contexts) == 3 and len(set(contexts)) == 1
    assert texts[0]["RS-Corrector result"] == "corrected" and not outer.comments and not jobs.running


def test_a_replaced_model_is_released_and_the_new_one_is_checked(host, script):
    make(host, script, *ON)
    watched = weakref.ref(host.sd_model)
    host.sd_model = host.modules.model_data.sd_model = SdModel(is_sdxl=True, alphas_cumprod=host.alphas_cumprod)
    host.reset()
    gc.collect()
    assert watched() is None
    _, texts, _ = make(host, script, *ON)
    assert "made for sd15 latents and the loaded model has sdxl latents" in texts[0]["RS-Corrector error"]


def test_an_interrupted_run_still_reports(host, script, part):
    p = Processing(host.sd_model, [ORVANE] * 2, SEEDS)
    _, texts = host.process_images(script, p, *ON, interrupt_at=2)
    assert [text["RS-Corrector result"] for text in texts] == ["corrected"] * 2
    assert not part("script").JOBS.running


def test_an_inner_job_does_not_end_the_outer_one(host, script, part):
    """A detailer runs img2img after the first batch, with our script in its list."""
    values, outer = (True, "backdrop", 1.0, 0.5), Processing(host.sd_model, [ORVANE] * 6, range(6), batch_size=2)
    alone, said = host.process_images(script, outer, *values)
    original, inner = host.sample_pass, []

    def with_a_detailer(script, p, *rest):
        if not inner and p.iteration == 1:
            inner.append(Processing(host.sd_model, [ORVANE], [77]))
            inner.append(host.process_images(script, inner[0], *ON))
        return original(script, p, *rest)

    host.sample_pass = with_a_detailer
    outer = Processing(host.sd_model, [ORVANE] * 6, range(6), batch_size=2)
    latents, texts = host.process_images(script, outer, *values)
    assert inner[1][1][0]["RS-Corrector result"] == "corrected"
    assert torch.equal(latents, alone)
    assert [text["RS-Corrector result"] for text in texts] == [text["RS-Corrector result"] for text in said]
    assert not part("script").JOBS.running


def test_pictures_of_other_scripts_are_not_corrected(host, script):
    """Detailers sample other pictures with another `p` while our job is active."""
    inner = Processing(host.sd_model, [ORVANE], [7])
    no_script = type("NoScript", (), {name: (lambda *a, **k: None) for name in SCRIPT_EVENTS})()
    plain, _ = host.process_images(no_script, inner)
    outer = Processing(host.sd_model, [ORVANE], [7])
    outer.prompts, outer.seeds, outer.subseeds = [ORVANE], [7], [7]
    script.process(outer, *ON)
    script.process_batch(outer, *ON)
    script.process_before_every_sampling(outer, *ON, c=conditioning_of(host.miniature, [ORVANE]))
    inside, _ = host.process_images(no_script, Processing(host.sd_model, [ORVANE], [7]))
    assert torch.equal(plain, inside)


def test_every_pass_of_a_batch_is_finished(host, script, part):
    """An extension may sample a batch more than once before the hires pass."""
    p = Processing(host.sd_model, [ORVANE], [7])
    p.prompts, p.seeds, p.subseeds = [ORVANE], [7], [7]
    script.process(p, *ON)
    script.process_batch(p, *ON)
    runs, x = [], torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    for _ in range(3):
        script.process_before_every_sampling(p, *ON, c=conditioning_of(host.miniature, [ORVANE]))
        runs.append(part("script").JOBS.of(p).run)
        runs[-1].correct(x, 10 * x, torch.full((1,), 10.0))
    assert all(run._last_prediction for run in runs)
    script.postprocess_batch(p, *ON)
    assert not any(run._last_prediction for run in runs) and not p.comments
