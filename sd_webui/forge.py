"""Forge: a hook after CFG on a clone of the UNet, set before each sampling pass.

Forge resets `forge_objects` before a pass and calls the scripts twice for the hires pass, so our hook is replaced, not
added again. It is a plain closure because `clone()` deep-copies everything else in `model_options`.
"""

import weakref

from .host import cfg_of

HOOKS = "sampler_post_cfg_function"
MARK = "rs_corrector_hook"


def install(p, job, run):
    """Set the hook for the current pass of `p`, in which `run` corrects."""
    unet = p.sd_model.forge_objects.unet.clone()
    _remove_ours(unet)
    unet.set_model_sampler_post_cfg_function(hook_of(job, run, cfg_of(p)))
    p.sd_model.forge_objects.unet = unet


def remove(sd_model):
    """Remove the hook from the current UNet; after the last pass Forge does not reset it."""
    unet = getattr(getattr(sd_model, "forge_objects", None), "unet", None)
    if unet is not None:
        _remove_ours(unet)


def _remove_ours(unet):
    hooks = [hook for hook in unet.model_options.pop(HOOKS, []) if not getattr(hook, MARK, False)]
    if hooks:
        unet.model_options[HOOKS] = hooks


def hook_of(job, run, cfg):
    """The hook: Forge's arguments after CFG, which do not include the CFG scale -> the corrected denoised."""
    job_ref = weakref.ref(job)

    def rs_corrected_denoised(args):
        job, denoised = job_ref(), args["denoised"]
        if job is None or job.run is not run:
            return denoised  # the pass is over and another extension samples with a clone of our UNet
        predictions = denoised, args["input"], args["sigma"], cfg, args.get("cond_denoised")
        return job.guarded(run.correct, *predictions, otherwise=denoised)

    setattr(rs_corrected_denoised, MARK, True)
    return rs_corrected_denoised
