"""Train the miniature from scratch: draw the pictures, then train VAE, reader, text encoder and UNet.

`python -m corrector.miniature.train --out runs/miniature` takes under two hours on two CPU cores. Each stage saves a
checkpoint every few hundred steps and resumes from it. Randomness depends only on (seed, step), so an interrupted run
gives the same weights as an uninterrupted one.
"""

import argparse
import math
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import trange

from . import model, world
from .prompts import training_prompt
from .reader import Reader, reader_targets

POOL = {"natural": 12000, "backdrop": 3200, "attire": 3200, "both": 1600, "empty": 1000}
CAPTIONS = {"natural": 0.5, "backdrop": 0.17, "attire": 0.17, "both": 0.1, "empty": 0.06}  # of each batch
CHECKPOINT_EVERY = 250


def draw_pool(seed, folder):
    """Draw the training scenes to disk, once -> (list of (kind, Scene), uint8 pictures [N, 128, 128, 3])."""
    rng = np.random.default_rng(seed)
    pool = []
    for kind, count in POOL.items():
        for index in range(count):
            group = None if kind == "empty" else world.GROUPS[index % len(world.GROUPS)]
            named_backdrop = kind in ("backdrop", "both", "empty")
            backdrop = world.BACKDROPS[rng.integers(2)] if named_backdrop else None
            attire = world.ATTIRES[rng.integers(2)] if kind in ("attire", "both") else None
            pool.append((kind, world.sample_scene(rng, group, backdrop, attire)))
    path = folder / "pictures.npy"
    if not path.exists():
        with ProcessPoolExecutor() as workers:
            pictures = np.stack(list(workers.map(world.draw, [scene for _, scene in pool], chunksize=64)))
        np.save(folder / "part.npy", pictures)
        (folder / "part.npy").rename(path)
    return pool, np.load(path, mmap_mode="r")


def to_tensor(pictures):
    """uint8 pictures [N, H, W, 3] -> float [N, 3, H, W] in -1..1."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


class Trainer:
    """One stage of training: AdamW with warm-up and cosine decay, averaged weights, resumable.

    Args:
        path: checkpoint of this stage.
        modules: {name: module} to train, in place.
        steps: number of steps.
        rate: largest learning rate.
        average: decay of the exponential moving average of the weights.
    """

    def __init__(self, path, modules, steps, rate, average=0.0):
        self.path, self.modules, self.steps, self.rate, self.average = path, modules, steps, rate, average
        self.parameters = [p for module in modules.values() for p in module.parameters()]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
        self.averaged = [p.detach().clone() for p in self.parameters]
        self.step = 0
        if path.exists():
            self._load()

    def run(self, loss_of_step, label):
        bar = trange(self.step, self.steps, initial=self.step, total=self.steps, desc=label, mininterval=20)
        for step in bar:
            warm = min(1.0, (step + 1) / 100)
            rate = self.rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / self.steps)))
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            loss = loss_of_step(step)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
            self.optimizer.step()
            keep = min(self.average, (step + 1) / (step + 10))
            torch._foreach_lerp_(self.averaged, [p.detach() for p in self.parameters], 1 - keep)
            self.step = step + 1
            if self.step % 10 == 0:
                bar.set_postfix(loss=f"{loss.item():.4f}")
            if self.step % CHECKPOINT_EVERY == 0 or self.step == self.steps:
                self._save()
        for parameter, averaged in zip(self.parameters, self.averaged, strict=True):
            parameter.data.copy_(averaged)

    def _save(self):
        tensors = {"step": torch.tensor(self.step)}
        for index, (parameter, averaged) in enumerate(zip(self.parameters, self.averaged, strict=True)):
            state = self.optimizer.state[parameter]
            tensors |= {f"{index}.weight": parameter.detach(), f"{index}.average": averaged}
            tensors |= {f"{index}.{name}": value for name, value in state.items()}
        part = self.path.with_suffix(".part")
        save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, part)
        part.replace(self.path)

    def _load(self):
        tensors = load_file(self.path)
        self.step = int(tensors["step"])
        for index, parameter in enumerate(self.parameters):
            parameter.data.copy_(tensors[f"{index}.weight"])
            self.averaged[index].copy_(tensors[f"{index}.average"])
            names = ("step", "exp_avg", "exp_avg_sq")
            self.optimizer.state[parameter] = {name: tensors[f"{index}.{name}"] for name in names}


def train_autoencoder(pictures, folder, seed, steps):
    """Train an AutoencoderTiny on random 64 x 64 crops, as it is fully convolutional."""
    torch.manual_seed(seed)
    autoencoder = model.new_autoencoder()

    def loss_of_step(step):
        rng = np.random.default_rng((seed, 1, step))
        crops = []
        for index in rng.integers(len(pictures), size=16):
            y, x = 8 * rng.integers(0, 9, size=2)  # on the grid of latent cells
            crops.append(pictures[index, y : y + 64, x : x + 64])
        target = to_tensor(np.stack(crops))
        noise = torch.from_numpy(rng.standard_normal((16, 4, 8, 8), dtype=np.float32))
        with torch.autocast("cpu", torch.bfloat16):
            latent = autoencoder.encode(target).latents.float()
            drawn = autoencoder.decode(latent + 0.08 * noise).sample.float()
        error = F.l1_loss(drawn, target)
        for axis in (2, 3):  # also the differences between neighbours, as edges matter most in drawings
            error = error + F.l1_loss(drawn.diff(dim=axis), target.diff(dim=axis))
        return error + F.l1_loss(F.avg_pool2d(drawn, 4), F.avg_pool2d(target, 4)) + 0.002 * latent.square().mean()

    Trainer(folder / "autoencoder.safetensors", {"a": autoencoder}, steps, 1e-3, average=0.995).run(
        loss_of_step, "autoencoder"
    )
    return autoencoder.eval().requires_grad_(False)


@torch.no_grad()
def encode_pool(autoencoder, pictures, folder):
    """All pictures -> latents [N, 4, 16, 16] in VAE space, kept on disk."""
    path = folder / "latents.safetensors"
    if not path.exists():
        batches = (to_tensor(pictures[i : i + 50]) for i in trange(0, len(pictures), 50, desc="encode", mininterval=20))
        with torch.autocast("cpu", torch.bfloat16):
            latents = torch.cat([autoencoder.encode(batch).latents.float() for batch in batches])
        save_file({"latents": latents.contiguous()}, path)
    return load_file(path)["latents"]


def train_reader(pool, pictures, autoencoder, folder, seed, steps):
    """Train the reader on pictures and their reconstructions, with blur and noise."""
    torch.manual_seed(seed)
    reader = Reader()
    targets = reader_targets([scene for _, scene in pool])

    def loss_of_step(step):
        rng = np.random.default_rng((seed, 2, step))
        chosen = np.sort(rng.integers(len(pictures), size=64))
        batch = to_tensor(pictures[chosen])
        if step % 4 == 0:
            with torch.no_grad():
                latent = autoencoder.encode(batch[:16]).latents
                noise = torch.from_numpy(rng.standard_normal(latent.shape, dtype=np.float32))
                batch = torch.cat([autoencoder.decode(latent + 0.2 * noise).sample.clamp(-1, 1), batch[16:]])
        batch = batch + 0.05 * torch.from_numpy(rng.standard_normal(batch.shape, dtype=np.float32))
        return reader.loss(reader(batch), targets[chosen])

    Trainer(folder / "reader.safetensors", {"r": reader}, steps, 2e-3, average=0.99).run(loss_of_step, "reader")
    return reader.eval().requires_grad_(False)


def caption(rng, kind, scene):
    """A caption of a scene, and what it names -> (text, (group, backdrop, attire)).

    It names only sides that were given when the scene was sampled; the others follow the planted rates.
    """
    if kind == "empty":
        return training_prompt(rng, None, scene=scene.backdrop), (None, scene.backdrop, None)
    group = "any" if kind == "natural" and rng.random() < 0.08 else scene.group
    backdrop = scene.backdrop if kind in ("backdrop", "both") else None
    attire = scene.attire if kind in ("attire", "both") else None
    return training_prompt(rng, group, backdrop, attire), (group, backdrop, attire)


def train_text_encoder(pool, tokenizer, folder, seed, steps, batch_size=96):
    """Train the text encoder to tell what a caption names; then it stays frozen, as in SD.

    Trained through the UNet's loss alone, it learned groups but neither backdrop nor attire in 1750 steps.
    """
    torch.manual_seed(seed)
    encoder = model.new_text_encoder(tokenizer)
    answers = ((*world.GROUPS, "any", None), (*world.BACKDROPS, None), (*world.ATTIRES, None))
    heads = torch.nn.ModuleList(torch.nn.Linear(model.TEXT["hidden_size"], len(options)) for options in answers)

    def loss_of_step(step):
        rng = np.random.default_rng((seed, 4, step))
        captions, named = zip(*(caption(rng, *pool[i]) for i in rng.integers(len(pool), size=batch_size)), strict=True)
        with sdpa_kernel(SDPBackend.MATH):
            tokens = encoder(model.tokenize(tokenizer, captions)).last_hidden_state
        loss = 0
        for column, (head, options) in enumerate(zip(heads, answers, strict=True)):
            target = torch.tensor([options.index(row[column]) for row in named])
            # From the mean and from the last token, so that cross-attention finds it anywhere.
            loss = loss + sum(F.cross_entropy(head(t), target) for t in (tokens.mean(dim=1), tokens[:, -1]))
        return loss

    modules = {"text_encoder": encoder, "heads": heads}
    Trainer(folder / "text_encoder.safetensors", modules, steps, 1e-3, average=0.99).run(loss_of_step, "text encoder")
    return encoder.eval().requires_grad_(False)


def train_diffusion(pool, latents, tokenizer, text_encoder, folder, seed, steps, batch_size=64):
    """Train the UNet: epsilon prediction on SD1.5's schedule, 10 % of captions dropped."""
    torch.manual_seed(seed)
    unet = model.new_unet()
    latents = latents / latents.std()
    sigmas = model.training_sigmas()
    kinds = np.array([kind for kind, _ in pool])
    members = {kind: np.flatnonzero(kinds == kind) for kind in POOL}

    def loss_of_step(step):
        rng = np.random.default_rng((seed, 3, step))
        drawn = rng.choice(list(CAPTIONS), p=list(CAPTIONS.values()), size=batch_size)
        chosen = np.array([rng.choice(members[kind]) for kind in drawn])
        captions = ["" if rng.random() < 0.1 else caption(rng, *pool[i])[0] for i in chosen]
        # Stratified over the batch, for a steadier loss.
        timestep = torch.from_numpy(((rng.random() + np.arange(batch_size)) / batch_size % 1 * 1000).astype(np.int64))
        sigma = sigmas[timestep].view(-1, 1, 1, 1)
        noise = torch.from_numpy(rng.standard_normal((batch_size, 4, 16, 16), dtype=np.float32))
        x = latents[chosen] + sigma * noise
        # On a CPU the backward pass of fused attention takes half of the step.
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            with torch.no_grad():
                conditioning = text_encoder(model.tokenize(tokenizer, captions)).last_hidden_state
            eps = unet(x / (sigma.square() + 1).sqrt(), timestep, conditioning).sample.float()
        return F.mse_loss(eps, noise)

    Trainer(folder / "unet.safetensors", {"unet": unet}, steps, 1e-3, average=0.998).run(loss_of_step, "unet")
    return unet.eval()


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/miniature"), help="folder of checkpoints and weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--autoencoder-steps", type=int, default=2400)
    parser.add_argument("--reader-steps", type=int, default=250)
    parser.add_argument("--text-steps", type=int, default=600)
    parser.add_argument("--unet-steps", type=int, default=3200)
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    pool, pictures = draw_pool(args.seed, args.out)
    tokenizer = model.new_tokenizer(args.seed, args.out / "checkpoint" / "tokenizer")
    autoencoder = train_autoencoder(pictures, args.out, args.seed, args.autoencoder_steps)
    reader = train_reader(pool, pictures, autoencoder, args.out, args.seed, args.reader_steps)
    latents = encode_pool(autoencoder, pictures, args.out)
    text_encoder = train_text_encoder(pool, tokenizer, args.out, args.seed, args.text_steps)
    unet = train_diffusion(pool, latents, tokenizer, text_encoder, args.out, args.seed, args.unet_steps)
    model.save(args.out / "checkpoint", unet, text_encoder, autoencoder, float(1 / latents.std()))
    save_file(reader.half().state_dict(), args.out / "checkpoint" / "reader.safetensors")


if __name__ == "__main__":
    main()
