"""Latent spaces: channels, scale, and the relations between x, sigma and the model's output.

Everything in the package is in *model space*, in which the host samples (SD1.5: VAE latents times 0.18215), and in
variance-exploding form (Karras et al. 2022, EDM): `x = x0 + sigma*n`. Flow models are sampled as
`x = (1-sigma)*x0 + sigma*n` with sigma in 0..1: hosts turn that into this form and back.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

MOST_NOISE = 1e4  # sigma of a flow model's first step, where nothing is left of x0


@dataclass(frozen=True)
class LatentSpace:
    """A latent space. `scale` and `shift` map VAE space to model space: (z - shift) * scale; NaN if they differ by
    channel.

    `title` names the models that it was made for. A family with the latents of another, but which predicts flow where
    that does not, has a space of its own.
    """

    name: str
    title: str
    channels: int
    scale: float
    shift: float = 0.0


LATENT_SPACES = {
    space.name: space
    for space in (
        LatentSpace("sd15", "SD1.5 and SD2.x", 4, 0.18215),  # SD2.x has another text encoder
        LatentSpace("sdxl", "SDXL", 4, 0.13025),
        LatentSpace("sd3", "SD3", 16, 1.5305, 0.0609),
        LatentSpace("flux", "Flux.1", 16, 0.3611, 0.1159),
        LatentSpace("flux2", "Flux.2", 128, math.nan),
        LatentSpace("qwen-image", "Qwen-Image", 16, math.nan),
        LatentSpace("cosmos-predict2", "Cosmos-Predict2", 16, math.nan),
        LatentSpace("auraflow", "AuraFlow", 4, 0.13025),
        LatentSpace("playground", "Playground 2.5", 4, math.nan),
        LatentSpace("stable-cascade", "Stable Cascade", 16, math.nan),
        LatentSpace("hunyuan-image", "HunyuanImage 2.1", 64, 0.75289),
        LatentSpace("miniature", "the miniature", 4, 0.94277),
        LatentSpace("flow-miniature", "the flow miniature", 16, 1.53, 0.06),
        LatentSpace("second-world", "the second world", 4, 2.0),  # benchmarks/second_world
    )
}


def expand(per_image: Tensor | float, like: Tensor) -> Tensor:
    """[B] or a number -> [B, 1, 1, 1] in the dtype and on the device of `like`."""
    per_image = torch.as_tensor(per_image, dtype=like.dtype, device=like.device)
    return per_image.reshape(-1, *[1] * (like.ndim - 1))


def fit_mask(mask: Tensor, x: Tensor) -> Tensor:
    """A mask in 0..1 [..., H, W] of any size -> [B, 1, h, w] for x [B, C, h, w]; fewer masks than pictures repeat."""
    mask = mask.reshape(-1, 1, *mask.shape[-2:]).float()
    mask = F.interpolate(mask, x.shape[2:], mode="bilinear")
    return mask[torch.arange(len(x)) % len(mask)].clamp(0, 1).to(x.device)


def exploding(x: Tensor, sigma: Tensor, noise_scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """x and sigma [B] in 0..1 of a flow model -> in variance-exploding form; the denoised is the same, exactly.

    With x = (1-sigma) x0 + noise_scale sigma n that is x / (1-sigma) and noise_scale sigma / (1-sigma), which is
    clamped, as the first sigma is 1.
    """
    rest = (1 - sigma).clamp(min=1 / MOST_NOISE)
    return x / expand(rest, x), noise_scale * sigma / rest


def flowing(x: Tensor, sigma: Tensor, noise_scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """The way back of `exploding`, also where that clamps; for sigma up to noise_scale * MOST_NOISE."""
    rest = (noise_scale / (noise_scale + sigma)).clamp(min=1 / MOST_NOISE)
    return x * expand(rest, x), sigma * rest / noise_scale


def add_noise(x0: Tensor, noise: Tensor, sigma: Tensor | float) -> Tensor:
    """The noisy latent x at sigma [B]."""
    return x0 + expand(sigma, x0) * noise


def scale_input(x: Tensor, sigma: Tensor) -> Tensor:
    """Scale x at sigma to unit variance, if x0 has unit variance, as input of a network (EDM's c_in)."""
    return x / (1 + expand(sigma, x).square()).sqrt()


def noise_level(sigma: Tensor) -> Tensor:
    """sigma [B] -> EDM's c_noise [B] = ln(sigma) / 4, clamped to finite values."""
    return sigma.clamp(min=1e-4).log() / 4


def denoised_from_output(output: Tensor, x: Tensor, sigma: Tensor, prediction: str) -> Tensor:
    """The network's output -> denoised. `prediction` is "eps", "v" or "flow"; sigma_data is 1, as in SD."""
    sigma = expand(sigma, x)
    if prediction in ("eps", "flow"):
        return x - sigma * output
    if prediction == "v":
        return x / (sigma.square() + 1) - output * sigma / (sigma.square() + 1).sqrt()
    raise ValueError(f'The prediction type is "{prediction}"; RS-Corrector knows "eps", "v" and "flow".')


def percent_to_sigma(alphas_cumprod: Tensor) -> Callable[[float], float]:
    """A model's cumulative alphas [T] -> a function: fraction of the run in 0..1 -> sigma, as in ComfyUI.

    The fraction is one of the training timesteps, with log sigma interpolated; 0 and 1 include every sigma.
    """
    log_sigmas = ((1 - alphas_cumprod.double()) / alphas_cumprod.double()).sqrt().log().cpu()

    def to_sigma(percent):
        if percent <= 0 or percent >= 1:
            return math.inf if percent <= 0 else 0.0
        step = (1 - percent) * (len(log_sigmas) - 1)
        low = min(int(step), len(log_sigmas) - 2)
        return float(torch.lerp(log_sigmas[low], log_sigmas[low + 1], step - low).exp())

    return to_sigma
