"""A drawn world as the model of a run that asks it, and runs of it by Euler's method."""

from itertools import pairwise

import torch

from gaussian_world import GaussianWorld

SHAPE = (2, 4, 4)
WORLD = GaussianWorld(beta=0.3, means=(1.0, -1.0), spreads=(0.3, 0.3), shape=SHAPE)
START = 14.0


class WorldModel:
    """The world as the model of a run; it counts the pictures that each function is asked about."""

    def __init__(self, world=WORLD, cfg=1.0):
        self.world, self.cfg = world, cfg
        self.asked = {"plain": 0, "prompted": 0, "side": 0}

    def encode(self, preference, phrases):
        return 0 if phrases[0].startswith(preference.axis.counter.phrases) else 1

    def prompted(self, x, sigma):
        self.asked["prompted"] += len(x)
        return self.world.denoised(x.double(), sigma.double()).float()

    def plain(self, x, sigma):
        self.asked["plain"] += len(x)
        conditional = self.world.denoised(x.double(), sigma.double()).float()
        return self.negative(x, sigma) + self.cfg * (conditional - self.negative(x, sigma))

    def negative(self, x, sigma):
        return self.world.denoised(x.double(), sigma.double(), beta=0.28).float()

    def side(self, conditioning, x, sigma, index):
        self.asked["side"] += len(x)
        return self.world.denoised_of(x.double(), sigma.double(), conditioning).float()


def sampled(count, run=None, model=None, replaces=False, seed=3, steps=40, renoised=False, start=START):
    """Steps from the noise of a seed, Euler's, or those of LCM, with noise of their own -> latents [count, *SHAPE]."""
    model, generator = model or WorldModel(), torch.Generator().manual_seed(seed)
    x = start * torch.randn(count, *SHAPE, generator=generator)
    levels = [*torch.logspace(torch.tensor(start).log10(), -1.5, steps).tolist(), 0.0]
    for level, following in pairwise(levels):
        sigma = torch.full((count,), level)
        conditional, negative = WORLD.denoised(x.double(), sigma.double()).float(), model.negative(x, sigma)
        replacement = run.replacement(x, sigma) if run and replaces else None
        if replacement:
            counter = WORLD.denoised_of(x.double(), sigma.double(), 0).float()
            conditional = torch.where(replacement[1].view(-1, 1, 1, 1), counter, conditional)
        denoised = negative + model.cfg * (conditional - negative)
        if run:
            denoised = run.correct(denoised, x, sigma, model.cfg, conditional, negative, replacement is not None)
        noise = torch.randn(x.shape, generator=generator) if renoised else (x - denoised) / level
        x = denoised + following * noise
    return x


def counter_side(latents):
    return latents.mean(dim=(1, 2, 3)) > 0
