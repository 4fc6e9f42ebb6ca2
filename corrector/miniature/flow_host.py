"""The flow miniature and its twin as a host, with the miniature's reader.

The transformer sees x = (1 - sigma) x0 + sigma noise. Everything outside this module sees the variance-exploding
y = x / (1 - sigma) at s = sigma / (1 - sigma), for which the denoised latent is the same.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from ..hosts.components import PipelineTexts, decoded, encoded
from ..hosts.loading import silence_libraries
from ..hosts.pipelines import identity_of
from ..hosts.prompts import Prompts
from ..hosts.sampler import sample_euler
from ..latents.host import Hook, starting_noise
from ..latents.spaces import denoised_from_output, exploding, flowing
from .flow_model import FLOW_WEIGHTS, SPACE, TWIN_WEIGHTS, Texts, velocity
from .model import WEIGHTS
from .reader import Reader, load_reader

TWIN_STEPS = 4


class FlowMiniature(PipelineTexts):
    """The flow miniature as a LearningHost, computed on the CPU.

    Args:
        folder: its pipeline in diffusers' format.
        bf16: transformer and VAE compute in bfloat16 by autocast.
        steps, cfg: at which pictures are drawn if none are named.
    """

    space = SPACE.name
    batch = 50

    def __init__(self, folder: Path = FLOW_WEIGHTS, bf16: bool = False, steps: int = 16, cfg: float = 2.0):
        from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import StableDiffusion3Pipeline

        silence_libraries()
        pipe = StableDiffusion3Pipeline.from_pretrained(
            folder, local_files_only=True, text_encoder_3=None, tokenizer_3=None
        )
        super().__init__(pipe)
        self.folder = Path(folder)
        self.transformer = pipe.transformer.eval().requires_grad_(False)
        self.autoencoder = pipe.vae.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        side = self.transformer.config.sample_size
        self.shape = (SPACE.channels, side, side)
        self.steps = steps
        self.cfg = cfg
        self.evaluations = 0  # of the transformer, counted in pictures
        self.dtype = "bfloat16 (autocast)" if bf16 else "float32"
        if bf16:
            for name in ("denoise", "decode", "encode_pictures"):
                setattr(self, name, torch.autocast("cpu", torch.bfloat16)(getattr(self, name)))

    @cached_property
    def reader(self) -> Reader:
        return load_reader(WEIGHTS)

    @property
    def identity(self) -> dict:
        sigmas = self.schedule(self.steps)
        return {
            "checkpoint": identity_of(self.transformer, *self.encoders),
            "vae": identity_of(self.autoencoder),
            "space": self.space,
            "shape": list(self.shape),
            "dtype": self.dtype,
            "schedule": f"flow, sigma {sigmas[0]:.4f} to {sigmas[-2]:.4f}",
        }

    def encode(self, prompts: Sequence[str]) -> Prompts:
        return self.encoded(prompts)

    @torch.no_grad()
    def denoise(self, x: Tensor, sigma: Tensor, conditioning: Prompts) -> Tensor:
        conditioning = conditioning.expand(len(x))
        self.evaluations += len(x)
        x, flow_sigma = flowing(x, sigma)
        output = velocity(self.transformer, x, flow_sigma, Texts(conditioning.tokens, conditioning.pooled))
        return denoised_from_output(output, x, flow_sigma, "flow")

    def schedule(self, steps: int) -> Tensor:
        """Variance-exploding sigmas of the pipeline's own schedule, descending to 0: [steps + 1]."""
        scheduler = type(self.pipe.scheduler).from_config(self.pipe.scheduler.config)
        scheduler.set_timesteps(steps)
        _, sigmas = exploding(scheduler.sigmas, scheduler.sigmas)
        return sigmas

    def noise(self, seeds: Iterable[int]) -> Tensor:
        """The `starting_noise` of seeds [N, C, H, W]."""
        return starting_noise(seeds, self.shape)

    def sample(
        self, conditioning: Prompts, seeds: Sequence[int], cfg: float | None = None, steps: int | None = None,
        hook: Hook | None = None,
    ) -> Tensor:  # fmt: skip
        sigmas = self.schedule(steps or self.steps)
        conditioning = conditioning.expand(len(seeds))
        return sample_euler(self, conditioning, self.noise(seeds), sigmas, self.cfg if cfg is None else cfg, hook)

    def decode(self, latents: Tensor) -> Tensor:
        return decoded(self.pipe, latents, self.device)

    def encode_pictures(self, pictures: Tensor) -> Tensor:
        return encoded(self.pipe, pictures, self.device)


def twin(bf16: bool = False) -> FlowMiniature:
    """The step-distilled twin, at TWIN_STEPS steps and CFG 1."""
    return FlowMiniature(TWIN_WEIGHTS, bf16, steps=TWIN_STEPS, cfg=1.0)
