"""Between ComfyUI's sampling and the package, which knows pictures [B, C, H, W] in variance-exploding form only.

How a model is sampled is read from its sampling object, which nodes may replace; its latents do not tell.
"""

import math
from typing import Any

import comfy.model_sampling
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..corrector.correction.update import CorrectionError
from ..corrector.latents import spaces


class Sampling:
    """How a model is sampled.

    Args:
        model: as it is at the start of a run.
        frames: whether its latents have frames, [B, C, T, H, W].
    """

    def __init__(self, model: ModelPatcher, frames: bool = False):
        self._schedule: Any = model.get_model_object("model_sampling")
        self.flow = predicts_flow(model)
        self.noise_scale = float(getattr(self._schedule, "noise_scale", 1.0))
        self.frames = frames

    def pictures(self, latents: Tensor) -> Tensor:
        """The host's latents -> [B, C, H, W]. Raises CorrectionError if they are no pictures."""
        if self.frames and latents.shape[2] != 1:
            raise CorrectionError(
                f"This is a video of {latents.shape[2]} latent frames, and RS-Corrector only corrects pictures. Remove "
                "the RS-Corrector node from this graph, or set the length to one frame."
            )
        return latents[:, :, 0] if self.frames else latents

    def latents(self, pictures: Tensor) -> Tensor:
        """The way back of `pictures`."""
        return pictures[:, :, None] if self.frames else pictures

    def exploding(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """x and sigma [B] of the host -> of the package: exact, and the denoised is the same."""
        x = self.pictures(x)
        return spaces.exploding(x, sigma, self.noise_scale) if self.flow else (x, sigma)

    def sampled(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """The way back of `exploding`."""
        x, sigma = spaces.flowing(x, sigma, self.noise_scale) if self.flow else (x, sigma)
        return self.latents(x), sigma

    def window(self, start: float, end: float) -> tuple[float, float]:
        """Fractions of a run in 0..1, as the host means them -> first and last sigma of the package."""
        first, last = (self._level(self._schedule.percent_to_sigma(percent)) for percent in (start, end))
        return (math.inf if start <= 0 else first), last

    def _level(self, sigma: float | Tensor) -> float:
        """A sigma of the host -> of the package, rounded as those of a run are, which may equal it."""
        level = torch.as_tensor(sigma, dtype=torch.float32).reshape(1)
        return float(spaces.exploding(level, level, self.noise_scale)[1] if self.flow else level)


def predicts_flow(model: ModelPatcher) -> bool:
    """Whether a model is sampled as a flow model (rectified flow)."""
    return isinstance(model.get_model_object("model_sampling"), comfy.model_sampling.CONST)
