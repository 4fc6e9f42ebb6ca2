"""Networks trained on pairs: the preference (Distilled), its teacher and tone push, the Classifier, and the judge.

Each is reproducible from its seed and leaves torch's global generator unchanged. Pairs and batches are on the CPU; each
batch is moved to `device`, where the network is trained and remains.
"""

import random

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel
from tqdm import trange

from ..latent_space.devices import beside, place
from ..latent_space.skin import skin_mask
from ..latent_space.spaces import add_noise
from ..preference.judge import Judge
from ..preference.networks import MOST_CELLS, Classifier, Distilled, read
from .pairs import refuse_broken

SIGMA_RANGES = ((0.25, 0.03, 0.7), (0.75, 0.7, 14.6))  # share, from, to: what a picture shows is decided above 0.7
TEACHER_BYTES = 2**28  # of noised latents, and of pushes; beyond, half precision and then fewer evaluations
CHECKPOINT_EVERY = 250  # steps
CPU = torch.device("cpu")
SIDE_LOSS = F.binary_cross_entropy_with_logits
SIGMA_BINS = torch.tensor([0.1, 0.3, 1.0, 2.0, 4.0, 8.0])


def random_sigmas(count, generator):
    """sigmas over SD's schedule [count], log-uniform in each of SIGMA_RANGES."""
    draws = torch.rand(2, count, generator=generator)
    sigma, edge = torch.zeros(count), 0.0
    for share, low, high in SIGMA_RANGES:
        inside = (draws[0] >= edge) & (draws[0] <= edge + share)
        sigma = torch.where(inside, low * (high / low) ** draws[1], sigma)
        edge += share
    return sigma


def patch_of(shape):
    """Patch size of the networks for latents [..., H, W]: 2, or 4 for SDXL's 128 x 128."""
    return 2 if min(shape[-2:]) < 3 * MOST_CELLS else 4


def batch_of(batch, shape):
    """A batch size for latents of 16 x 16 -> one for `shape` [..., H, W] at similar memory and time."""
    return min(batch, max(8, batch * 256 // (shape[-2] * shape[-1])))


def flatten(pairs, keep=None):
    """Pairs -> (latents [M, C, H, W], side [M] 0 or 1, group [M], standardised lightness [M])."""
    groups, _, count = pairs.latents.shape[:3]
    latents = rearrange(pairs.latents, "g s n ... -> (g s n) ...")
    index = torch.arange(groups * 2 * count)
    group, side = index // (2 * count), index // count % 2
    tone = pairs.lightness.flatten()
    tone = (tone - tone.mean()) / tone.std()
    if keep is not None:
        return latents[keep], side[keep], group[keep], tone[keep]
    return latents, side, group, tone


class Teacher:
    """The host's own push D_c - D_s at noised pairs: two UNet evaluations each, computed once and reused.

    Raises PairError if too many pushes hold NaN or infinity; otherwise those are left out and counted in `broken`.

    Args:
        host, axis, pairs: as for `learn`.
        count: number of pushes, or fewer if they need more than TEACHER_BYTES; a larger latent teaches more at once.
        seed: of pictures, sigmas, noise and prompts.
        batch: pushes computed at once.
        progress: `progress("push", done, total)`, called after each batch.
    """

    def __init__(self, host, axis, pairs, count, seed, batch=64, progress=None):
        rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
        latents, _, group, _ = flatten(pairs)
        size = latents[0].numel()
        dtype = torch.float32 if 4 * size * count <= TEACHER_BYTES else torch.float16
        count = min(count, TEACHER_BYTES // (dtype.itemsize * size))
        chosen = torch.randint(len(latents), (count,), generator=generator)
        group, sigma = group[chosen], random_sigmas(count, generator)
        noised, pushes = (torch.empty(count, *latents.shape[1:], dtype=dtype) for _ in range(2))
        for which in torch.arange(count).split(batch):
            noise = torch.randn(len(which), *latents.shape[1:], generator=generator)
            x = add_noise(latents[chosen[which]], noise, sigma[which])
            neutral = [rng.choice(axis.prompts(axis.groups[g])) for g in group[which].tolist()]
            predictions = []
            for side in ("counter", "stereotype"):
                prompts = [f"{prompt} {rng.choice(getattr(axis, side).phrases)}" for prompt in neutral]
                predictions.append(host.denoise(x, sigma[which], host.encode(prompts)))
            noised[which], pushes[which] = x.to(dtype), (predictions[0] - predictions[1]).to(pushes)
            if progress:
                progress("push", int(which[-1]) + 1, count)
        self.evaluations = 2 * count
        fine = torch.stack([push.isfinite().all() for push in pushes])
        self.broken = int((~fine).sum())
        refuse_broken(self.broken, count, what="pushes of the model")
        self.group, self.sigma, self.x, self.push = group[fine], sigma[fine], noised[fine], pushes[fine]

    def taught(self, which):
        """x, sigma, group and push at some indices, float32."""
        return self.x[which].float(), self.sigma[which], self.group[which], self.push[which].float()

    def weights(self):
        """Weights of the pushes in the loss [count]: 1 / mean squared push at their noise level, which is capped."""
        bins, count = torch.bucketize(self.sigma, SIGMA_BINS), len(SIGMA_BINS) + 1
        each = torch.stack([push.float().square().mean() for push in self.push])
        power = torch.zeros(count).index_add_(0, bins, each) / bins.bincount(minlength=count).clamp(min=1)
        return 1 / power.clamp(min=0.3 * float(power.max()))[bins]


def optimise(
    network, steps, loss_of_step, label, rate, schedule, average=0.0, clip=1.0, progress=None, path=None, **options
):  # fmt: skip
    """Train a network in place with AdamW -> the network with averaged weights, for inference.

    Args:
        loss_of_step: `loss_of_step(step)` -> the loss.
        label: what the progress bar and `progress` call this training.
        rate, schedule: the learning rate at a step is `rate * schedule(step)`.
        average: decay of an exponential moving average of the weights, less in the first steps; 0 for none.
        clip: largest norm of the gradient.
        progress: `progress(label, done, total)`, called after each step instead of the bar; may raise to stop.
        path: a checkpoint, written every CHECKPOINT_EVERY steps and at the end; training resumes from it.
        options: of torch.optim.AdamW.
    """
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=rate, **options)
    decay = LambdaLR(optimizer, schedule)

    @torch.no_grad()
    def running_average(averaged, current, count):
        torch._foreach_lerp_(averaged, current, 1 - min(average, (float(count) + 1) / (float(count) + 10)))

    averaged = AveragedModel(network, multi_avg_fn=running_average)
    parts = {"network": network, "averaged": averaged, "optimizer": optimizer, "decay": decay}
    if path and path.exists():
        for name, state in torch.load(path, weights_only=True).items():
            parts[name].load_state_dict(state)
    bar = dict(initial=decay.last_epoch, total=steps, desc=label, mininterval=10, leave=False)
    for step in trange(decay.last_epoch, steps, **bar, disable=progress is not None):
        loss = loss_of_step(step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, clip)
        optimizer.step()
        decay.step()
        averaged.update_parameters(network)
        if progress:
            progress(label, step + 1, steps)
        if path and ((step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == steps):
            torch.save({name: part.state_dict() for name, part in parts.items()}, path.with_suffix(".part"))
            path.with_suffix(".part").replace(path)
    network.load_state_dict(averaged.module.state_dict())
    return network.eval().requires_grad_(False)


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


def _noised(latents, batch, generator):
    """A random batch of latents with noise -> (their indices [B], x [B, C, H, W], sigma [B])."""
    chosen = torch.randint(len(latents), (batch,), generator=generator)
    sigma = random_sigmas(batch, generator)
    return chosen, add_noise(latents[chosen], torch.randn(latents[chosen].shape, generator=generator), sigma), sigma


def train_classifier(
    space, pairs, steps, seed, batch=128, keep=None, progress=None, device=CPU, tone=False
):  # fmt: skip
    """A Classifier of the side (a baseline), or with `tone` a regression of lightness; arguments: `train_distilled`."""
    latents, side, group, lightness = flatten(pairs, keep)
    wanted, loss, label = (lightness, F.mse_loss, "tone") if tone else (side.float(), SIDE_LOSS, "classifier")
    batch = batch_of(batch, latents.shape)
    network = _fresh(seed, device, Classifier, space, len(pairs.latents), patch=patch_of(latents.shape))

    def loss_of_step(generator):
        chosen, x, sigma = _noised(latents, batch, generator)
        x, sigma, own, target = beside(network, x, sigma, group[chosen], wanted[chosen])
        return loss(network.log_odds(x, sigma, own), target)

    return _train(network, steps, seed, loss_of_step, label, progress)


def train_tone(space, pairs, steps, seed, batch=64, progress=None, device=CPU):
    """E[t | x, sigma]: a Classifier whose output is read as lightness t; its push is Cov(x0, t | x).

    Tilting the model by exp(gain * t) adds gain * Cov(x0, t | x) to the denoised to first order in the gain, and
    Cov(x0, t | x) = sigma^2 grad E[t | x] (Tweedie; Efron 2011). Lightness is that of both sides together, so where
    stereotype pictures are darker, the tone push also contains the part of the side that correlates with lightness.
    """
    return train_classifier(space, pairs, steps, seed, batch, None, progress, device, tone=True)


def train_distilled(
    space, pairs, teacher, tone, steps, seed, region, batch=48, keep=None, progress=None, device=CPU
):  # fmt: skip
    """Cross-entropy of the side, regression of the teacher's push and tone push -> (Distilled, held-out figures).

    Args:
        space: name in LATENT_SPACES.
        pairs, teacher, tone: Pairs, their Teacher, and the network of `train_tone`.
        steps, seed: number of training steps; seed of weights and batches.
        region: the axis' box of skin. Outside it the tone push is set to zero: there it contains what correlates with
            skin, such as clothes, and removing that from the push would change them.
        batch: latents in a batch if they are 16 x 16; larger latents have smaller batches.
        keep: indices of the pictures that the side is learned from, such as those with matching tones; default all.
        progress: `progress(label, done, total)`, called after each step; may raise to stop.
        device: torch.device of the network.
    """
    latents, side, group, _ = flatten(pairs, keep)
    batch = batch_of(batch, latents.shape)
    network = _fresh(seed, device, Distilled, space, len(pairs.latents), patch=patch_of(latents.shape))
    weights, count = teacher.weights(), len(teacher.x)
    held = max(min(1, count - 1), count // 20)  # at least one, if another is left to learn from
    tone_push = _SkinPush(teacher, tone, region)

    def loss_of_step(generator):
        chosen, x, sigma = _noised(latents, batch, generator)
        which = held + torch.randint(count - held, (batch,), generator=generator)
        *taught, push = teacher.taught(which)
        inputs = [torch.cat(both) for both in zip((x, sigma, group[chosen]), taught, strict=True)]
        reading = network(*beside(network, *inputs))
        wanted, push, skin, weight = beside(network, side[chosen].float(), push, tone_push[which], weights[which])
        odds = SIDE_LOSS(reading.log_odds[:batch], wanted)
        error = (reading.push[batch:] - push).square().mean(dim=(1, 2, 3))
        tone_error = (reading.tone[batch:] - skin).square().mean()
        return odds + (error * weight).mean() + 0.3 / tone_push.power * tone_error

    _train(network, steps, seed, loss_of_step, "preference", progress)
    sums = torch.zeros(4, dtype=torch.float64)  # held out: error and power of the push, and of the tone push
    for which in torch.arange(held).split(batch_of(200, latents.shape)):
        *taught, push = teacher.taught(which)
        with torch.no_grad():
            reading, skin = read(network, *taught), tone_push[which]
        both = [part.square().mean(dim=(1, 2, 3)) * weights[which] for part in (reading.push - push, push)]
        both += [part.square().mean(dim=(1, 2, 3)) for part in (reading.tone - skin, skin)]
        sums += torch.stack(both).sum(dim=1)
    figures = {
        "push_r2": float(1 - sums[0] / sums[1]),
        "tone_r2": float(1 - sums[2] / sums[3]),
        "teacher_evaluations": teacher.evaluations,
        "teacher_pushes_broken": teacher.broken,
    }
    return network, figures


class _SkinPush:
    """The tone push at the teacher's x, zero where no skin is expected; `power` is its mean square."""

    def __init__(self, teacher, tone, region):
        mask, (height, width) = skin_mask(teacher.x.shape, region), teacher.x.shape[-2:]
        rows, columns = ((mask > 0).any(dim=dim).nonzero()[:, 0].tolist() for dim in (1, 0))
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        self.margins = columns[0], width - 1 - columns[-1], rows[0], height - 1 - rows[-1]  # left, right, top, bottom
        pushes = []
        for which in torch.arange(len(teacher.x)).split(batch_of(200, teacher.x.shape)):
            x, sigma, group, _ = teacher.taught(which)
            pushes.append((read(tone, x, sigma, group).push * mask)[(..., *box)].to(teacher.x.dtype))
        self.pushes = torch.cat(pushes)
        share = self.pushes[0].numel() / teacher.x[0].numel()
        self.power = float(self.pushes.float().square().mean()) * share

    def __getitem__(self, which):
        """Tone pushes [B, C, H, W] at some of the teacher's indices."""
        return F.pad(self.pushes[which].float(), self.margins)


def train_judge(pairs, seed, steps=300, batch=64, progress=None, device=CPU):
    """-> (Judge, its accuracy on the pictures that each fold was not trained on)."""
    latents, side, _, _ = flatten(pairs)
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
