"""The adapters of Forge and A1111 correct each step of a run as ComfyUI's hook does."""

from types import SimpleNamespace

import pytest
import torch
from host import correct, sample
from rs_pack.corrector.correction.run import Run
from rs_pack.corrector.correction.update import Settings
from rs_pack.sd_webui import a1111, forge


class Job:
    """The part of a Job that the adapters use; does not catch errors."""

    asked = None

    def guarded(self, call, *args):
        return call(*args)


class Denoiser:
    """The part of A1111's denoiser that the adapter uses, for x0 or eps."""

    mask = None

    def __init__(self, p, sigmas):
        self.p, self.sigmas = p, sigmas

    def get_pred_x0(self, x, output, level):
        if self.sigmas is None:
            return output
        sigma = self.sigmas[level.long()].view(-1, 1, 1, 1)
        return (x * (1 + sigma.square()).sqrt() - sigma * output).to(x)


def begun(preferences, prompts, cfg):
    job = Job()
    job.p = SimpleNamespace(cfg_scale=cfg, is_hr_pass=False, sd_model=None)
    tokens = [[prompts["person"][0][0].float()]] * 2
    job.run = Run(list(preferences), Settings(), torch.rand(2), tokens)
    return job


@pytest.mark.parametrize("cfg", (1.0, 2.0, 7.0))
def test_the_same_latent_sigma_and_cfg_give_the_same_correction_in_all_three_hosts(model, backdrop, prompts, cfg):
    corrected, calls = correct(model, backdrop), []
    (hook,) = corrected.model_options["sampler_post_cfg_function"]

    def watched(args):
        result = hook(args)
        names = "denoised", "cond_denoised", "uncond_denoised", "input", "sigma"
        calls.append([*(args[name].clone() for name in names), result.clone()])
        return result

    corrected.model_options["sampler_post_cfg_function"] = [watched]
    sample(corrected, prompts["person"], prompts["empty"], cfg=cfg)
    sigmas = model.get_model_object("model_sampling").sigmas
    by_forge, by_k, by_ddim, by_function = (begun(backdrop, prompts, cfg) for _ in range(4))
    function = forge.hook_of(by_forge, by_forge.run, cfg)
    moved = 0
    for denoised, cond, uncond, x, sigma, wanted in calls:
        moved += not torch.equal(denoised, wanted)
        arguments = dict(denoised=denoised, input=x, sigma=sigma, cond_denoised=cond, uncond_denoised=uncond)
        torch.testing.assert_close(function(arguments), wanted, rtol=0, atol=1e-5)
        callbacks = a1111.Calls(SimpleNamespace(of=lambda p: by_k))
        result = called(callbacks, Denoiser(by_k.p, None), x, sigma, denoised, cond, uncond)
        torch.testing.assert_close(result, wanted, rtol=0, atol=1e-5)
        # DDIM has training sigmas only: compare at the nearest one.
        step = (sigmas - sigma[0]).abs().argmin()
        level = sigmas[step]
        outputs = ((x - one) / level for one in (denoised, cond, uncond))
        there = x / (1 + level.square()).sqrt()
        callbacks = a1111.Calls(SimpleNamespace(of=lambda p: by_ddim))
        result = called(callbacks, Denoiser(by_ddim.p, sigmas), there, step.float().expand(2), *outputs)
        again = by_function.run.correct(denoised, x, level.expand(2), cfg, cond)
        torch.testing.assert_close(x - level * result, again, rtol=0, atol=1e-5 * max(1.0, float(level) / 2))
    assert len(calls) == 4 and moved >= 2  # in later steps the gate is closed


def called(callbacks, denoiser, x, level, output, cond, uncond):
    callbacks.on_cfg_denoiser(SimpleNamespace(x=x.repeat(2, 1, 1, 1), sigma=level.repeat(2), denoiser=denoiser))
    callbacks.on_cfg_denoised(SimpleNamespace(x=torch.cat([cond, uncond])))
    after = SimpleNamespace(x=output)
    callbacks.on_cfg_after_cfg(after)
    return after.x
