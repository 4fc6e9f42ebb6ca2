"""What the adapters read from a host: latent space, sigmas, CFG scale, seeds, and the tokens of prompts."""

import math
from typing import Any, Protocol

import torch
from torch import Tensor

from ..corrector.latents import spaces
from ..corrector.preference.preference import Preference

TOKENS = "crossattn"  # of SDXL's conditioning, which also has a pooled vector


class Processing(Protocol):
    """The host's processing object `p`, as far as the adapters use it. `sd_model` is of a class of the host's."""

    sd_model: Any
    cfg_scale: float
    steps: int
    width: int
    height: int
    hr_upscale_to_x: int  # the size in a hires pass
    hr_upscale_to_y: int
    firstpass_steps: int
    extra_network_data: Any
    sampler: Any  # of the current pass
    prompts: list[str]  # of the current batch
    seeds: list[int]
    subseeds: list[int]
    extra_generation_params: dict[str, object]

    def comment(self, text: str) -> None: ...

    def get_conds_with_caching(
        self, function: Any, required_prompts: Any, steps: int, caches: list, extra_network_data: Any,
        hires_steps: int | None,
    ) -> Any: ...  # fmt: skip


def is_forge(sd_model: object) -> bool:
    return hasattr(sd_model, "forge_objects")


def predicts_flow(sd_model: Any) -> bool:
    """Whether a model is sampled as a flow model, which is so in Forge only."""
    return is_forge(sd_model) and predictor_of(sd_model).prediction_type == "const"


def predictor_of(sd_model: Any) -> Any:
    """What Forge samples a model by."""
    return sd_model.forge_objects.unet.model.predictor


def space_of(sd_model: object) -> str | None:
    """A name in LATENT_SPACES, or None if no model is loaded or it is not recognised."""
    for flag, space in (("is_sdxl", "sdxl"), ("is_sd3", "sd3"), ("is_sd2", "sd15"), ("is_sd1", "sd15")):
        if getattr(sd_model, flag, False):
            return space
    return "flux" if type(sd_model).__name__ in ("Flux", "Chroma") else None


def check_space(preference: Preference, space: str | None) -> None:
    """Raises PreferenceError if a preference does not fit the loaded model's latent space; None: not recognised."""
    advice = "use a preference made for this model, or learn one from it (docs/learning.md)"
    preference.check_space(space, "the loaded model", advice if space else "load the model that it was made for")


def cfg_of(p: Processing) -> float:
    """The CFG scale of the current pass; Forge has a separate one for the hires pass."""
    hires = getattr(p, "hr_cfg", None) if getattr(p, "is_hr_pass", False) else None
    return float(hires or p.cfg_scale)


def window_of(sd_model: Any, start: float, end: float) -> tuple[float, float]:
    """Start and end as fractions of the run, 0 to 1 -> (sigma where it starts, sigma where it ends)."""
    if is_forge(sd_model):
        to_sigma = predictor_of(sd_model).percent_to_sigma
    else:
        to_sigma = spaces.percent_to_sigma(sd_model.alphas_cumprod)
    first, last = (_exploding(sd_model, to_sigma(fraction)) for fraction in (start, end))
    return math.inf if start <= 0 else first, 0.0 if end >= 1 else last


def _exploding(sd_model, sigma):
    return sigma / max(1 - sigma, 1 / spaces.MOST_NOISE) if predicts_flow(sd_model) else sigma


def predicts_x0(denoiser: Any, x: Tensor, sigma: Tensor) -> bool:
    """Whether a CFGDenoiser of the host has denoised latents as its output; else eps, and timesteps for sigma."""
    return denoiser.get_pred_x0(x, x, sigma) is x


def exploding(denoiser: Any, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """x and sigma, or timestep, as a CFGDenoiser gets them -> x = x0 + sigma n [B, C, H, W] and sigma [B].

    Timestep samplers have x0 = get_pred_x0(x, eps, t) = a x - s eps, with a x = x0 + s n: that a x is the x of this
    package, and s its sigma.
    """
    if predicts_x0(denoiser, x, sigma):
        return spaces.exploding(x, sigma) if predicts_flow(denoiser.p.sd_model) else (x, sigma)
    zero = torch.zeros_like(x)
    return denoiser.get_pred_x0(x, zero, sigma), -denoiser.get_pred_x0(zero, torch.ones_like(x), sigma)[:, 0, 0, 0]


def nearest_timestep(denoiser: Any, sigma: Tensor) -> Tensor:
    """sigma [N] -> the nearest timestep [N] of a timestep sampler, in log sigma."""
    alphas = denoiser.alphas.to(sigma)
    levels = ((1 - alphas) / alphas).log() / 2  # [T]
    return (sigma.log()[:, None] - levels).abs().argmin(dim=1)


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
    tokens = tokens_of(cond).detach()[None]
    return tokens[:, count_of_marks(tokens) :]


def tensors_of(text: Any) -> dict[str, Tensor]:
    """The tensors of a conditioning of the host, by name."""
    return {TOKENS: text} if isinstance(text, Tensor) else text


def tokens_of(text: Any) -> Tensor:
    """The token vectors [..., T, W] of a conditioning of the host."""
    return tensors_of(text)[TOKENS]


def count_of_marks(tokens: Tensor) -> int:
    """How many of the first token vectors [R, T, W] are no tokens: 1 in Automatic1111 with ControlNet, which marks
    prompts by a vector whose values all have the same size; else 0.
    """
    first = tokens[:, 0].abs()
    return int((first == first[:, :1]).all() and first.any())
