"""Forge: a hook after CFG on a clone of the UNet, set before each sampling pass.

Forge resets `forge_objects` before a pass and calls the scripts twice for the hires pass; the hook is replaced, never
added a second time. It is a plain closure: `clone()` deep-copies everything else in `model_options`.
"""

import weakref

from .host import cfg_of

HOOKS = "sampler_post_cfg_function"
MARK = "rs_corrector_hook"


def install(p, job, run):
    """Set the hook of this pass."""
    unet = p.sd_model.forge_objects.unet.clone()
    _without_ours(unet)
    unet.set_model_sampler_post_cfg_function(hook_of(job, run, cfg_of(p)))
    p.sd_model.forge_objects.unet = unet


def remove(sd_model):
    """Take the hook off the UNet that is in place, also when Forge has no later pass to reset it."""
    objects = getattr(sd_model, "forge_objects", None)
    if objects is not None and getattr(objects, "unet", None) is not None:
        _without_ours(objects.unet)


def _without_ours(unet):
    hooks = [hook for hook in unet.model_options.pop(HOOKS, []) if not getattr(hook, MARK, False)]
    if hooks:
        unet.model_options[HOOKS] = hooks


def hook_of(job, run, cfg):
    """The function after CFG: Forge's argument dict -> the corrected denoised. The dict has no CFG scale."""
    job_ref = weakref.ref(job)

    def rs_corrected_denoised(args):
        job, denoised = job_ref(), args["denoised"]
        if job is None or job.run is not run:
            return denoised  # the pass is over: another extension samples with a clone of our UNet
        predictions = denoised, args["input"], args["sigma"], cfg, args.get("cond_denoised")
        return job.guarded(run.correct, *predictions, otherwise=denoised)

    setattr(rs_corrected_denoised, MARK, True)
    return rs_corrected_denoised
