"""The training of a preference's network (Distilled) on points.

It is reproducible from its seed and leaves torch's global generator unchanged. Points and batches are on the CPU; each
batch is moved to `device`, where the network is trained and remains.
"""

from itertools import pairwise

import torch
from einops import reduce

from ..latents.devices import beside, place
from ..latents.optimise import optimise
from ..preference.networks import Distilled
from .points import Points, Progress

CPU = torch.device("cpu")
MOST_CELLS = 32  # about how many patches per side networks are trained on, so that it takes minutes on a CPU
BATCH = 16  # points in a step of training, of latents of 16 x 16
HELD_OUT_RUNS = 0.06  # share of the runs
SIGMA_EDGES = (1.0, 2.0, 4.0, 8.0, 15.0)  # between which held-out figures are given


def patch_of(shape: torch.Size) -> int:
    """Patch size of the networks for latents [..., H, W]: 2, or 4 for SDXL's 128 x 128."""
    return 2 if min(shape[-2:]) < 3 * MOST_CELLS else 4


def batch_of(batch: int, shape: torch.Size) -> int:
    """A batch size for latents of 16 x 16 -> one for `shape` [..., H, W] at similar memory and time."""
    return min(batch, max(8, batch * 256 // (shape[-2] * shape[-1])))


def _mean_square(latents):
    return reduce(latents.square(), "b ... -> b", "mean")


def train_distilled(
    space: str, groups: int, points: Points, steps: int, seed: int, batch: int = BATCH,
    progress: Progress | None = None, device: torch.device = CPU, start: Distilled | None = None,
) -> tuple[Distilled, dict]:  # fmt: skip
    """Regression of the update at Points -> (Distilled, held-out figures).

    Args:
        space: name in LATENT_SPACES.
        groups: number of groups.
        points: Points.
        steps, seed: number of training steps; seed of weights, batches, and held-out runs.
        batch: points in a batch if latents are 16 x 16; larger latents have smaller batches.
        progress: `progress(label, done, total)`, called after each step; may raise to stop.
        device: of the network.
        start: a network that is trained further, in place; a new one by default.
    """
    shape = points.x.shape
    batch = batch_of(batch, shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = start or Distilled(space, groups, patch=patch_of(shape))
    place(network, device)
    network.requires_grad_(True)
    weights = points.weights
    held_out, trained = _split(points, seed)

    def errors(indices):
        """Mean squared errors, mean squared updates, and weights [N]."""
        *inputs, update = points.at(indices)
        update, weight, *inputs = beside(network, update, weights[indices], *inputs)
        return _mean_square(network(*inputs) - update), _mean_square(update), weight

    generator = torch.Generator().manual_seed(seed)

    def loss_of_step(step):
        error, _, weight = errors(trained[torch.randint(len(trained), (batch,), generator=generator)])
        return (error * weight).mean()

    optimise(
        network, steps, loss_of_step, "preference", 2e-3,
        lambda step: min(1, (step + 1) / 50) * (1 - step / max(1, steps)), average=0.99, progress=progress,
        weight_decay=1e-3,
    )  # fmt: skip
    with torch.no_grad():
        columns = [torch.stack(errors(indices)).cpu() for indices in held_out.split(batch_of(256, shape))]
    return network, _held_out_figures(torch.cat(columns, dim=1).double(), points, held_out)


def _split(points, seed):
    """Indices of the points of held-out runs, at least one, and of the others."""
    runs = int(points.run.max()) + 1
    order = torch.randperm(runs, generator=torch.Generator().manual_seed(seed))
    chosen = torch.zeros(runs, dtype=torch.bool)
    chosen[order[: max(1, round(HELD_OUT_RUNS * runs))]] = True
    held_out = chosen[points.run]
    return held_out.nonzero()[:, 0], (~held_out).nonzero()[:, 0]


def _held_out_figures(columns, points, held_out):
    """Explained variances of the update at the held-out points, of all and by sigma."""
    error, power, weight = columns
    sigma, by_sigma = points.sigma[held_out], {}
    for low, high in pairwise(SIGMA_EDGES):
        inside = (sigma > low) & (sigma <= high)
        if inside.any():
            by_sigma[f"{low:g} to {high:g}"] = round(float(1 - error[inside].sum() / power[inside].sum()), 3)
    return {
        "update_r2": float(1 - (error * weight).sum() / (power * weight).sum()),
        "update_r2_by_sigma": by_sigma,
        "held_out_points": len(held_out),
        "points": len(points.x),
        "points_broken": points.broken,
        "evaluations": points.evaluations,
    }
