"""Forge: a hook after CFG on a clone of the UNet, set before each sampling pass.

Forge resets `forge_objects` before a pass and calls the scripts twice for the hires pass; the hook is replaced, never
added a second time. It is a plain closure: `clone()` deep-copies everything else in `model_options`.
"""

import weakref

from .host import cfg_of

HOOKS = "sampler_post_cfg_function"
MARK = "rs_corrector_hook"


def install(p, job, run):
    """Set the hook of this pass, and let Forge load the networks with the UNet."""
    unet = p.sd_model.forge_objects.unet.clone()
    _without_ours(unet)
    hook = hook_of(job, run, cfg_of(p))
    for preference in run.preferences:
        # In fp32, whatever the UNet's dtype: the correction is the same in every host.
        unet.add_extra_torch_module_during_sampling(preference.source, cast_to_unet_dtype=False)
    unet.set_model_sampler_post_cfg_function(hook)
    p.sd_model.forge_objects.unet = unet


def remove(sd_model):
    """Take the hook and the networks off the UNet that is in place, also when Forge has no later pass to reset it."""
    objects = getattr(sd_model, "forge_objects", None)
    if objects is not None and getattr(objects, "unet", None) is not None:
        _without_ours(objects.unet)


def _without_ours(unet):
    hooks = unet.model_options.get(HOOKS, [])
    ours = [hook for hook in hooks if getattr(hook, MARK, None)]
    if not ours:
        return
    unet.model_options[HOOKS] = [hook for hook in hooks if hook not in ours]
    if not unet.model_options[HOOKS]:
        del unet.model_options[HOOKS]
    sources = [source for hook in ours for source in getattr(hook, MARK)()]
    patchers = unet.extra_model_patchers_during_sampling
    unet.extra_model_patchers_during_sampling = [p for p in patchers if not any(p.model is s for s in sources)]


def hook_of(job, run, cfg):
    """The function after CFG: Forge's argument dict -> the corrected denoised. The dict has no CFG scale."""
    job_ref = weakref.ref(job)

    def rs_corrected_denoised(args):
        job, denoised = job_ref(), args["denoised"]
        if job is None or job.run is not run:
            return denoised  # the pass is over: another extension samples with a clone of our UNet
        return job.guarded(run.correct, denoised, args["input"], args["sigma"], cfg, otherwise=denoised)

    setattr(rs_corrected_denoised, MARK, lambda: [preference.source for preference in run.preferences])
    return rs_corrected_denoised
