"""Consecutive, interrupted and nested jobs and model switches leave nothing behind."""

import gc
import weakref
from contextlib import suppress

import torch

from webui_hosts import NO_SCRIPT, OFF, ON, ORVANE, SdModel


def test_twenty_cycles_on_and_off_leave_nothing_behind(host, part, monkeypatch):
    jobs, job_class = [], part("job").Job

    def watched(*args):
        job = job_class(*args)
        jobs.append(weakref.ref(job))
        return job

    monkeypatch.setattr(part("job"), "Job", watched)
    host.steps = 1
    for cycle in range(20):
        host.generate(*(OFF if cycle % 2 else ON))
    assert torch.equal(host.plain(), host.generate(*OFF).latents)
    gc.collect()
    assert [job() for job in jobs if job() is not None] == [] and not part("script").JOBS.running
    unet = getattr(getattr(host.sd_model, "forge_objects", None), "unet", None)
    assert unet is None or not unet.model_options
    calls = part("script").CALLS
    assert calls.job is calls.call is calls.before_cfg is None


def test_an_aborted_job_does_not_affect_the_next(host):
    host.begin(*ON)
    again = host.generate(*OFF)  # without postprocess_batch and postprocess
    assert torch.equal(host.plain(), again.latents) and again.texts == [{}, {}]


def test_inner_jobs_belong_to_the_outer_one_also_after_one_was_aborted(host, part):
    contexts, jobs, sample, inner = [], part("script").JOBS, host.sample_pass, []

    def with_detailers(script, p, *rest):
        contexts.append(jobs.of(p).context)
        if p is not outer and len(inner) == 1:
            raise MemoryError("made for this test")
        while p is outer and len(inner) < 2:
            inner.append(host.processing([ORVANE]))
            with suppress(MemoryError):
                host.generate(*ON, p=inner[-1])
        return sample(script, p, *rest)

    host.sample_pass, outer = with_detailers, host.processing()
    assert host.generate(*ON, p=outer).results[0] == "corrected"
    assert len(contexts) == 3 and len(set(contexts)) == 1 and not outer.comments
    del inner[:]
    gc.collect()
    host.sample_pass = sample
    host.generate(*OFF)
    assert not jobs.running


def test_a_replaced_model_is_released_and_the_new_one_is_checked(host):
    host.generate(*ON)
    watched = weakref.ref(host.sd_model)
    host.sd_model = host.modules.model_data.sd_model = SdModel(
        host.miniature, is_sdxl=True, alphas_cumprod=host.alphas_cumprod
    )
    host.reset()
    gc.collect()
    assert watched() is None
    assert "made for SD1.5 and SD2.x, and the loaded model has the latents of SDXL" in host.generate(*ON).errors[0]


def test_an_interrupted_run_still_reports(host, part):
    assert host.generate(*ON, interrupt_at=2).results == ["corrected"] * 2
    assert not part("script").JOBS.running


def test_an_inner_job_does_not_end_the_outer_one(host, part):
    """A detailer runs img2img after the first batch, with our script in its list."""
    values, options = (True, "backdrop", 1.0, 0.5), dict(prompts=[ORVANE] * 6, batch_size=2)
    alone = host.generate(*values, **options)
    sample, inner = host.sample_pass, []

    def with_a_detailer(script, p, *rest):
        if not inner and p.iteration == 1:
            inner.append(None)
            inner.append(host.generate(*ON, prompts=[ORVANE], seeds=[77]))
        return sample(script, p, *rest)

    host.sample_pass = with_a_detailer
    made = host.generate(*values, **options)
    assert inner[1].results == ["corrected"]
    assert torch.equal(made.latents, alone.latents) and made.results == alone.results
    assert not part("script").JOBS.running


def test_pictures_of_other_scripts_are_not_corrected(host):
    """Detailers sample other pictures with another `p` while our job is active."""
    plain = host.plain()
    host.begin(*ON)
    assert torch.equal(plain, host.generate(script=NO_SCRIPT).latents)


def test_every_pass_of_a_batch_is_finished(host, script, part):
    """An extension may sample a batch more than once before the hires pass."""
    p = host.begin(*ON, prompts=[ORVANE])
    runs, x = [], torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    for _ in range(3):
        host.begin_pass(p, *ON)
        runs.append(part("script").JOBS.of(p).run)
        runs[-1].correct(x, 10 * x, torch.full((1,), 10.0))
    assert all(run._last_prediction for run in runs)
    script.postprocess_batch(p, *ON)
    assert not any(run._last_prediction for run in runs) and not p.comments
