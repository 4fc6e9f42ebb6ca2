"""The training of a preference's network (Distilled) on points.

It is reproducible from its seed and leaves torch's global generator unchanged. Points and batches are on the CPU; each
batch is moved to `device`, where the network is trained and remains.
"""

from itertools import pairwise

import torch
from einops import reduce

from ..latents.devices import beside, place
from ..latents.optimise import optimise
from ..latents.spaces import expand
from ..preference.networks import Distilled
from .points import Points, Progress
from .tone import RISE

CPU = torch.device("cpu")
MOST_CELLS = 32  # about how many patches per side networks are trained on, so that it takes minutes on a CPU
HELD_OUT_RUNS = 0.06  # share of the runs
SIGMA_EDGES = (0.15, 2.0, 4.0, 8.0, 15.0)  # between which held-out figures are given


def patch_of(shape: torch.Size) -> int:
    """Patch size of the networks for latents [..., H, W]: 2, or 4 for SDXL's 128 x 128."""
    return 2 if min(shape[-2:]) < 3 * MOST_CELLS else 4


def batch_of(batch: int, shape: torch.Size) -> int:
    """A batch size for latents of 16 x 16 -> one for `shape` [..., H, W] at similar memory and time."""
    return min(batch, max(8, batch * 256 // (shape[-2] * shape[-1])))


def _mean_square(latents):
    return reduce(latents.square(), "b ... -> b", "mean")


def train_distilled(
    space: str, groups: int, points: Points, steps: int, seed: int, batch: int = 64, progress: Progress | None = None,
    device: torch.device = CPU,
) -> tuple[Distilled, dict]:  # fmt: skip
    """Regression of push, update and tone push at Points -> (Distilled, held-out figures).

    The loss is on what the correction uses: the push P, and (1 - q) P against the update D_c - D_cond.

    Args:
        space: name in LATENT_SPACES.
        groups: number of groups.
        points: Points.
        steps, seed: number of training steps; seed of weights, batches, and held-out runs.
        batch: points in a batch if latents are 16 x 16; larger latents have smaller batches.
        progress: `progress(label, done, total)`, called after each step; may raise to stop.
        device: of the network.
    """
    shape = points.x.shape
    batch = batch_of(batch, shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Distilled(space, groups, patch=patch_of(shape), rise=RISE)
    place(network, device)
    network.requires_grad_(True)
    weights, tone_power = points.weights, points.tone_power
    held_out, trained = _split(points, seed)

    def losses(indices):
        *inputs, push, update, tone = points.at(indices)
        reading = network(*beside(network, *inputs))
        push, update, tone, weight = beside(network, push, update, tone, weights[indices])
        closed = expand(1 - reading.log_odds.sigmoid(), push) * reading.push
        errors = reading.push - push, closed - update, reading.tone - tone
        return [_mean_square(error) for error in errors], weight, reading

    generator = torch.Generator().manual_seed(seed)

    def loss_of_step(step):
        (push, update, tone), weight, _ = losses(trained[torch.randint(len(trained), (batch,), generator=generator)])
        return ((push + 2 * update) * weight).mean() + 0.3 / tone_power * tone.mean()

    optimise(
        network, steps, loss_of_step, "preference", 2e-3,
        lambda step: min(1, (step + 1) / 50) * (1 - step / max(1, steps)), average=0.99, progress=progress,
        weight_decay=1e-3,
    )  # fmt: skip
    columns = []
    for indices in held_out.split(batch_of(256, shape)):
        with torch.no_grad():
            errors, _, reading = losses(indices)
        powers = [_mean_square(exact) for exact in points.at(indices)[-3:]]
        columns.append(torch.stack([*powers, *(part.cpu() for part in (*errors, reading.log_odds.sigmoid()))]))
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
    """Explained variances at the held-out points: of push, update and tone push, and of the belief by sigma."""
    *powers, push, update, tone, belief = columns
    weight, sigma, exact = points.weights[held_out], points.sigma[held_out], points.belief[held_out].double()
    by_sigma = {}
    for low, high in pairwise(SIGMA_EDGES):
        inside = (sigma > low) & (sigma <= high)
        if inside.sum() > 1:
            error = (belief[inside] - exact[inside]).square().mean() / exact[inside].var(correction=0).clamp(min=1e-6)
            by_sigma[f"{low:g} to {high:g}"] = round(float(1 - error), 3)
    return {
        "push_r2": float(1 - (push * weight).sum() / (powers[0] * weight).sum()),
        "update_r2": float(1 - (update * weight).sum() / (powers[1] * weight).sum()),
        "tone_r2": float(1 - tone.sum() / powers[2].sum()),
        "belief_r2_by_sigma": by_sigma,
        "held_out_points": len(held_out),
        "points": len(points.x),
        "points_broken": points.broken,
        "evaluations": points.evaluations,
    }
