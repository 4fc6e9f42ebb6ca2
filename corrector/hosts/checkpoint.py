"""A diffusers pipeline as a host: SD1.5, SD2.x (epsilon or v-prediction), SDXL and the miniature."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..gate.prompt_gate import token_vectors
from ..latents.host import Hook, default_cfg, starting_noise
from ..latents.spaces import denoised_from_output, scale_input
from .components import PipelineTexts, decoded, encoded
from .loading import CheckpointError, load_pipeline
from .pipelines import checkpoint_of, identity_of, limit_tokenizers, name_of, sampled_parts
from .prompts import Prompts
from .sampler import karras_sigmas, sample_euler
from .schedulers import PREDICTION_KINDS

if TYPE_CHECKING:
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

SCHEDULE = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "rescale_betas_zero_snr")
LARGEST_BATCH = 50  # in a batch
LATENTS_AT_ONCE = 2**15  # latent pixels in a batch: 8 pictures of 512 x 512, or 2 of 1024 x 1024
PIXELS = 8  # of the picture, on each side of a latent pixel


class Checkpoint(PipelineTexts):
    """A loaded pipeline of diffusers as a LearningHost; neither its scheduler nor its weights are changed.

    The pipeline may have any precision, scheduler or CPU offload, and may be the img2img, inpaint or ControlNet variant
    (of which only UNet, VAE and text encoders are used). It must stay on its device. Raises CheckpointError if its
    model is not supported.

    Args:
        pipe: StableDiffusionPipeline, StableDiffusionXLPipeline or a variant of them.
        size: (width, height) of the pictures in pixels, multiples of 64; by default the UNet's own.
    """

    steps = 16

    def __init__(self, pipe: DiffusionPipeline, size: tuple[int, int] | None = None):
        self.evaluations = 0  # of the UNet, counted in pictures
        self.unet, self.autoencoder, self.space = sampled_parts(pipe)
        limit_tokenizers(pipe)
        super().__init__(pipe)
        self.shape = (4, *_latent_size(pipe, size))
        self.batch = max(1, min(LARGEST_BATCH, LATENTS_AT_ONCE // (self.shape[1] * self.shape[2])))
        self.dtype = str(self.unet.dtype).removeprefix("torch.")
        self._read_schedule(pipe.scheduler)

    @classmethod
    def load(
        cls, path: str | Path, bf16: bool | None = None, device: str | None = None,
        size: tuple[int, int] | None = None, lora: str | Path | None = None, config: str | Path | None = None,
        offload: bool = False,
    ) -> Checkpoint:  # fmt: skip
        """A checkpoint folder or single file as a host; for the arguments see `load_pipeline` and the class."""
        return cls(load_pipeline(path, bf16, device, lora, config, offload), size)

    @property
    def identity(self) -> dict:
        return {
            "checkpoint": checkpoint_of(self.pipe),
            "vae": identity_of(self.autoencoder),
            "space": self.space,
            "shape": list(self.shape),
            "dtype": self.dtype,
            "schedule": f"{self.prediction}, sigma {self.sigmas[0]:.4f} to {self.sigmas[-1]:.4f}",
        }

    def _read_schedule(self, scheduler):
        from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler

        config, name = scheduler.config, type(scheduler).__name__
        prediction = config.get("prediction_type", "epsilon")
        if prediction not in PREDICTION_KINDS or name.startswith(("EDM", "FlowMatch")) or config.get("use_flow_sigmas"):
            raise CheckpointError(
                f'{name_of(self.pipe)}: its scheduler is "{name}" with prediction "{prediction}", and only models with '
                "epsilon or v_prediction can be sampled; use another checkpoint."
            )
        self.prediction = PREDICTION_KINDS[prediction]
        self.schedule_settings = {key: config[key] for key in SCHEDULE if key in config}
        alphas = EulerDiscreteScheduler(**self.schedule_settings).alphas_cumprod.double()
        self.sigmas = ((1 - alphas) / alphas).sqrt().float()

    def encode(self, prompts: Sequence[str]) -> Tensor | Prompts:
        """Prompts -> token vectors [N, 77, W], or Prompts for SDXL.

        Longer prompts are encoded in chunks, which follow each other: [N, 77 k, W]. Shorter ones are repeated up to the
        same length, which changes nothing in cross-attention.
        """
        encoded = self.encoded(prompts)
        return encoded if self.sdxl else encoded.tokens

    @torch.no_grad()
    def denoise(self, x: Tensor, sigma: Tensor, conditioning: Tensor | Prompts) -> Tensor:
        conditioning, x, sigma = conditioning.expand(len(x), -1, -1), x.to(self.device), sigma.to(self.device)
        self.evaluations += len(x)
        outputs = [
            self._output(scale_input(x[part], sigma[part]), self.timestep(sigma[part]), conditioning[part])
            for part in torch.arange(len(x)).split(2 * self.batch)  # CFG asks for both halves of a batch at once
        ]
        return denoised_from_output(torch.cat(outputs), x, sigma, self.prediction)

    def _output(self, x, timestep, conditioning):
        """The UNet's output for scaled x, float32."""
        to, added = (self.device, self.unet.dtype), None
        if self.sdxl:
            height, width = (PIXELS * side for side in x.shape[-2:])
            sizes = torch.tensor([[height, width, 0.0, 0.0, height, width]])  # original size, crop, target size
            added = dict(text_embeds=conditioning.pooled.to(*to), time_ids=sizes.expand(len(x), -1).to(self.device))
        tokens = token_vectors(conditioning).to(*to)
        return self.unet(x.to(*to), timestep, tokens, added_cond_kwargs=added).sample.float()

    def timestep(self, sigma: Tensor) -> Tensor:
        """sigma [B] -> the nearest training timestep in log sigma [B], as in ComfyUI, so that predictions agree."""
        return (sigma.log()[:, None] - self.sigmas.to(sigma.device).log()).abs().argmin(dim=1)

    def schedule(self, steps: int) -> Tensor:
        """Sigmas of `sample`, descending to 0: [steps + 1]."""
        return karras_sigmas(steps, **self.schedule_settings)

    def noise(self, seeds: Iterable[int]) -> Tensor:
        """The `starting_noise` of seeds [N, 4, H, W]."""
        return starting_noise(seeds, self.shape)

    def sample(
        self, conditioning: Tensor | Prompts, seeds: Sequence[int], cfg: float | None = None, steps: int | None = None,
        hook: Hook | None = None,
    ) -> Tensor:  # fmt: skip
        conditioning = conditioning.expand(len(seeds), -1, -1)
        cfg = default_cfg(self.space) if cfg is None else cfg
        return sample_euler(self, conditioning, self.noise(seeds), self.schedule(steps or self.steps), cfg, hook)

    def decode(self, latents: Tensor) -> Tensor:
        return decoded(self.pipe, latents, self.device)

    def encode_pictures(self, pictures: Tensor) -> Tensor:
        return encoded(self.pipe, pictures, self.device)


def _latent_size(pipe, size):
    """(width, height) in pixels, or None -> (height, width) of the latent."""
    if size is None:
        side = pipe.unet.config.sample_size or 64
        return (side, side) if isinstance(side, int) else tuple(side)
    width, height = size
    if min(width, height) < 64 or width % 64 or height % 64:
        raise CheckpointError(f"The size {width} x {height} cannot be sampled; give multiples of 64.")
    return height // PIXELS, width // PIXELS
