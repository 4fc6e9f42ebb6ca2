"""What the adapters read from a host: latent space, sigmas of a window, CFG scale, seeds, and the tokens of prompts."""

import math
from typing import Any, Protocol

from torch import Tensor

from ..corrector.latents.spaces import percent_to_sigma
from ..corrector.preference.preference import Preference


class Processing(Protocol):
    """The host's processing object `p`, as far as the adapters use it. `sd_model` is of a class of the host's."""

    sd_model: Any
    cfg_scale: float
    seeds: list[int]  # of the current batch
    subseeds: list[int]
    extra_generation_params: dict[str, object]

    def comment(self, text: str) -> None: ...


def is_forge(sd_model: object) -> bool:
    return hasattr(sd_model, "forge_objects")


def space_of(sd_model: object) -> str | None:
    """A name in LATENT_SPACES, or None if no model is loaded or it is not recognised."""
    for flag, space in (("is_sdxl", "sdxl"), ("is_sd3", "sd3"), ("is_sd2", "sd15"), ("is_sd1", "sd15")):
        if getattr(sd_model, flag, False):
            return space
    return "flux" if "flux" in type(sd_model).__name__.lower() else None


def check_space(preference: Preference, space: str | None) -> None:
    """Raises PreferenceError if a preference does not fit the loaded model's latent space (None: not recognised)."""
    advice = "use a preference made for this model, or learn one from it (docs/learning.md)"
    preference.check_space(space, "the loaded model", advice if space else "load the model that it was made for")


def cfg_of(p: Processing) -> float:
    """The CFG scale of the current pass; Forge has a separate one for the hires pass."""
    hires = getattr(p, "hr_cfg", None) if getattr(p, "is_hr_pass", False) else None
    return float(hires or p.cfg_scale)


def window_of(sd_model: Any, start: float, end: float) -> tuple[float, float]:
    """Start and end as fractions of the run, 0 to 1 -> (sigma where it starts, sigma where it ends)."""
    if is_forge(sd_model):
        to_sigma = sd_model.forge_objects.unet.model.predictor.percent_to_sigma
    else:
        to_sigma = percent_to_sigma(sd_model.alphas_cumprod)
    # 0 and 1 need no schedule; for 0, flow models would return 1.0, which may be their first sigma.
    return (math.inf if start <= 0 else to_sigma(start), 0.0 if end >= 1 else to_sigma(end))


def coin_seeds(p: Processing) -> list[int]:
    """One seed for each picture of the batch: its own, combined with its variation seed if variations are on."""
    if not getattr(p, "subseed_strength", 0):
        return [int(seed) for seed in p.seeds]
    return [int(seed) * 2**32 + int(subseed) for seed, subseed in zip(p.seeds, p.subseeds, strict=True)]


def regions_of(conditioning: Any, count: int) -> list[list[Tensor]]:
    """The host's conditioning of a batch -> for each of `count` pictures the tokens of its prompts, each [1, T, width].

    `conditioning` is a MulticondLearnedConditioning: a picture has parts (AND), a part has schedules ([a:b:0.5]). All
    schedules are read, also those of later steps. Parts with a weight of 0 or less are skipped.
    """
    rows = [
        [_tokens(schedule.cond) for part in parts if part.weight > 0 for schedule in part.schedules]
        for parts in conditioning.batch
    ]
    return [rows[index % len(rows)] for index in range(count)]


def _tokens(cond: Any) -> Tensor:
    tokens = cond["crossattn"] if isinstance(cond, dict) else cond  # SDXL also has a pooled vector
    return tokens.detach()[None]
