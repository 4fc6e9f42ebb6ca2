"""Forge: a hook after CFG on a clone of the UNet, set before each sampling pass.

Forge resets `forge_objects` before a pass and calls the scripts twice for the hires pass, so our hook is replaced, not
added again. It is a plain closure because `clone()` deep-copies everything else in `model_options`.
"""

import weakref
from collections.abc import Callable
from typing import Any

from torch import Tensor

from ..corrector.correction.run import Run
from ..corrector.latents.spaces import exploding
from .host import Processing, cfg_of, predicts_flow
from .job import Job

HOOKS = "sampler_post_cfg_function"
OUR_MARK = "rs_corrector_hook"


def install(p: Processing, job: Job, run: Run) -> None:
    """Set the hook for the current pass of `p`, in which `run` corrects."""
    unet = p.sd_model.forge_objects.unet.clone()
    _remove_ours(unet)
    unet.set_model_sampler_post_cfg_function(hook_of(job, run, cfg_of(p), predicts_flow(p.sd_model)))
    p.sd_model.forge_objects.unet = unet


def remove(sd_model: object) -> None:
    """Remove the hook from the current UNet; after the last pass Forge does not reset it."""
    unet = getattr(getattr(sd_model, "forge_objects", None), "unet", None)
    if unet is not None:
        _remove_ours(unet)


def _remove_ours(unet: Any) -> None:
    hooks = [hook for hook in unet.model_options.pop(HOOKS, []) if not getattr(hook, OUR_MARK, False)]
    if hooks:
        unet.model_options[HOOKS] = hooks


def hook_of(job: Job, run: Run, cfg: float, flow: bool = False) -> Callable[[dict[str, Any]], Tensor]:
    """The hook: Forge's arguments after CFG, which do not include the CFG scale -> the corrected denoised.

    `flow` says whether the model is sampled as a flow model.
    """
    job_ref = weakref.ref(job)

    def rs_corrected_denoised(args: dict[str, Any]) -> Tensor:
        job, denoised = job_ref(), args["denoised"]
        if job is None or job.run is not run:
            return denoised  # the pass is over and another extension samples with a clone of our UNet
        if job.asked and job.asked.aside:
            return denoised
        x, sigma = exploding(args["input"], args["sigma"]) if flow else (args["input"], args["sigma"])
        replaced = job.asked is not None and job.asked.replaced
        corrected = job.guarded(run.correct, denoised, x, sigma, cfg, args.get("cond_denoised"), None, replaced)
        return denoised if corrected is None else corrected

    setattr(rs_corrected_denoised, OUR_MARK, True)
    return rs_corrected_denoised
