"""Points on the model's own trajectories, at which it says what it believes: what a preference is learned from.

As in imitation learning (DAgger, Ross et al. 2011), a gate that is trained on noised pictures only is fooled by the
correction itself. So points are taken from runs that are sampled plainly, corrected, corrected for a part of the run
only, and pushed to the wrong side first. Half of the runs start from pure noise, the others from noised pictures of
either side. At each point the model predicts for the neutral prompt, D_cond, and for both sides, D_c and D_s:

    P = D_c - D_s        q = <D_cond - D_s, P> / |P|^2

and the update that is right for the picture is D_c - D_cond (METHOD.md). A fourth prediction says how skin of another
tone would look: where lightness is t = <g, x0>, a posterior weighed by exp(s t) is that at x + s sigma^2 g, so that

    T = Cov(x0, t | x), nearly (D_c(x + s sigma^2 g) - D_c(x)) / s

with s of the sign in which the tone is to be moved.
"""

import random
from dataclasses import dataclass

import torch
from einops import reduce

from ..latents.spaces import expand
from ..preference.networks import LOWEST_SIGMA, along
from .pairs import SIDES, refuse_broken
from .tone import Tilt

STEPS = 6  # points of a run, at sigmas that are evenly spaced in log sigma, each at random in its part
TOP = 14.6  # sigma from which runs start that begin with noise: SD's first
PICTURES_FROM = 2.0  # sigma from which runs start that begin with a picture
FROM_NOISE = 0.4  # share of runs that begin with pure noise
UNGUIDED = 0.4  # share of runs at a CFG scale of 1; the others are at up to MOST_CFG
MOST_CFG = 9.0
ANCESTRAL = 0.8  # share of the noise that half of the steps renew, as ancestral samplers do
BYTES = 2**28  # of each tensor of latents; beyond, half precision and then fewer points


@dataclass
class Points:
    """M points; latents are in model space."""

    x: torch.Tensor  # [M, C, H, W]
    sigma: torch.Tensor  # [M]
    group: torch.Tensor  # [M]
    conditional: torch.Tensor  # [M, C, H, W], D_cond
    push: torch.Tensor  # [M, C, H, W], P
    update: torch.Tensor  # [M, C, H, W], D_c - D_cond
    tone: torch.Tensor  # [M, C, H, W], T
    run: torch.Tensor  # [M], number of the run
    evaluations: int = 0  # of the UNet, counted in pictures
    broken: int = 0  # points left out because they held NaN or infinity

    def at(self, which):
        """Points at some indices, in float32."""
        columns = self.x, self.sigma, self.group, self.conditional, self.push, self.update, self.tone
        return [column[which].float() if column.is_floating_point() else column[which] for column in columns]

    @property
    def belief(self):
        """q of each point [M]."""
        return torch.cat([1 - along(update.float(), push.float()) for update, push in self._parts()])

    @property
    def weights(self):
        """1 / mean squared push at the noise level of each point [M]; capped, so that tiny pushes do not count most."""
        edges = torch.logspace(0, 3.5, 8, base=2)  # 1 to 11
        bins = torch.bucketize(self.sigma, edges)
        each = torch.cat([reduce(push.float().square(), "b ... -> b", "mean") for _, push in self._parts()])
        count = bins.bincount(minlength=len(edges) + 1).clamp(min=1)
        power = torch.zeros(len(edges) + 1).index_add_(0, bins, each) / count
        return 1 / power.clamp(min=0.05 * float(power.max()))[bins]

    @property
    def tone_power(self):
        """The mean squared tone push; at least a hundredth of the push's, as where lightness hardly varies."""
        tone, push = (
            sum(float(part.float().square().sum()) for part in some.split(256)) for some in (self.tone, self.push)
        )
        return max(tone, 0.01 * push, 1e-9) / self.tone.numel()

    def _parts(self):
        return zip(self.update.split(256), self.push.split(256), strict=True)


@torch.no_grad()
def sample_points(host, axis, pairs, count, seed, batch=64, progress=None):
    """Run the model and ask what it believes -> Points.

    Raises PairError if too many points hold NaN or infinity; otherwise those are left out and counted in `broken`.

    Args:
        host: its functions encode and denoise.
        axis: Axis.
        pairs: Pairs, whose noised pictures runs start from.
        count: number of points, or fewer if they need more than BYTES; a larger latent teaches more at once.
        seed: of prompts, pictures, sigmas, noise, and of how runs are corrected.
        batch: runs at once.
        progress: `progress("points", done, total)`, called after each step of a batch.
    """
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    size = pairs.latents[0, 0, 0].numel()
    dtype = torch.float32 if 4 * size * count <= BYTES else torch.float16
    runs = max(2, min(count, BYTES // (dtype.itemsize * size)) // STEPS)  # one is held out
    tilt, found, evaluations = Tilt(pairs, axis.skin_region), [], 0
    for start in range(0, runs, batch):
        own = _Runs(host, axis, pairs, tilt, min(batch, runs - start), rng, generator)
        for step in range(STEPS):
            *point, used = own.advance(step)
            found.append([part.to(dtype) if part.ndim == 4 else part for part in (*point, start + own.number)])
            evaluations += used
            if progress:
                progress("points", STEPS * start + (step + 1) * len(own.number), STEPS * runs)
    columns = [torch.cat(column) for column in zip(*found, strict=True)]
    del found
    fine = torch.stack([part.isfinite().flatten(1).all(dim=1) for part in columns if part.ndim == 4]).all(dim=0)
    broken = int((~fine).sum())
    refuse_broken(broken, len(fine), what="predictions of the model")
    return Points(*(column[fine] for column in columns), evaluations=evaluations, broken=broken)


class _Runs:
    """Some runs at once, each with a start, a CFG scale and a way of correction of its own."""

    def __init__(self, host, axis, pairs, tilt, count, rng, generator):
        self.host, self.tilt, self.generator, self.number = host, tilt, generator, torch.arange(count)
        self.group = torch.tensor([rng.randrange(len(axis.groups)) for _ in range(count)])
        neutral = [rng.choice(axis.prompts(axis.groups[group])) for group in self.group.tolist()]
        self.conditioning = [host.encode(neutral)]
        for side in reversed(SIDES):
            prompts = [f"{prompt} {rng.choice(getattr(axis, side).phrases)}" for prompt in neutral]
            self.conditioning.append(host.encode(prompts))
        self.empty = host.encode([""])

        from_noise = self._random() < FROM_NOISE
        first = torch.where(from_noise, TOP, PICTURES_FROM * (TOP / PICTURES_FROM) ** self._random())
        part = (torch.arange(STEPS) + 0.9 * torch.rand(count, STEPS, generator=generator)) / STEPS
        part[:, 0] = 0
        self.sigmas = first[:, None] * (LOWEST_SIGMA / first[:, None]) ** part  # [count, STEPS]
        side, index = self._whole(2), self._whole(pairs.latents.shape[2])
        pictures, noise = pairs.latents[self.group, side, index], self._noise(pairs.latents)
        pure = noise * (TOP**2 + 1) ** 0.5
        self.x = torch.where(expand(from_noise, noise).bool(), pure, pictures + expand(first, noise) * noise)

        self.cfg = torch.where(self._random() < UNGUIDED, 1.0, MOST_CFG ** self._random())
        self.way, self.early = self._random(), self._random() < 0.5
        self.switch = 1.5 * (10 / 1.5) ** self._random()  # sigma at which a correction of a part of a run changes

    def _random(self):
        return torch.rand(len(self.number), generator=self.generator)

    def _whole(self, below):
        return torch.randint(below, (len(self.number),), generator=self.generator)

    def _noise(self, latents):
        return torch.randn(len(self.number), *latents.shape[-3:], generator=self.generator)

    def strength(self, sigma):
        """How each run is corrected at sigma [count]; below 0 it is pushed to the wrong side."""
        part = ((sigma > self.switch) == self.early).float()
        ways = ((0.3, torch.zeros_like(part)), (0.55, torch.ones_like(part)), (0.8, part), (0.9, 0.5 + 0 * part))
        strength = 2 * part - 1
        for share, way in reversed(ways):
            strength = torch.where(self.way < share, way, strength)
        return strength

    def advance(self, step):
        """The points at a step, and a step on -> (the columns of Points but the run; evaluations of the UNet)."""
        sigma, guided = self.sigmas[:, step], (self.cfg > 1).nonzero()[:, 0]
        conditional, counter, stereotype = (self.denoise(self.x, sigma, own) for own in self.conditioning)
        push, update = counter - stereotype, counter - conditional
        s, shift = self.tilt.at(sigma, self.group)
        tone = (self.denoise(self.x + shift, sigma, self.conditioning[1]) - counter) / s * self.tilt.skin
        point = self.x, sigma, self.group, conditional, push, update, tone
        if step == STEPS - 1:
            return *point, 4 * len(sigma)
        unconditional = conditional.clone()
        if len(guided):
            unconditional[guided] = self.denoise(self.x[guided], sigma[guided], self.empty)
        belief, strength = (1 - along(update, push)).clamp(0, 1), self.strength(sigma)
        drift = self.cfg * torch.where(strength > 0, strength * (1 - belief), strength * belief)
        denoised = unconditional + expand(self.cfg, push) * (conditional - unconditional) + expand(drift, push) * push
        stepped = self._stepped(denoised, sigma, self.sigmas[:, step + 1])
        sound = stepped.isfinite().flatten(1).all(dim=1)  # a broken prediction ends no run
        self.x = torch.where(expand(sound, stepped).bool(), stepped, self.x)
        return *point, 4 * len(sigma) + len(guided)

    def denoise(self, x, sigma, conditioning):
        return self.host.denoise(x, sigma, conditioning).float().cpu()

    def _stepped(self, denoised, sigma, following):
        """An Euler step; half of them renew a part of the noise."""
        renewed = torch.where(self._random() < 0.5, ANCESTRAL, 0.0)
        up = renewed * (following.square() * (sigma.square() - following.square()) / sigma.square()).sqrt()
        down = (following.square() - up.square()).sqrt()
        noise = self._noise(denoised)
        return denoised + expand(down / sigma, denoised) * (self.x - denoised) + expand(up, denoised) * noise
