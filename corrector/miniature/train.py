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
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import trange

from ..latents.optimise import optimise
from . import model, world
from .prompts import training_prompt
from .reader import Reader, reader_targets

POOL = {"natural": 12000, "backdrop": 3200, "attire": 3200, "both": 1600, "empty": 1000}
CAPTIONS = {"natural": 0.5, "backdrop": 0.17, "attire": 0.17, "both": 0.1, "empty": 0.06}  # of each batch


def draw_pool(seed, folder):
    """Draw the training scenes to disk, once -> (list of (kind, Scene), uint8 pictures [N, 128, 128, 3])."""
    rng = np.random.default_rng(seed)
    pool = []
    for kind, count in POOL.items():
        for index in range(count):
            group = None if kind == "empty" else world.GROUPS[index % len(world.GROUPS)]
            pool.append((kind, world.sample_scene(rng, group, *named_sides(rng, kind))))
    path = folder / "pictures.npy"
    if not path.exists():
        with ProcessPoolExecutor() as workers:
            pictures = np.stack(list(workers.map(world.draw, [scene for _, scene in pool], chunksize=64)))
        np.save(folder / "part.npy", pictures)
        (folder / "part.npy").rename(path)
    return pool, np.load(path, mmap_mode="r")


def named_sides(rng, kind):
    """The sides that a caption of this kind names, at random -> (backdrop or None, attire or None)."""
    backdrop = world.BACKDROPS[rng.integers(2)] if kind in ("backdrop", "both", "empty") else None
    return backdrop, world.ATTIRES[rng.integers(2)] if kind in ("attire", "both") else None


def to_tensor(pictures):
    """uint8 pictures [N, H, W, 3] -> float [N, 3, H, W] in -1..1."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def _train(network, path, steps, rate, loss_of_step, average):
    """`optimise` with warm-up and cosine decay of the learning rate; `path` is this stage's checkpoint."""

    def schedule(step):
        return min(1.0, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))

    options = dict(betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    return optimise(network, steps, loss_of_step, path.stem, rate, schedule, average, path=path, **options)


def train_autoencoder(autoencoder, pictures, folder, seed, steps):
    """Train an AutoencoderTiny on random 64 x 64 crops, as it is fully convolutional."""

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

    _train(autoencoder, folder / "autoencoder.pt", steps, 1e-3, loss_of_step, average=0.995)


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


def train_reader(reader, pool, pictures, autoencoder, folder, seed, steps):
    """Train the reader on pictures and their reconstructions, with blur and noise."""
    targets = reader_targets([scene for _, scene in pool])

    def loss_of_step(step):
        rng = np.random.default_rng((seed, 2, step))
        torch.manual_seed(step)  # of dropout
        chosen = np.sort(rng.integers(len(pictures), size=64))
        batch = to_tensor(pictures[chosen])
        if step % 4 == 0:
            with torch.no_grad():
                latent = autoencoder.encode(batch[:16]).latents
                noise = torch.from_numpy(rng.standard_normal(latent.shape, dtype=np.float32))
                batch = torch.cat([autoencoder.decode(latent + 0.2 * noise).sample.clamp(-1, 1), batch[16:]])
        batch = batch + 0.05 * torch.from_numpy(rng.standard_normal(batch.shape, dtype=np.float32))
        logits = reader(batch).values()
        return sum(F.cross_entropy(own, targets[chosen, index]) for index, own in enumerate(logits))

    _train(reader, folder / "reader.pt", steps, 2e-3, loss_of_step, average=0.99)


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


def train_text_encoder(encoder, pool, tokenizer, folder, seed, steps, batch_size=96):
    """Train the text encoder to tell what a caption names; then it stays frozen, as in SD.

    Trained through the UNet's loss alone, it learned groups but neither backdrop nor attire in 1750 steps.
    """
    torch.manual_seed(seed)
    answers = ((*world.GROUPS, "any", None), (*world.BACKDROPS, None), (*world.ATTIRES, None))
    heads = nn.ModuleList(nn.Linear(model.TEXT["hidden_size"], len(options)) for options in answers)

    def loss_of_step(step):
        rng = np.random.default_rng((seed, 4, step))
        captions, named = zip(*(caption(rng, *pool[i]) for i in rng.integers(len(pool), size=batch_size)), strict=True)
        with sdpa_kernel(SDPBackend.MATH):
            tokens = encoder(model.tokenize(tokenizer, captions)).last_hidden_state
        loss = 0
        for head, options, answer in zip(heads, answers, zip(*named, strict=True), strict=True):
            target = torch.tensor([options.index(one) for one in answer])
            # From the mean and from the last token, so that cross-attention finds it anywhere.
            loss = loss + sum(F.cross_entropy(head(t), target) for t in (tokens.mean(dim=1), tokens[:, -1]))
        return loss

    _train(nn.ModuleList([encoder, heads]), folder / "text_encoder.pt", steps, 1e-3, loss_of_step, average=0.99)


def diffusion_loss(unet, latents, pool, chosen, encode, rng):
    """Loss of epsilon prediction on SD1.5's schedule at random noise levels.

    Args:
        unet: network to train.
        latents: [N, 4, 16, 16] in model space, of the scenes in `pool`.
        pool: list of N (kind of caption, Scene); 10 % of captions are dropped.
        chosen: indices of the batch, [B].
        encode: list of B captions -> conditioning [B, 77, W].
        rng: numpy Generator.
    """
    from diffusers import DDPMScheduler

    captions = ["" if rng.random() < 0.1 else caption(rng, *pool[i])[0] for i in chosen]
    count = len(chosen)  # noise levels are stratified over the batch, for a steadier loss
    timestep = torch.from_numpy(((rng.random() + np.arange(count)) / count % 1 * 1000).astype(np.int64))
    noise = torch.from_numpy(rng.standard_normal((count, *latents.shape[1:]), dtype=np.float32))
    noised = DDPMScheduler(**model.SCHEDULE).add_noise(latents[chosen], noise, timestep)
    conditioning = encode(captions)
    # On a CPU the backward pass of fused attention takes half of the step.
    with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
        eps = unet(noised, timestep, conditioning).sample.float()
    return F.mse_loss(eps, noise)


def train_diffusion(unet, pool, latents, tokenizer, text_encoder, folder, seed, steps, batch_size=64):
    """Train the UNet on the captions of the pool, in the shares of CAPTIONS."""
    latents = latents / latents.std()
    kinds = np.array([kind for kind, _ in pool])
    members = {kind: np.flatnonzero(kinds == kind) for kind in POOL}

    def encode(captions):
        with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
            return text_encoder(model.tokenize(tokenizer, captions)).last_hidden_state

    def loss_of_step(step):
        rng = np.random.default_rng((seed, 3, step))
        drawn = rng.choice(list(CAPTIONS), p=list(CAPTIONS.values()), size=batch_size)
        chosen = np.array([rng.choice(members[kind]) for kind in drawn])
        return diffusion_loss(unet, latents, pool, chosen, encode, rng)

    _train(unet, folder / "unet.pt", steps, 1e-3, loss_of_step, average=0.998)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/miniature"), help="folder of checkpoints and weights")
    parser.add_argument("--seed", type=int, default=0)
    for stage, steps in {"autoencoder": 2400, "reader": 250, "text": 600, "unet": 3200}.items():
        parser.add_argument(f"--{stage}-steps", type=int, default=steps)
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    pool, pictures = draw_pool(args.seed, args.out)
    tokenizer = model.new_tokenizer(args.seed, args.out / "checkpoint" / "tokenizer")
    torch.manual_seed(args.seed)
    reader, (unet, text_encoder, autoencoder) = Reader(), model.new_networks(tokenizer)
    train_autoencoder(autoencoder, pictures, args.out, args.seed, args.autoencoder_steps)
    train_reader(reader, pool, pictures, autoencoder, args.out, args.seed, args.reader_steps)
    latents = encode_pool(autoencoder, pictures, args.out)
    train_text_encoder(text_encoder, pool, tokenizer, args.out, args.seed, args.text_steps)
    train_diffusion(unet, pool, latents, tokenizer, text_encoder, args.out, args.seed, args.unet_steps)
    model.add_synonyms(args.out / "checkpoint" / "tokenizer", text_encoder)
    model.save(
        args.out / "checkpoint", unet, text_encoder, autoencoder, float(1 / latents.std()), use_karras_sigmas=True
    )
    save_file(reader.half().state_dict(), args.out / "checkpoint" / "reader.safetensors")


if __name__ == "__main__":
    main()
