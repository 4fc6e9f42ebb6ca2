"""The miniature as a host: encode, denoise, sample, decode, the four functions that the package builds on."""

from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from safetensors.torch import load_file

from . import model
from .reader import Reader


class Miniature:
    """A loaded miniature. Latents are in model space: VAE space times the autoencoder's scaling factor."""

    space = "miniature"
    shape = (4, 16, 16)

    def __init__(self, folder=model.WEIGHTS, bf16=False):
        """`bf16`: let UNet and autoencoder compute in bfloat16, twice as fast on CPUs that have it."""
        self.bf16 = bf16
        self.unet, self.text_encoder, self.autoencoder, self.tokenizer = model.load(folder)
        self.folder = folder
        self.scale = self.autoencoder.config.scaling_factor
        self.sigmas = model.training_sigmas()
        self.evaluations = 0  # of the UNet, counted in pictures

    @cached_property
    def reader(self):
        reader = Reader()
        reader.load_state_dict({k: v.float() for k, v in load_file(self.folder / "reader.safetensors").items()})
        return reader.eval().requires_grad_(False)

    @torch.no_grad()
    def encode(self, prompts):
        """Prompts -> conditioning [N, 77, 128]."""
        return self.text_encoder(model.tokenize(self.tokenizer, prompts)).last_hidden_state

    @torch.no_grad()
    def denoise(self, x, sigma, conditioning):
        """(x [B, 4, H, W], sigma [B], conditioning [B, 77, 128]) -> denoised, without CFG."""
        # The nearest of the 1000 training sigmas gives the timestep, as in ComfyUI, so that predictions agree.
        timestep = (sigma.log()[:, None] - self.sigmas.log()).abs().argmin(dim=1)
        self.evaluations += len(x)
        scale = sigma.view(-1, 1, 1, 1)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            eps = self.unet(x / (scale.square() + 1).sqrt(), timestep, conditioning).sample
        return x - scale * eps.float()

    def schedule(self, steps):
        """Karras et al. (2022) sigmas of the sampler, descending to 0: [steps + 1]."""
        from diffusers import EulerDiscreteScheduler

        scheduler = EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
                                           use_karras_sigmas=True)  # fmt: skip
        scheduler.set_timesteps(steps)
        return scheduler.sigmas

    def noise(self, seeds):
        """One starting noise a seed, [N, 4, 16, 16], each the same in whatever batch it is drawn."""
        draws = [torch.randn(self.shape, generator=torch.Generator().manual_seed(int(seed))) for seed in seeds]
        return torch.stack(draws)

    @torch.no_grad()
    def sample(self, conditioning, seeds, cfg=2.0, steps=16, hook=None, batch=50, progress=None):
        """Euler's method from seeds to latents [N, 4, 16, 16]; conditioning [N or 1, 77, 128].

        `hook(denoised, x, sigma, which)`, called after CFG as hosts do, returns the new denoised; `which` [B] says
        which of the N pictures are in the batch.
        """
        conditioning = conditioning.expand(len(seeds), -1, -1)
        empty = self.encode([""])
        sigmas, latents = self.schedule(steps), []
        for which in torch.arange(len(seeds)).split(batch):
            x = self.noise([seeds[i] for i in which.tolist()]) * (sigmas[0].square() + 1).sqrt()
            both = torch.cat([conditioning[which], empty.expand(len(which), -1, -1)])
            for sigma, following in pairwise(sigmas):
                level = sigma.expand(len(which))
                if cfg == 1.0:
                    denoised = self.denoise(x, level, both[: len(which)])
                else:
                    wanted, plain = self.denoise(x.repeat(2, 1, 1, 1), level.repeat(2), both).chunk(2)
                    denoised = plain + cfg * (wanted - plain)
                if hook:
                    denoised = hook(denoised, x, level, which)
                x = denoised + following / sigma * (x - denoised)  # Euler step
            latents.append(x)
            if progress:
                progress(len(which))
        return torch.cat(latents)

    @torch.no_grad()
    def encode_pictures(self, pictures):
        """Pictures [N, 3, H, W] in -1..1 -> latents [N, 4, H/8, W/8] in model space."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            latents = torch.cat([self.autoencoder.encode(part).latents.float() for part in pictures.split(50)])
        return latents.contiguous() * self.scale

    @torch.no_grad()
    def decode(self, latents):
        """Latents [N, 4, H, W] in model space -> pictures [N, 3, 8H, 8W] in -1..1."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            pictures = [self.autoencoder.decode(z / self.scale).sample.float() for z in latents.split(50)]
        return torch.cat(pictures).clamp(-1, 1)


def pictures_to_uint8(pictures):
    """Pictures [N, 3, H, W] in -1..1 -> uint8 [N, H, W, 3]."""
    return ((pictures + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy().astype(np.uint8)
