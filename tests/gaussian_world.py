"""A mixture of two Gaussians, stereotype and counter, in which every quantity of the method has a closed form.

x0 is drawn from the counter side with probability beta. With x = x0 + sigma*n each side is Gaussian at every sigma: its
denoised is linear in x, and the log-odds are a difference of two squares.
"""

import math
from itertools import pairwise

import torch
from torch import nn

from corrector.latents.spaces import expand


class GaussianWorld(nn.Module):
    """Two isotropic Gaussians; as a source, it gives the exact update, also below CLOSED.

    Args:
        beta: probability of the counter side.
        means: of the counter and the stereotype side, numbers or tensors of `shape`.
        spreads: their standard deviations.
        shape: (C, H, W) of x0.
    """

    has_weights = True

    def __init__(self, beta=0.2, means=(1.5, -1.5), spreads=(0.5, 0.5), shape=(1, 1, 1)):
        super().__init__()
        self.beta, self.spreads, self.shape = beta, spreads, shape
        self.means = [torch.as_tensor(mean, dtype=torch.float64).expand(shape) for mean in means]

    def log_density(self, x, sigma, side):
        """log p(x | side, sigma) [B]."""
        variance = self.spreads[side] ** 2 + sigma**2
        squares = (x - self.means[side]).square().flatten(1).sum(dim=1)
        return -squares / (2 * variance) - math.prod(self.shape) / 2 * (2 * math.pi * variance).log()

    def denoised_of(self, x, sigma, side):
        """E[x0 | x, side]: D_c for side 0, D_s for side 1."""
        variance = self.spreads[side] ** 2
        return self.means[side] + expand(variance / (variance + sigma**2), x) * (x - self.means[side])

    def log_odds(self, x, sigma):
        """l: log-odds of the counter side on balanced pairs [B]."""
        return self.log_density(x, sigma, 0) - self.log_density(x, sigma, 1)

    def counter_share(self, x, sigma, beta=None):
        """q: P(counter | x, sigma) [B]; `beta` replaces the world's own base rate."""
        beta = torch.as_tensor(self.beta if beta is None else beta, dtype=torch.float64)
        return (self.log_odds(x, sigma) + beta.logit()).sigmoid()

    def denoised(self, x, sigma, beta=None):
        """D: E[x0 | x]; `beta` replaces the world's own base rate."""
        q = expand(self.counter_share(x, sigma, beta), x)
        return q * self.denoised_of(x, sigma, 0) + (1 - q) * self.denoised_of(x, sigma, 1)

    def push(self, x, sigma):
        """P = D_c - D_s."""
        return self.denoised_of(x, sigma, 0) - self.denoised_of(x, sigma, 1)

    def update(self, x, sigma, group=None, conditional=None):
        """U = (1 - q) P, whatever the model predicts; it is D_c - D_cond if that is exact."""
        x, sigma = x.double(), sigma.double()
        return (expand(1 - self.counter_share(x, sigma), x) * self.push(x, sigma)).float()

    def draw(self, count, seed, beta=None):
        """Draw x0 [count, *shape], float64; `beta` replaces the world's own base rate."""
        generator = torch.Generator().manual_seed(seed)
        beta = self.beta if beta is None else beta
        counter = torch.rand(count, generator=generator) < beta
        noise = torch.randn(count, *self.shape, generator=generator, dtype=torch.float64)
        sides = [mean + spread * noise for mean, spread in zip(self.means, self.spreads, strict=True)]
        return torch.where(expand(counter, noise).bool(), *sides)

    def sample(self, count, seed, hook=None, steps=400):
        """Integrate the probability flow from noise by Heun's method -> x0; `hook(denoised, x, sigma)` corrects."""
        generator = torch.Generator().manual_seed(seed)
        levels = torch.logspace(math.log10(80.0), -3, steps, dtype=torch.float64)
        levels = torch.cat([levels, torch.zeros(1, dtype=torch.float64)])
        x = 80.0 * torch.randn(count, *self.shape, generator=generator, dtype=torch.float64)

        def slope(x, level):
            sigma = level.expand(count)
            denoised = self.denoised(x, sigma)
            return (x - (hook(denoised, x, sigma) if hook else denoised)) / level

        for level, following in pairwise(levels):
            first = slope(x, level)
            ahead = x + (following - level) * first  # Euler step
            x = x + (following - level) * (first + slope(ahead, following)) / 2 if following > 0 else ahead
        return x

    def is_counter(self, x0):
        """Whether each x0 [N, *shape] is a counter image, by the log-odds at sigma near 0."""
        return self.log_odds(x0, torch.full((len(x0),), 1e-3, dtype=torch.float64)) > 0
