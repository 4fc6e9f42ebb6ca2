"""The miniature as a host: encode, denoise, sample, decode, the four functions that the package builds on."""

from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from ..hosts.lora import apply_lora
from ..hosts.sampler import Host
from . import model
from .reader import load_reader


class Miniature(Host):
    """A loaded miniature. Latents are in model space: VAE space times the autoencoder's scaling factor."""

    space = "miniature"
    shape = (4, 16, 16)

    def __init__(self, folder=model.WEIGHTS, bf16=False, lora=None):
        """`bf16`: let UNet and autoencoder compute in bfloat16, twice as fast on CPUs that have it.

        `lora`: a LoRA file that makes it a derivative. Raises LoraError where it is another model's.
        """
        self.bf16, self.dtype = bf16, "bfloat16 (autocast)" if bf16 else "float32"
        self.unet, self.text_encoder, self.autoencoder, self.tokenizer = model.load(folder)
        self.folder = Path(folder)
        names = "unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"
        self.weight_files = [self.folder / name for name in names]
        self.autoencoder_files = [self.folder / "vae" / "diffusion_pytorch_model.safetensors"]
        if lora:
            apply_lora(self.unet, [self.text_encoder], lora)
            self.weight_files.append(Path(lora))
        self.scale = self.autoencoder.config.scaling_factor
        self.sigmas = model.training_sigmas()
        self.evaluations = 0  # of the UNet, counted in pictures

    @cached_property
    def reader(self):
        return load_reader(self.folder)

    @torch.no_grad()
    def encode(self, prompts):
        """Prompts -> conditioning [N, 77, 128]."""
        return self.text_encoder(model.tokenize(self.tokenizer, prompts)).last_hidden_state

    @torch.no_grad()
    def denoise(self, x, sigma, conditioning):
        """(x [B, 4, H, W], sigma [B], conditioning [B, 77, 128]) -> denoised, without CFG."""
        self.evaluations += len(x)
        timestep = self.timestep(sigma)
        scale = sigma.view(-1, 1, 1, 1)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            eps = self.unet(x / (scale.square() + 1).sqrt(), timestep, conditioning).sample
        return x - scale * eps.float()

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
