"""A host whose predictions are exact: two Gaussians, selected by the prompt."""

from itertools import pairwise

import numpy as np
import torch

from corrector.latents.host import starting_noise
from gaussian_world import GaussianWorld

SHAPE = (4, 4, 4)
PATTERN = torch.zeros(SHAPE)
PATTERN[0, :, :2], PATTERN[1, :, 2:] = 0.7, -0.7  # the difference of the sides; channel 3, the skin, is the same


class GaussianHost:
    """A LearningHost. Conditioning [:, 0, 0] is 1 or -1 if the prompt asks for counter or stereotype.

    Args:
        lighter: by how much channel 3, the skin, is larger on the counter side.
    """

    space, device, batch, steps, vocabulary = "miniature", torch.device("cpu"), 50, 16, ()
    identity = {"checkpoint": "two Gaussians"}

    def __init__(self, lighter=0.0):
        counter = PATTERN.clone()
        counter[3] = lighter / 2
        self.world = GaussianWorld(beta=0.1, means=(counter, -counter), spreads=(0.6, 0.6), shape=SHAPE)

    def encode(self, prompts):
        conditioning = torch.zeros(len(prompts), 2, 16)
        for row, prompt in zip(conditioning, prompts, strict=True):
            row[0, 0] = any(p in prompt for p in ("city", "tower")) - float(
                any(p in prompt for p in ("village", "hut"))
            )
            for index, group in enumerate(("orvane", "tavelu")):
                row[1, index] = float(group in prompt.lower())
        return conditioning

    def denoise(self, x, sigma, conditioning):
        x, sigma, side = x.double(), sigma.double(), conditioning[:, 0, 0].view(-1, 1, 1, 1)
        counter, stereotype = (self.world.denoised_of(x, sigma, index) for index in (0, 1))
        neutral = self.world.denoised(x, sigma)
        return torch.where(side > 0, counter, torch.where(side < 0, stereotype, neutral)).float()

    def encode_each(self, prompts):
        return iter(self.encode(prompts))

    def sample(self, conditioning, seeds, cfg=1.0, steps=24, hook=None):
        conditioning, noise = conditioning.expand(len(seeds), -1, -1), starting_noise(seeds, SHAPE)
        sigmas = torch.cat([torch.logspace(np.log10(14.6), -1.5, steps), torch.zeros(1)])
        latents = []
        for which in torch.arange(len(seeds)).split(self.batch):
            x = noise[which] * sigmas[0]
            for sigma, following in pairwise(sigmas):
                level = sigma.expand(len(which))
                denoised = self.denoise(x, level, conditioning[which])
                if hook:
                    denoised = hook(denoised, x, level, which, denoised)
                x = denoised + following / sigma * (x - denoised)
            latents.append(x)
        return torch.cat(latents)

    def decode(self, latents):
        grey = (0.5 * latents[:, 3:].mean(dim=(2, 3), keepdim=True)).clamp(-1, 1)
        return grey.expand(-1, 3, 16, 16)

    def encode_pictures(self, pictures):
        grey = 2 * pictures.mean(dim=(1, 2, 3), keepdim=True)
        return torch.cat([torch.zeros(len(pictures), 3, *SHAPE[1:]), grey.expand(-1, 1, *SHAPE[1:])], dim=1)
