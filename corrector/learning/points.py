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
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from einops import reduce
from torch import Tensor

from ..axis.axis import Axis
from ..latents.host import Host
from ..latents.spaces import expand
from ..preference.networks import LOWEST_SIGMA, along
from .pairs import SIDES, Pairs
from .store import refuse_broken
from .tone import Tilt

Progress = Callable[[str, int, int], object]  # of a stage: its name, done, total

RUN_POINTS = 6  # of a run, at sigmas that are evenly spaced in log sigma, each at random in its part
NOISE_SIGMA = 14.6  # from which runs start that begin with noise: SD's first
PICTURE_SIGMA = 2.0  # lowest from which runs start that begin with a picture
FROM_NOISE = 0.4  # share of runs that begin with pure noise
UNGUIDED = 0.4  # share of runs at a CFG scale of 1; the others are at up to RUN_CFG
RUN_CFG = 9.0
RENEWED_NOISE = 0.8  # share of the noise that half of the steps renew, as ancestral samplers do
COLUMN_BYTES = 2**28  # of each tensor of latents; beyond, half precision and then fewer points


@dataclass
class Points:
    """M points; latents are in model space."""

    x: Tensor  # [M, C, H, W]
    sigma: Tensor  # [M]
    group: Tensor  # [M]
    conditional: Tensor  # [M, C, H, W], D_cond
    push: Tensor  # [M, C, H, W], P
    update: Tensor  # [M, C, H, W], D_c - D_cond
    tone: Tensor  # [M, C, H, W], T
    run: Tensor  # [M], number of the run
    evaluations: int = 0  # of the UNet, counted in pictures
    broken: int = 0  # points left out because they held NaN or infinity

    def at(self, indices: Tensor) -> list[Tensor]:
        """x, sigma, group, conditional, push, update and tone at some indices, in float32."""
        columns = [getattr(self, column.name)[indices] for column in fields(self)[:7]]
        return [column.float() if column.is_floating_point() else column for column in columns]

    @property
    def belief(self) -> Tensor:
        """q of each point [M]."""
        return torch.cat([1 - along(update.float(), push.float()) for update, push in self._parts()])

    @property
    def weights(self) -> Tensor:
        """1 / mean squared push at the noise level of each point [M]; capped, so that tiny pushes do not count most."""
        edges = torch.logspace(0, 3.5, 8, base=2)  # 1 to 11
        bins = torch.bucketize(self.sigma, edges)
        each = torch.cat([reduce(push.float().square(), "b ... -> b", "mean") for _, push in self._parts()])
        count = bins.bincount(minlength=len(edges) + 1).clamp(min=1)
        power = torch.zeros(len(edges) + 1).index_add_(0, bins, each) / count
        return 1 / power.clamp(min=0.05 * float(power.max()))[bins]

    @property
    def tone_power(self) -> float:
        """The mean squared tone push; at least a hundredth of the push's, as where lightness hardly varies."""
        tone, push = (
            sum(float(part.float().square().sum()) for part in column.split(256)) for column in (self.tone, self.push)
        )
        return max(tone, 0.01 * push, 1e-9) / self.tone.numel()

    def _parts(self):
        return zip(self.update.split(256), self.push.split(256), strict=True)


@torch.no_grad()
def sample_points(
    host: Host, axis: Axis, pairs: Pairs, count: int, seed: int, batch: int = 64, progress: Progress | None = None
) -> Points:
    """Run the model and ask what it believes -> Points.

    Raises PairError if too many points hold NaN or infinity; otherwise those are left out and counted in `broken`.

    Args:
        host: Host.
        axis: Axis.
        pairs: Pairs, whose noised pictures runs start from.
        count: number of points, or fewer if they need more than COLUMN_BYTES; a larger latent teaches more at once.
        seed: of prompts, pictures, sigmas, noise, and of how runs are corrected.
        batch: runs at once.
        progress: `progress("points", done, total)`, called after each step of a batch.
    """
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    size = pairs.latents[0, 0, 0].numel()
    dtype = torch.float32 if 4 * size * count <= COLUMN_BYTES else torch.float16
    total = max(2, min(count, COLUMN_BYTES // (dtype.itemsize * size)) // RUN_POINTS)  # one is held out
    tilt, points, evaluations = Tilt(pairs, axis.skin_region), [], 0
    for start in range(0, total, batch):
        runs = _Runs(host, axis, pairs, tilt, min(batch, total - start), rng, generator)
        for step in range(RUN_POINTS):
            *point, used = runs.advance(step)
            points.append([part.to(dtype) if part.ndim == 4 else part for part in (*point, start + runs.number)])
            evaluations += used
            if progress:
                progress("points", RUN_POINTS * start + (step + 1) * len(runs.number), RUN_POINTS * total)
    columns = [torch.cat(column) for column in zip(*points, strict=True)]
    del points
    finite = torch.stack([part.isfinite().flatten(1).all(dim=1) for part in columns if part.ndim == 4]).all(dim=0)
    broken = int((~finite).sum())
    refuse_broken(broken, len(finite), len(finite), "predictions of the model")
    return Points(*(column[finite] for column in columns), evaluations=evaluations, broken=broken)


class _Runs:
    """Some runs at once, each with a start, a CFG scale and a way of correction of its own."""

    def __init__(self, host, axis, pairs, tilt, count, rng, generator):
        self.host = host
        self.tilt = tilt
        self.generator = generator
        self.number = torch.arange(count)
        self.group = torch.tensor([rng.randrange(len(axis.groups)) for _ in range(count)])
        neutral = [rng.choice(axis.prompts(axis.groups[group])) for group in self.group.tolist()]
        self.conditioning = [host.encode(neutral)]
        for side in reversed(SIDES):
            prompts = [f"{prompt} {rng.choice(getattr(axis, side).phrases)}" for prompt in neutral]
            self.conditioning.append(host.encode(prompts))
        self.empty = host.encode([""])

        from_noise = self._random() < FROM_NOISE
        from_picture = PICTURE_SIGMA * (NOISE_SIGMA / PICTURE_SIGMA) ** self._random()
        first = torch.where(from_noise, NOISE_SIGMA, from_picture)
        part = (torch.arange(RUN_POINTS) + 0.9 * torch.rand(count, RUN_POINTS, generator=generator)) / RUN_POINTS
        part[:, 0] = 0
        self.sigmas = first[:, None] * (LOWEST_SIGMA / first[:, None]) ** part  # [count, RUN_POINTS]
        side, index = self._number(2), self._number(pairs.latents.shape[2])
        pictures, noise = pairs.latents[self.group, side, index], self._noise(pairs.latents)
        pure = noise * (NOISE_SIGMA**2 + 1) ** 0.5
        self.x = torch.where(expand(from_noise, noise).bool(), pure, pictures + expand(first, noise) * noise)

        self.cfg = torch.where(self._random() < UNGUIDED, 1.0, RUN_CFG ** self._random())
        self.way = self._random()
        self.early = self._random() < 0.5
        self.switch = 1.5 * (10 / 1.5) ** self._random()  # sigma at which a correction of a part of a run changes

    def _random(self):
        return torch.rand(len(self.number), generator=self.generator)

    def _number(self, below):
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
        conditional, counter, stereotype = (self.denoise(self.x, sigma, prompts) for prompts in self.conditioning)
        push, update = counter - stereotype, counter - conditional
        s, shift = self.tilt.at(sigma, self.group)
        tone = (self.denoise(self.x + shift, sigma, self.conditioning[1]) - counter) / s * self.tilt.skin
        point = self.x, sigma, self.group, conditional, push, update, tone
        if step == RUN_POINTS - 1:
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
        renewed = torch.where(self._random() < 0.5, RENEWED_NOISE, 0.0)
        up = renewed * (following.square() * (sigma.square() - following.square()) / sigma.square()).sqrt()
        down = (following.square() - up.square()).sqrt()
        noise = self._noise(denoised)
        return denoised + expand(down / sigma, denoised) * (self.x - denoised) + expand(up, denoised) * noise
