"""Points on the model's own trajectories, at which it is asked for the update: what a preference is learned from.

As in imitation learning (DAgger, Ross et al. 2011), what is learned from noised pictures only is fooled by the
correction itself. So points are taken from runs that are sampled plainly, corrected, corrected for a part of the run
only, and pushed to the wrong side first. Some runs start from pure noise, the others from noised pictures of either
side. At each point the model predicts for the neutral prompt, D_cond, and for the counter side, D_c; what is learned is
the update D_c - D_cond (METHOD.md, third form), down to the sigma below which it is 0.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from einops import reduce
from torch import Tensor

from ..axis.axis import Axis
from ..latents.host import Host
from ..latents.spaces import expand
from ..preference.networks import CLOSED
from .pairs import Pairs
from .store import PictureStore, refuse_broken

Progress = Callable[[str, int, int], object]  # of a stage: its name, done, total

RUN_POINTS = 6  # of a run, at sigmas that are evenly spaced in log sigma, each at random in its part
NOISE_SIGMA = 14.6  # from which runs start that begin with noise: SD's first
PICTURE_SIGMA = 2.0  # lowest from which runs start that begin with a picture
FROM_NOISE = 0.4  # share of runs that begin with pure noise
UNGUIDED = 0.4  # share of runs at a CFG scale of 1; the others are at up to RUN_CFG
RUN_CFG = 9.0
RENEWED_NOISE = 0.8  # share of the noise that half of the steps renew, as ancestral samplers do
COLUMN_BYTES = 2**28  # of each tensor of latents, in half precision; beyond, fewer points
RUNS_AT_ONCE = 32
COLUMNS = ("x", "sigma", "group", "conditional", "update", "run")
STORED = ("F16", "F32", "I64")  # types in a batch that is kept


@dataclass
class Points:
    """M points; latents are in model space, in half precision."""

    x: Tensor  # [M, C, H, W]
    sigma: Tensor  # [M]
    group: Tensor  # [M]
    conditional: Tensor  # [M, C, H, W], D_cond
    update: Tensor  # [M, C, H, W], D_c - D_cond
    run: Tensor  # [M], number of the run
    evaluations: int = 0  # of the UNet, counted in pictures
    broken: int = 0  # points left out because they held NaN or infinity

    def at(self, indices: Tensor) -> list[Tensor]:
        """x, sigma, group, conditional and update at some indices, in float32."""
        columns = [getattr(self, column.name)[indices] for column in fields(self)[:5]]
        return [column.float() if column.is_floating_point() else column for column in columns]

    @property
    def powers(self) -> Tensor:
        """The mean squared update of each point [M]."""
        return torch.cat([reduce(part.float().square(), "b ... -> b", "mean") for part in self.update.split(256)])

    @property
    def weights(self) -> Tensor:
        """1 / mean squared update at the noise level of each point [M]; capped, so that tiny ones do not count most."""
        edges = torch.logspace(0, 3.5, 8, base=2)  # 1 to 11
        bins = torch.bucketize(self.sigma, edges)
        count = bins.bincount(minlength=len(edges) + 1).clamp(min=1)
        power = torch.zeros(len(edges) + 1).index_add_(0, bins, self.powers) / count
        return 1 / power.clamp(min=0.05 * float(power.max()))[bins]


@torch.no_grad()
def sample_points(
    host: Host, axis: Axis, pairs: Pairs, count: int, seed: int, store: PictureStore | None = None,
    progress: Progress | None = None,
) -> Points:  # fmt: skip
    """Run the model and ask it for the update -> Points.

    Raises PairError if too many points hold NaN or infinity; otherwise those are left out and counted in `broken`.

    Args:
        host: Host.
        axis: Axis.
        pairs: Pairs, whose noised pictures runs start from.
        count: number of points, or fewer if they need more than COLUMN_BYTES; a larger latent teaches more at once. The
            first ones are the same whatever the count.
        seed: of prompts, pictures, sigmas, noise, and of how runs are corrected.
        store: where batches of runs are kept, or None.
        progress: `progress("points", done, total)`, called after each step of a batch.
    """
    batch_size, runs = min(host.batch, RUNS_AT_ONCE), runs_of(host, count, pairs.latents[0, 0, 0].numel())
    total = RUN_POINTS * runs
    batches, evaluations = [], 0
    for start in range(0, runs, batch_size):
        name = f"points-{start:05d}"
        kept = store.read(name, STORED) if store else None
        if kept is None:
            batch = _Runs(host, axis, pairs, batch_size, f"{seed} {start}")
            for step in range(RUN_POINTS):
                batch.advance(step)
                if progress:
                    progress("points", start * RUN_POINTS + (step + 1) * batch_size, total)
            kept = {"evaluations": str(batch.evaluations)}, batch.columns()
            if store:
                store.write(name, kept[1], evaluations=kept[0]["evaluations"])
        evaluations += int(kept[0]["evaluations"])
        batches.append(kept[1] | {"run": start + kept[1]["run"]})
    columns = [torch.cat([batch[name] for batch in batches]) for name in COLUMNS]
    finite = torch.stack([part.isfinite().flatten(1).all(dim=1) for part in columns if part.ndim == 4]).all(dim=0)
    broken = int((~finite).sum())
    refuse_broken(broken, len(finite), len(finite), "predictions of the model")
    return Points(*(column[finite] for column in columns), evaluations=evaluations, broken=broken)


def runs_of(host: Host, count: int, size: int) -> int:
    """The number of runs that give `count` points of latents with `size` values, or as many as COLUMN_BYTES hold; in
    whole batches, so that more points begin with the same.
    """
    runs, batch_size = min(count, COLUMN_BYTES // (2 * size)) / RUN_POINTS, min(host.batch, RUNS_AT_ONCE)
    return max(2, batch_size * math.ceil(runs / batch_size))  # one is held out


class _Runs:
    """Some runs at once, each with a start, a CFG scale and a way of correction of its own."""

    def __init__(self, host, axis, pairs, count, seed):
        rng = random.Random(seed)
        self.host = host
        self.generator = torch.Generator().manual_seed(rng.randrange(2**31))
        self.evaluations = 0
        self.made: list[tuple[Tensor, ...]] = []  # points, in the order of COLUMNS
        self.number = torch.arange(count)
        self.group = torch.tensor([rng.randrange(len(axis.groups)) for _ in range(count)])
        neutral = [rng.choice(axis.prompts(axis.groups[group])) for group in self.group.tolist()]
        self.neutral = host.encode(neutral)
        self.counter = host.encode([f"{each}, {axis.counter.two_phrases(rng.random())}" for each in neutral])
        self.empty = host.encode([""])

        from_noise = self._random() < FROM_NOISE
        from_picture = PICTURE_SIGMA * (NOISE_SIGMA / PICTURE_SIGMA) ** self._random()
        first = torch.where(from_noise, NOISE_SIGMA, from_picture)
        part = (torch.arange(RUN_POINTS) + 0.9 * torch.rand(count, RUN_POINTS, generator=self.generator)) / RUN_POINTS
        part[:, 0] = 0
        self.sigmas = first[:, None] * (CLOSED / first[:, None]) ** part  # [count, RUN_POINTS]
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

    def _strength(self, sigma):
        """How each run is corrected at sigma [count]; below 0 it is pushed away from the counter side."""
        part = ((sigma > self.switch) == self.early).float()
        ways = ((0.3, torch.zeros_like(part)), (0.55, torch.ones_like(part)), (0.8, part), (0.9, 0.5 + 0 * part))
        strength = 2 * part - 1
        for share, way in reversed(ways):
            strength = torch.where(self.way < share, way, strength)
        return strength

    def advance(self, step):
        """Ask for the points at a step, and go a step on."""
        sigma, guided = self.sigmas[:, step], (self.cfg > 1).nonzero()[:, 0]
        conditional, counter = (self._denoise(self.x, sigma, prompts) for prompts in (self.neutral, self.counter))
        update = counter - conditional
        self.made.append((self.x, sigma, self.group, conditional, update, self.number))
        if step == RUN_POINTS - 1:
            return
        unconditional = conditional.clone()
        if len(guided):
            unconditional[guided] = self._denoise(self.x[guided], sigma[guided], self.empty)
        change = self.cfg * self._strength(sigma)
        denoised = unconditional + expand(self.cfg, update) * (conditional - unconditional)
        stepped = self._stepped(denoised + expand(change, update) * update, sigma, self.sigmas[:, step + 1])
        sound = stepped.isfinite().flatten(1).all(dim=1)  # a broken prediction ends no run
        self.x = torch.where(expand(sound, stepped).bool(), stepped, self.x)

    def columns(self):
        """The points so far by column, latents in half precision."""
        columns = zip(COLUMNS, map(torch.cat, zip(*self.made, strict=True)), strict=True)
        return {name: part.half() if part.ndim == 4 else part for name, part in columns}

    def _denoise(self, x, sigma, conditioning):
        self.evaluations += len(x)
        return self.host.denoise(x, sigma, conditioning).float().cpu()

    def _stepped(self, denoised, sigma, following):
        """An Euler step; half of them renew a part of the noise."""
        renewed = torch.where(self._random() < 0.5, RENEWED_NOISE, 0.0)
        up = renewed * (following.square() * (sigma.square() - following.square()) / sigma.square()).sqrt()
        down = (following.square() - up.square()).sqrt()
        noise = self._noise(denoised)
        return denoised + expand(down / sigma, denoised) * (self.x - denoised) + expand(up, denoised) * noise
