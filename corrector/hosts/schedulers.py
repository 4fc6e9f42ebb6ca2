"""How a diffusers scheduler scales its samples, and at which sigma the model is evaluated before each `step`."""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..correction.update import CorrectionError
from ..latents.spaces import MOST_NOISE, denoised_from_output, flowing, percent_to_sigma

if TYPE_CHECKING:
    from diffusers.configuration_utils import ConfigMixin

SIGMA_SCALED = (  # sample = x0 + sigma * noise
    "EulerDiscrete", "EulerAncestralDiscrete", "HeunDiscrete", "LMSDiscrete", "KDPM2Discrete", "KDPM2AncestralDiscrete",
    "DPMSolverSDE",
)  # fmt: skip
BY_STEP = ("DPMSolverMultistep", "DPMSolverSinglestep", "UniPCMultistep", "DEISMultistep", "SASolver")
BY_TIMESTEP = ("DDIM", "DDPM", "PNDM", "LCM", "TCD")
KNOWN = (*SIGMA_SCALED, *BY_STEP, *BY_TIMESTEP)
FLOW = ("FlowMatchEulerDiscrete", "FlowMatchHeunDiscrete")  # sample = (1 - sigma) * x0 + sigma * noise
WITH_FLOW_SIGMAS = (
    "DPMSolverMultistep",
    "DPMSolverSinglestep",
    "UniPCMultistep",
    "DEISMultistep",
)  # as FLOW, if so set
MIDPOINTS = {  # sigma of the second evaluation of a step, if it is not the sigma of the next step
    "KDPM2Discrete": lambda scheduler: scheduler.sigmas_interpol[scheduler.step_index],
    "KDPM2AncestralDiscrete": lambda scheduler: scheduler.sigmas_interpol[scheduler.step_index - 1],
    "DPMSolverSDE": lambda scheduler: scheduler.mid_point_sigma,
}
LEAST_ALPHA = 2**-24  # least cumulative alpha, at zero terminal SNR; the same as in EulerDiscreteScheduler
PREDICTIONS = ("epsilon", "v_prediction", "sample")
PREDICTION_KINDS = {"epsilon": "eps", "v_prediction": "v"}  # as `denoised_from_output` names them
PIXEL_CLIPPING = ("clip_sample", "thresholding")  # settings for models whose values are pixels


def check_scheduler(scheduler: ConfigMixin, flow: bool = False) -> None:
    """Raises CorrectionError if a scheduler is not one of those that can be corrected.

    Args:
        scheduler: of a pipeline.
        flow: whether the pipeline's model predicts flow.
    """
    config, name, sigmas = scheduler.config, type(scheduler).__name__, ""
    supported = (*FLOW, *WITH_FLOW_SIGMAS) if flow else KNOWN
    if config.get("use_flow_sigmas"):
        sigmas = " with flow sigmas"
    elif flow and _kind(scheduler, WITH_FLOW_SIGMAS):
        sigmas = " without flow sigmas"
    if _kind(scheduler, supported) is None or (sigmas and flow != is_flow(scheduler)):
        raise CorrectionError(
            f"The pipeline's scheduler is {name}{sigmas}, which RS-Corrector does not support"
            f"{' for a flow model' if flow else ''}; set pipe.scheduler to one of {', '.join(supported)}"
            f"{', those but the first two with use_flow_sigmas=True' if flow else ''}."
        )
    predictions = ("flow_prediction",) if flow else PREDICTIONS
    if not _kind(scheduler, FLOW) and config["prediction_type"] not in predictions:
        raise CorrectionError(
            f'The {name} has the prediction type "{config["prediction_type"]}" and RS-Corrector supports '
            f"{', '.join(predictions)}; use the scheduler that came with the checkpoint."
        )
    settings = inspect.signature(type(scheduler).__init__).parameters  # a configuration may hold those of others
    if clipping := [setting for setting in PIXEL_CLIPPING if setting in settings and config.get(setting)]:
        off = ", ".join(f"{setting}=False" for setting in clipping)
        raise CorrectionError(
            f"The {name} has {' and '.join(clipping)} on, which is for pixels and damages latents; set pipe.scheduler "
            f"to {name}.from_config(pipe.scheduler.config, {off})."
        )


def is_flow(scheduler: Any) -> bool:
    """Whether a scheduler's samples are those of a flow model."""
    return bool(_kind(scheduler, FLOW) or scheduler.config.get("use_flow_sigmas"))


def window_of(scheduler: Any, start: float, end: float) -> tuple[float, float]:
    """Fractions of a run in 0..1 -> first and last sigma. A flow model's depend on the steps that are set."""
    if not is_flow(scheduler):
        to_sigma = percent_to_sigma(scheduler.alphas_cumprod)
        return to_sigma(start), to_sigma(end)
    sigmas = scheduler.sigmas.double().cpu()

    def at(fraction: float) -> float:
        step = fraction * (len(sigmas) - 1)
        low = min(int(step), len(sigmas) - 2)
        sigma = float(torch.lerp(sigmas[low], sigmas[low + 1], step - low))
        return sigma / max(1 - sigma, 1 / MOST_NOISE)

    return (math.inf if start <= 0 else at(start)), (0.0 if end >= 1 else at(end))


def noise_level(scheduler: Any, timestep: Tensor) -> tuple[float, float]:
    """(sigma, alpha) of the sample that is given to `step`: sample = alpha * (x0 + sigma * noise), as `exploding`."""
    kind = _kind(scheduler, (*KNOWN, *FLOW))
    if kind in BY_TIMESTEP:
        squared = max(float(scheduler.alphas_cumprod[int(timestep)]), LEAST_ALPHA)
        return math.sqrt((1 - squared) / squared), math.sqrt(squared)
    if scheduler.step_index is None:
        scheduler._init_step_index(timestep)
    if kind in MIDPOINTS and not scheduler.state_in_first_order:
        sigma = float(MIDPOINTS[kind](scheduler))
    else:
        sigma = float(scheduler.sigmas[scheduler.step_index])
    if is_flow(scheduler):
        rest = max(1 - sigma, 1 / MOST_NOISE)
        return sigma / rest, rest
    return sigma, 1.0 if kind in SIGMA_SCALED else 1 / math.sqrt(sigma**2 + 1)


def nearest_timestep(scheduler: Any, sigma: Tensor) -> Tensor:
    """sigma [B] -> the nearest training timestep in log sigma [B], as `Checkpoint.timestep`."""
    alphas = scheduler.alphas_cumprod.to(sigma.device, torch.float32).clamp(min=LEAST_ALPHA)
    return (sigma.float().log()[:, None] - ((1 - alphas) / alphas).log() / 2).abs().argmin(dim=1)


def denoised_of(scheduler: Any, output: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
    """A denoiser's output -> denoised, for x [B, C, H, W] at sigma [B] in variance-exploding form."""
    if is_flow(scheduler):
        return denoised_from_output(output.float(), *flowing(x, sigma), "flow")
    prediction = scheduler.config.prediction_type
    if prediction == "sample":
        return output
    return denoised_from_output(output.float(), x, sigma, PREDICTION_KINDS[prediction])


def output_unit(scheduler: Any, sigma: float, alpha: float) -> float:
    """The change of a denoiser's output that changes the denoised by 1, at a `noise_level`."""
    if is_flow(scheduler):
        return -1 / (sigma * alpha)
    units = {"sample": 1.0, "epsilon": -1 / sigma, "v_prediction": -math.sqrt(sigma**2 + 1) / sigma}
    return units[scheduler.config.prediction_type]


def has_finished(scheduler: Any, timestep: Tensor) -> bool:
    """Whether the `step` that was made at a timestep was the last one."""
    step = getattr(scheduler, "step_index", None)
    return bool(timestep == scheduler.timesteps[-1]) if step is None else step == len(scheduler.timesteps)


def _kind(scheduler, known):
    """The name in `known` of a scheduler's class or of a base class, or None."""
    names = (kind.__name__.removesuffix("Scheduler") for kind in type(scheduler).__mro__)
    return next((name for name in names if name in known), None)
