"""Networks that are trained: the preference (Distilled) on points, and the judge on pairs.

Each is reproducible from its seed and leaves torch's global generator unchanged. Pairs and batches are on the CPU; each
batch is moved to `device`, where the network is trained and remains.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from einops import reduce

from ..latents.devices import beside, place
from ..latents.optimise import optimise
from ..latents.spaces import expand
from ..preference.networks import MOST_CELLS, Distilled, Judge
from .tone import RISE

CPU = torch.device("cpu")
SIDE_LOSS = F.binary_cross_entropy_with_logits
HELD = 0.06  # share of the runs that are held out
SIGMA_EDGES = (0.15, 2.0, 4.0, 8.0, 15.0)  # between which held-out figures are given


def patch_of(shape):
    """Patch size of the networks for latents [..., H, W]: 2, or 4 for SDXL's 128 x 128."""
    return 2 if min(shape[-2:]) < 3 * MOST_CELLS else 4


def batch_of(batch, shape):
    """A batch size for latents of 16 x 16 -> one for `shape` [..., H, W] at similar memory and time."""
    return min(batch, max(8, batch * 256 // (shape[-2] * shape[-1])))


def _train(network, steps, seed, loss_of_step, label, progress=None):
    """`optimise` with the settings of all networks here; `loss_of_step` gets a generator seeded with `seed`."""
    generator = torch.Generator().manual_seed(seed)
    return optimise(
        network, steps, lambda step: loss_of_step(generator), label, 2e-3,
        lambda step: min(1, (step + 1) / 50) * (1 - step / max(1, steps)), average=0.99, progress=progress,
        weight_decay=1e-3,
    )  # fmt: skip


def _fresh(seed, device, kind, *args, **options):
    """A new network of a class, initialised from a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = kind(*args, **options)
    place(network, device)
    return network.requires_grad_(True)


def train_distilled(space, groups, points, steps, seed, batch=64, progress=None, device=CPU):
    """Regression of push, update and tone push at Points -> (Distilled, held-out figures).

    The loss is on what the correction uses: the push P, and (1 - q) P against the update D_c - D_cond.

    Args:
        space: name in LATENT_SPACES.
        groups: number of groups.
        points: Points.
        steps, seed: number of training steps; seed of weights, batches, and held-out runs.
        batch: points in a batch if latents are 16 x 16; larger latents have smaller batches.
        progress: `progress(label, done, total)`, called after each step; may raise to stop.
        device: torch.device of the network.
    """
    shape = points.x.shape
    batch = batch_of(batch, shape)
    network = _fresh(seed, device, Distilled, space, groups, patch=patch_of(shape), rise=RISE)
    weights, tone_power = points.weights, points.tone_power
    held, own = _held_out(points, seed)

    def losses(which):
        *inputs, push, update, tone = points.at(which)
        reading = network(*beside(network, *inputs))
        push, update, tone, weight = beside(network, push, update, tone, weights[which])
        closed = expand(1 - reading.log_odds.sigmoid(), push) * reading.push
        errors = reading.push - push, closed - update, reading.tone - tone
        return [reduce(error.square(), "b ... -> b", "mean") for error in errors], weight, reading

    def loss_of_step(generator):
        which = own[torch.randint(len(own), (batch,), generator=generator)]
        (push, update, tone), weight, _ = losses(which)
        return ((push + 2 * update) * weight).mean() + 0.3 / tone_power * tone.mean()

    _train(network, steps, seed, loss_of_step, "preference", progress)
    found = []
    for which in held.split(batch_of(256, shape)):
        with torch.no_grad():
            errors, _, reading = losses(which)
        *_, own_push, own_update, own_tone = points.at(which)
        powers = [reduce(z.square(), "b ... -> b", "mean") for z in (own_push, own_update, own_tone)]
        ours = (*errors, reading.log_odds.sigmoid())
        found.append(torch.stack([*powers, *(part.cpu() for part in ours)]))
    return network, _held_out_figures(torch.cat(found, dim=1).double(), points, held)


def _held_out(points, seed):
    """Indices of the points of held-out runs, at least one, and of the others."""
    runs = int(points.run.max()) + 1
    order = torch.randperm(runs, generator=torch.Generator().manual_seed(seed))
    chosen = torch.zeros(runs, dtype=torch.bool)
    chosen[order[: max(1, round(HELD * runs))]] = True
    out = chosen[points.run]
    return out.nonzero()[:, 0], (~out).nonzero()[:, 0]


def _held_out_figures(found, points, held):
    """Explained variances at the held-out points: of push, update and tone push, and of the belief by sigma."""
    *powers, push, update, tone, belief = found
    weight, sigma, exact = points.weights[held], points.sigma[held], points.belief[held].double()
    by_sigma = {}
    for low, high in pairwise(SIGMA_EDGES):
        some = (sigma > low) & (sigma <= high)
        if some.sum() > 1:
            error = (belief[some] - exact[some]).square().mean() / exact[some].var(correction=0).clamp(min=1e-6)
            by_sigma[f"{low:g} to {high:g}"] = round(float(1 - error), 3)
    return {
        "push_r2": float(1 - (push * weight).sum() / (powers[0] * weight).sum()),
        "update_r2": float(1 - (update * weight).sum() / (powers[1] * weight).sum()),
        "tone_r2": float(1 - tone.sum() / powers[2].sum()),
        "belief_r2_by_sigma": by_sigma,
        "held_out_points": len(held),
        "points": len(points.x),
        "points_broken": points.broken,
        "evaluations": points.evaluations,
    }


def train_judge(pairs, seed, steps=300, batch=64, progress=None, device=CPU):
    """-> (Judge, its accuracy on the pictures that each fold was not trained on)."""
    groups, _, count = pairs.latents.shape[:3]
    latents, side = pairs.latents.flatten(0, 2), torch.arange(groups * 2 * count) // count % 2
    batch = batch_of(batch, latents.shape)
    fold = torch.arange(len(latents)) % Judge.FOLDS
    judge = _fresh(seed, device, Judge, latents.shape[1])

    def loss_of_step(generator):
        losses = []
        for index in range(Judge.FOLDS):
            own = (fold != index).nonzero()[:, 0]
            chosen = own[torch.randint(len(own), (batch,), generator=generator)]
            noisy = latents[chosen] + 0.1 * torch.randn(latents[chosen].shape, generator=generator)
            noisy, wanted = beside(judge, noisy, side[chosen].float())
            losses.append(SIDE_LOSS(judge(noisy, index), wanted))
        return sum(losses)

    _train(judge, steps, seed, loss_of_step, "judge", progress)
    with torch.no_grad():
        odds = torch.stack([judge(*beside(judge, latents), index) for index in range(Judge.FOLDS)]).to(latents.device)
    own = odds.gather(0, fold[None])[0]
    return judge, float(((own > 0) == side.bool()).float().mean())
