"""Networks trained on pairs: the preference (Distilled), its teacher and tone push, the Classifier, and the judge.

One optimiser loop serves them all. Each is reproducible by its seed, and leaves the global one alone. Data stays where
the pairs are, on the CPU, and is drawn there; each batch is moved to `device`, where the network trains and stays.
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
TEACHER_BYTES = 2**28  # of noised latents, and of pushes: half precision and fewer of them where more would be needed
CPU = torch.device("cpu")
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
    """Latent cells a side that the networks see as one, by the latents' shape [..., H, W]: 2, and 4 for SDXL's 128."""
    return 2 if min(shape[-2:]) < 3 * MOST_CELLS else 4


def batch_of(batch, shape):
    """A batch of latents of 16 x 16 -> one of `shape` [..., H, W] that costs not much more memory and time."""
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
    """The host's own push D_c - D_s at noised pairs: two UNet evaluations each, made once and reused.

    `count` of them, or as many as fit TEACHER_BYTES; a large latent teaches more at once. Those with NaN or infinity
    are left out and counted in `broken`. Raises PairError where too many are.
    """

    def __init__(self, host, axis, pairs, count, seed, batch=64, progress=None):
        rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
        latents, _, group, _ = flatten(pairs)
        size = latents[0].numel()
        dtype = torch.float32 if 4 * size * count <= TEACHER_BYTES else torch.float16
        count = min(count, TEACHER_BYTES // (dtype.itemsize * size))
        chosen = torch.randint(len(latents), (count,), generator=generator)
        self.group, self.sigma = group[chosen], random_sigmas(count, generator)
        self.x, self.push = (torch.empty(count, *latents.shape[1:], dtype=dtype) for _ in range(2))
        for which in torch.arange(count).split(batch):
            noise = torch.randn(len(which), *latents.shape[1:], generator=generator)
            x = add_noise(latents[chosen[which]], noise, self.sigma[which])
            self.x[which] = x.to(dtype)
            neutral = [rng.choice(axis.prompts(axis.groups[g])) for g in self.group[which].tolist()]
            predictions = []
            for side in ("counter", "stereotype"):
                prompts = [f"{prompt} {rng.choice(getattr(axis, side).phrases)}" for prompt in neutral]
                predictions.append(host.denoise(x, self.sigma[which], host.encode(prompts)))
            self.push[which] = (predictions[0] - predictions[1]).to(self.push)
            if progress:
                progress("push", int(which[-1]) + 1, count)
        self.evaluations = 2 * count
        fine = torch.stack([push.isfinite().all() for push in self.push])
        self.broken = int((~fine).sum())
        refuse_broken(self.broken, count, what="pushes of the model")
        if self.broken:
            self.group, self.sigma, self.x, self.push = (
                kept[fine] for kept in (self.group, self.sigma, self.x, self.push)
            )

    def taught(self, which):
        """The x, sigma, group and push of some of the evaluations, float32."""
        return self.x[which].float(), self.sigma[which], self.group[which], self.push[which].float()

    def weights(self):
        """1 / mean squared push by noise level, [count]; levels at which the push is small count for less."""
        bins, count = torch.bucketize(self.sigma, SIGMA_BINS), len(SIGMA_BINS) + 1
        each = torch.stack([push.float().square().mean() for push in self.push])
        power = torch.zeros(count).index_add_(0, bins, each) / bins.bincount(minlength=count).clamp(min=1)
        return 1 / power.clamp(min=0.3 * float(power.max()))[bins]


def _train(network, steps, seed, loss_of_step, label, rate=2e-3, progress=None):
    """AdamW with a linear decay and an average of the weights; in place. -> the network, for inference.

    `progress(label, done, total)` is called after each step, and may raise to stop.
    """
    generator = torch.Generator().manual_seed(seed)
    parameters = list(network.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=1e-3)
    decay = LambdaLR(optimizer, lambda step: min(1, (step + 1) / 50) * (1 - step / steps))
    averaged = AveragedModel(network, multi_avg_fn=_running_average)
    for step in trange(steps, desc=label, mininterval=10, leave=False, disable=progress is not None):
        loss = loss_of_step(generator)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        decay.step()
        averaged.update_parameters(network)
        if progress:
            progress(label, step + 1, steps)
    network.load_state_dict(averaged.module.state_dict())
    return network.eval().requires_grad_(False)


@torch.no_grad()
def _running_average(averaged, current, count):
    """An exponential average of the last hundred steps, shorter in the beginning."""
    torch._foreach_lerp_(averaged, current, 1 - min(0.99, (float(count) + 1) / (float(count) + 10)))


def _fresh(factory, seed, device):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = factory()
    place(network, device)
    return network.requires_grad_(True)


def train_tone(space, pairs, steps, seed, batch=64, progress=None, device=CPU):
    """E[t | x, sigma]: a Classifier whose output is read as lightness t; its push is Cov(x0, t | x).

    Tilting the model by exp(gain * t) adds gain * Cov(x0, t | x) to the denoised to first order in the gain, and
    Cov(x0, t | x) = sigma^2 grad E[t | x] (Tweedie; Efron 2011). Lightness is that of both sides together, so that
    where stereotype pictures are darker the tone push also holds what of the side goes with lightness.
    """
    latents, _, group, tone = flatten(pairs)
    batch = batch_of(batch, latents.shape)
    network = _fresh(lambda: Classifier(space, len(pairs.latents), patch=patch_of(latents.shape)), seed, device)

    def loss_of_step(generator):
        chosen = torch.randint(len(latents), (batch,), generator=generator)
        sigma = random_sigmas(batch, generator)
        x = add_noise(latents[chosen], torch.randn(latents[chosen].shape, generator=generator), sigma)
        x, sigma, own, wanted = beside(network, x, sigma, group[chosen], tone[chosen])
        return F.mse_loss(network.log_odds(x, sigma, own), wanted)

    return _train(network, steps, seed, loss_of_step, "tone", progress=progress)


def train_distilled(
    space, pairs, teacher, tone, steps, seed, region, batch=48, keep=None, progress=None, device=CPU
):  # fmt: skip
    """The learned preference: cross-entropy of the side, regression of the teacher's push and of the tone push.

    `region`: the axis' box of skin, around which the tone push is kept. Elsewhere it holds what goes with skin in these
    pictures, such as clothes, and taking that out of the push would change them. `keep`: the pictures that teach the
    side, e.g. those whose tones match; by default all.
    """
    latents, side, group, _ = flatten(pairs, keep)
    batch = batch_of(batch, latents.shape)
    network = _fresh(lambda: Distilled(space, len(pairs.latents), patch=patch_of(latents.shape)), seed, device)
    weights, count = teacher.weights(), len(teacher.x)
    held = max(min(1, count - 1), count // 20)  # at least one, where there is another to learn from
    tone_push = _SkinPush(teacher, tone, region)

    def loss_of_step(generator):
        chosen = torch.randint(len(latents), (batch,), generator=generator)
        sigma = random_sigmas(batch, generator)
        x = add_noise(latents[chosen], torch.randn(latents[chosen].shape, generator=generator), sigma)
        which = held + torch.randint(count - held, (batch,), generator=generator)
        *taught, push = teacher.taught(which)
        inputs = [torch.cat(both) for both in zip((x, sigma, group[chosen]), taught, strict=True)]
        reading = network(*beside(network, *inputs))
        wanted, push, skin, weight = beside(network, side[chosen].float(), push, tone_push[which], weights[which])
        odds = F.binary_cross_entropy_with_logits(reading.log_odds[:batch], wanted)
        error = (reading.push[batch:] - push).square().mean(dim=(1, 2, 3))
        tone_error = (reading.tone[batch:] - skin).square().mean()
        return odds + (error * weight).mean() + 0.3 / tone_push.power * tone_error

    network = _train(network, steps, seed, loss_of_step, "preference", progress=progress)
    sums = torch.zeros(4, dtype=torch.float64)  # of the held out: error and power of the push, and of the tone push
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
    """The tone push at the teacher's x, kept only where skin may be: zero elsewhere. `power`: its mean square."""

    def __init__(self, teacher, tone, region):
        self.shape, mask = teacher.x.shape[1:], skin_mask(teacher.x.shape, region)
        rows, columns = ((mask > 0).any(dim=dim).nonzero()[:, 0] for dim in (1, 0))
        self.box = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
        pushes = []
        for which in torch.arange(len(teacher.x)).split(batch_of(200, teacher.x.shape)):
            x, sigma, group, _ = teacher.taught(which)
            pushes.append((read(tone, x, sigma, group).push * mask)[..., self.box[0], self.box[1]].to(teacher.x.dtype))
        self.pushes = torch.cat(pushes)
        share = self.pushes[0].numel() / self.shape.numel()
        self.power = float(self.pushes.float().square().mean()) * share

    def __getitem__(self, which):
        """[B, C, H, W] of some of the teacher's evaluations."""
        whole = torch.zeros(len(which), *self.shape)
        whole[..., self.box[0], self.box[1]] = self.pushes[which].float()
        return whole


def train_classifier(space, pairs, steps, seed, keep=None, batch=128, device=CPU):
    """The Classifier source, a baseline; `keep` restricts it to some pictures, e.g. tone-matched ones."""
    latents, side, group, _ = flatten(pairs, keep)
    batch = batch_of(batch, latents.shape)
    network = _fresh(lambda: Classifier(space, len(pairs.latents), patch=patch_of(latents.shape)), seed, device)

    def loss_of_step(generator):
        chosen = torch.randint(len(latents), (batch,), generator=generator)
        sigma = random_sigmas(batch, generator)
        x = add_noise(latents[chosen], torch.randn(latents[chosen].shape, generator=generator), sigma)
        x, sigma, own, wanted = beside(network, x, sigma, group[chosen], side[chosen].float())
        return F.binary_cross_entropy_with_logits(network.log_odds(x, sigma, own), wanted)

    return _train(network, steps, seed, loss_of_step, "classifier")


def train_judge(pairs, seed, steps=300, batch=64, progress=None, device=CPU):
    """-> (Judge, its accuracy on the pictures each fold did not see)."""
    latents, side, _, _ = flatten(pairs)
    batch = batch_of(batch, latents.shape)
    fold = torch.arange(len(latents)) % Judge.FOLDS
    judge = _fresh(lambda: Judge(latents.shape[1]), seed, device)

    def loss_of_step(generator):
        losses = []
        for index in range(Judge.FOLDS):
            own = (fold != index).nonzero()[:, 0]
            chosen = own[torch.randint(len(own), (batch,), generator=generator)]
            noisy = latents[chosen] + 0.1 * torch.randn(latents[chosen].shape, generator=generator)
            noisy, wanted = beside(judge, noisy, side[chosen].float())
            losses.append(F.binary_cross_entropy_with_logits(judge(noisy, index), wanted))
        return sum(losses)

    _train(judge, steps, seed, loss_of_step, "judge", progress=progress)
    with torch.no_grad():
        odds = torch.stack([judge(*beside(judge, latents), index) for index in range(Judge.FOLDS)]).to(latents.device)
    own = odds.gather(0, fold[None])[0]
    return judge, float(((own > 0) == side.bool()).float().mean())
