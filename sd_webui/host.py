"""What is asked of a host: which latents its model has, where a part of the run lies, which CFG is at work."""

import math

import torch

from ..corrector.correction.update import CorrectionError

TITLES = {"sd15": "SD1.5 or SD2", "sdxl": "SDXL", "sd3": "SD3", "flux": "Flux", "miniature": "the miniature"}


def is_forge(sd_model):
    return hasattr(sd_model, "forge_objects")


def space_of(sd_model):
    """A name in LATENT_SPACES, or None where the model is none that is known (or none is loaded yet)."""
    for flag, space in (("is_sdxl", "sdxl"), ("is_sd3", "sd3"), ("is_sd2", "sd15"), ("is_sd1", "sd15")):
        if getattr(sd_model, flag, False):
            return space
    return "flux" if "flux" in type(sd_model).__name__.lower() else None


def mismatch(preference, space):
    """A sentence when a preference does not fit the loaded model's latents, else ""."""
    if space == preference.space:
        return ""
    model = f"the loaded model is {TITLES[space]}" if space else "the loaded model is of a kind that it does not know"
    made_for = TITLES.get(preference.space, preference.space)
    return (
        f'The preference "{preference.name}" was made for {made_for} and {model}; pick one that was made for this '
        "model, or learn one from it (README)."
    )


def check_model(sd_model, preferences):
    """Raises CorrectionError naming model and preference when they do not belong together."""
    for preference in preferences:
        wrong = mismatch(preference, space_of(sd_model))
        if wrong:
            raise CorrectionError(wrong)


def cfg_of(p):
    """The CFG scale of this pass; Forge has another one for the hires pass."""
    hires = getattr(p, "hr_cfg", None) if getattr(p, "is_hr_pass", False) else None
    return float(hires or p.cfg_scale)


def window_of(sd_model, start, end):
    """Parts of the run in 0..1 -> (sigma where it starts, sigma where it ends)."""

    def to_sigma(percent):
        if is_forge(sd_model):
            return sd_model.forge_objects.unet.model.predictor.percent_to_sigma(percent)
        return percent_to_sigma(sd_model.alphas_cumprod)(percent)

    # The whole run needs no schedule; flow models would answer 1.0 for 0, which their first sigma may equal.
    return (math.inf if start <= 0 else to_sigma(start), 0.0 if end >= 1 else to_sigma(end))


def percent_to_sigma(alphas_cumprod):
    """A model's cumulative alphas [T] -> a function: part of the run -> sigma, by timestep, log sigma between."""
    log_sigmas = ((1 - alphas_cumprod.double()) / alphas_cumprod.double()).sqrt().log().cpu()

    def to_sigma(percent):
        step = (1 - percent) * (len(log_sigmas) - 1)
        low = min(int(step), len(log_sigmas) - 2)
        return float(torch.lerp(log_sigmas[low], log_sigmas[low + 1], step - low).exp())

    return to_sigma


def coin_seeds(p):
    """One seed a picture of this batch that tells it from all others: its own, mixed with that of its variation."""
    if not getattr(p, "subseed_strength", 0):
        return [int(seed) for seed in p.seeds]
    return [int(seed) * 2**32 + int(subseed) for seed, subseed in zip(p.seeds, p.subseeds, strict=True)]
