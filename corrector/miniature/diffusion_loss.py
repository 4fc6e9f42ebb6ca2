"""The UNet's training loss, of the miniature, of the second world and of derivatives."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from . import model
from .prompts import Named, caption

Prediction = Literal["epsilon", "v_prediction"]
Captioner = Callable[[np.random.Generator, str, Any], tuple[str, Named]]


def normal(rng: np.random.Generator, shape: Sequence[int]) -> Tensor:
    """Normal noise of a shape."""
    return torch.from_numpy(rng.standard_normal(tuple(shape), dtype=np.float32))


def captions_of(rng: np.random.Generator, scenes: Sequence[tuple[str, Any]], captioner: Captioner) -> list[str]:
    """A caption of each (kind of caption, Scene); 10 % are dropped, for classifier-free guidance."""
    return ["" if rng.random() < 0.1 else captioner(rng, *scene)[0] for scene in scenes]


def diffusion_loss(
    unet: nn.Module, latents: Tensor, pool: Sequence, chosen: np.ndarray, encode: Callable[[list[str]], Tensor],
    rng: np.random.Generator, captioner: Captioner = caption, prediction: Prediction = "epsilon",
) -> Tensor:  # fmt: skip
    """Loss of the UNet on SD1.5's schedule at random noise levels.

    Args:
        unet: network to train.
        latents: [N, 4, H, W] in model space, of the scenes in `pool`.
        pool: list of N (kind of caption, Scene).
        chosen: indices of the batch, [B].
        encode: list of B captions -> conditioning [B, 77, W].
        rng: of noise and captions.
        captioner: as `caption`.
        prediction: "epsilon" or "v_prediction".
    """
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    scheduler = DDPMScheduler(**model.SCHEDULE, prediction_type=prediction)
    captions = captions_of(rng, [pool[index] for index in chosen], captioner)
    count = len(chosen)  # noise levels are stratified over the batch, for a steadier loss
    timestep: Any = torch.from_numpy(((rng.random() + np.arange(count)) / count % 1 * 1000).astype(np.int64))
    noise = normal(rng, (count, *latents.shape[1:]))
    x0 = latents[chosen]
    noised = scheduler.add_noise(x0, noise, timestep)
    target = noise if prediction == "epsilon" else scheduler.get_velocity(x0, noise, timestep)
    conditioning = encode(captions)
    # On a CPU the backward pass of fused attention takes half of the step.
    with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
        output = unet(noised, timestep, conditioning).sample.float()
    return F.mse_loss(output, target)
