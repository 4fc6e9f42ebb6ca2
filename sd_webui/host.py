"""What the adapters read from a host: latent space, sigmas of a window, CFG scale, a seed per picture, nested jobs."""

import math
import sys

from ..corrector.latents.spaces import percent_to_sigma


def is_forge(sd_model):
    return hasattr(sd_model, "forge_objects")


def space_of(sd_model):
    """A name in LATENT_SPACES, or None if no model is loaded or it is not recognised."""
    for flag, space in (("is_sdxl", "sdxl"), ("is_sd3", "sd3"), ("is_sd2", "sd15"), ("is_sd1", "sd15")):
        if getattr(sd_model, flag, False):
            return space
    return "flux" if "flux" in type(sd_model).__name__.lower() else None


def check_space(preference, space):
    """Raises PreferenceError if a preference does not fit the loaded model's latent space (None: not recognised)."""
    advice = "use a preference made for this model, or learn one from it (docs/learning.md)"
    preference.check_space(space or "unknown", "the loaded model", advice)


def cfg_of(p):
    """The CFG scale of the current pass; Forge has a separate one for the hires pass."""
    hires = getattr(p, "hr_cfg", None) if getattr(p, "is_hr_pass", False) else None
    return float(hires or p.cfg_scale)


def window_of(sd_model, start, end):
    """Start and end as fractions of the run, 0 to 1 -> (sigma where it starts, sigma where it ends)."""
    if is_forge(sd_model):
        to_sigma = sd_model.forge_objects.unet.model.predictor.percent_to_sigma
    else:
        to_sigma = percent_to_sigma(sd_model.alphas_cumprod)
    # 0 and 1 need no schedule; for 0, flow models would return 1.0, which may be their first sigma.
    return (math.inf if start <= 0 else to_sigma(start), 0.0 if end >= 1 else to_sigma(end))


def nesting():
    """How many calls of the host's `process_images_inner` this thread is in: 2 in an inner job, as a detailer's."""
    frame, count = sys._getframe(), 0
    while frame:
        count += frame.f_code.co_name == "process_images_inner"
        frame = frame.f_back
    return count


def coin_seeds(p):
    """One seed for each picture of the batch: its own, combined with its variation seed if variations are on."""
    if not getattr(p, "subseed_strength", 0):
        return [int(seed) for seed in p.seeds]
    return [int(seed) * 2**32 + int(subseed) for seed, subseed in zip(p.seeds, p.subseeds, strict=True)]
