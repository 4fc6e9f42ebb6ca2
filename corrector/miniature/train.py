"""Train the miniature from scratch: draw the pictures, then train VAE, reader, text encoder, UNet and marker of skin.

`python -m corrector.miniature.train --out runs/miniature` takes under two hours on two CPU cores. Each stage saves a
checkpoint every few hundred steps and resumes from it. Randomness depends only on (seed, step), so an interrupted run
gives the same weights as an uninterrupted one. `--skin-of weights/miniature` trains only the marker of skin, for the
checkpoint in that folder.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import trange

from ..latents.optimise import optimise
from ..latents.skin import to_uint8
from . import model, world
from .diffusion_loss import Captioner, Prediction, diffusion_loss, normal
from .prompts import caption, named_sides
from .reader import Reader, reader_targets
from .skin import SkinMarker

SKIN_STAGE = (600, 4e-3)  # steps and rate
SKIN_SCENES = 2400


def to_tensor(pictures: np.ndarray) -> Tensor:
    """uint8 pictures [N, H, W, 3] -> float [N, 3, H, W] in -1..1."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


class Trainer:
    """Trains the model of a drawn world in stages; the settings are the miniature's.

    Args:
        folder: of the stages' checkpoints, and of what is trained, in its folder "checkpoint".
        seed: of all randomness.
        steps: training steps by stage.
    """

    scenes = {"natural": 12000, "backdrop": 3200, "attire": 3200, "both": 1600, "empty": 1000}
    shares = {"natural": 0.5, "backdrop": 0.17, "attire": 0.17, "both": 0.1, "empty": 0.06}  # of each batch
    answers = ((*world.GROUPS, "any", None), (*world.BACKDROPS, None), (*world.ATTIRES, None))  # to captions
    stages = {
        "autoencoder": (2400, 1e-3), "reader": (250, 2e-3), "text": (600, 1e-3), "unet": (3200, 1e-3),
        "skin": SKIN_STAGE,
    }  # fmt: skip
    networks: dict[str, dict] = {}  # settings for `model.new_networks`
    reader_class: Callable[[], Reader] = Reader
    draw = staticmethod(world.draw)
    draw_skin = staticmethod(world.draw_skin)
    skin_parts = world.SKIN_PARTS
    captioner: Captioner = staticmethod(caption)
    latent_sd: float | None = None  # that the VAE is trained for; else it is measured
    latent_noise = 0.08  # that the decoder learns to ignore, in standard deviations
    schedule: dict[str, str | bool] = {"use_karras_sigmas": True}
    prediction: Prediction = "epsilon"
    has_synonyms = True

    def __init__(self, folder: Path, seed: int, steps: dict[str, int]):
        self.folder = folder
        self.checkpoint = folder / "checkpoint"
        self.seed = seed
        self.steps = steps
        self.pool = self.sampled_pool(np.random.default_rng(seed))
        folder.mkdir(parents=True, exist_ok=True)

    def run(self) -> None:
        """Train all networks and write the checkpoint folder."""
        self.tokenizer = model.new_tokenizer(self.seed, self.checkpoint / "tokenizer")
        torch.manual_seed(self.seed)
        self.reader = self.reader_class()
        self.unet, self.encoder, self.autoencoder = model.new_networks(self.tokenizer, **self.networks)
        self.train(self.autoencoder, "autoencoder", self.autoencoder_loss, average=0.995)
        self.train(self.reader, "reader", self.reader_loss, average=0.99)
        latents = self.encoded_pictures()
        sd = latents.std() if self.latent_sd is None else torch.tensor(self.latent_sd)
        self.train_text_encoder()
        self.train_unet(latents / sd)
        if self.has_synonyms:
            model.add_synonyms(self.checkpoint / "tokenizer", self.encoder)
        model.save(self.checkpoint, self.unet, self.encoder, self.autoencoder, float(1 / sd), **self.schedule)
        save_file(self.reader.half().state_dict(), self.checkpoint / "reader.safetensors")
        self.train_skin_marker(self.checkpoint)

    def train(self, network: nn.Module, stage: str, loss_of_step: Callable[[int], Tensor], average: float) -> None:
        """`optimise` with warm-up and cosine decay of the learning rate, from and to a stage's checkpoint."""
        steps = self.steps[stage]

        def schedule(step: int) -> float:
            return min(1.0, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))

        optimise(
            network, steps, loss_of_step, stage, self.stages[stage][1], schedule, average,
            path=self.folder / f"{stage}.pt", betas=(0.9, 0.98), weight_decay=0.01, fused=True,
        )  # fmt: skip

    def sampled_pool(self, rng: np.random.Generator) -> list[tuple[str, Any]]:
        """The training scenes -> list of (kind of caption, Scene)."""
        pool = []
        for kind, count in self.scenes.items():
            for index in range(count):
                group = None if kind == "empty" else world.GROUPS[index % len(world.GROUPS)]
                pool.append((kind, world.sample_scene(rng, group, *named_sides(rng, kind))))
        return pool

    @cached_property
    def pictures(self) -> np.ndarray:
        """Pictures of the pool, uint8 [N, H, W, 3], drawn to disk once."""
        path = self.folder / "pictures.npy"
        if not path.exists():
            with ProcessPoolExecutor() as workers:
                pictures = np.stack(list(workers.map(self.draw, [scene for _, scene in self.pool], chunksize=64)))
            np.save(self.folder / "part.npy", pictures)
            (self.folder / "part.npy").rename(path)
        return np.load(path, mmap_mode="r")

    def autoencoder_loss(self, step: int) -> Tensor:
        """Of random 64 x 64 crops, as an AutoencoderTiny is fully convolutional."""
        rng = np.random.default_rng((self.seed, 1, step))
        places = (self.pictures.shape[1] - 64) // 8 + 1  # on the grid of latent cells
        crops = []
        for index in rng.integers(len(self.pictures), size=16):
            y, x = 8 * rng.integers(0, places, size=2)
            crops.append(self.pictures[index, y : y + 64, x : x + 64])
        target = to_tensor(np.stack(crops))
        with torch.autocast("cpu", torch.bfloat16):
            latent = self.autoencoder.encode(target, return_dict=False)[0].float()
            disturbed = latent + self.latent_noise * (self.latent_sd or 1) * normal(rng, latent.shape)
            drawn = self.autoencoder.decode(disturbed, return_dict=False)[0].float()
        error = F.l1_loss(drawn, target)
        for axis in (2, 3):  # also the differences between neighbours, as edges matter most in drawings
            error = error + F.l1_loss(drawn.diff(dim=axis), target.diff(dim=axis))
        error = error + F.l1_loss(F.avg_pool2d(drawn, 4), F.avg_pool2d(target, 4))
        return error + self.latent_penalty(latent)

    def latent_penalty(self, latent: Tensor) -> Tensor:
        return 0.002 * latent.square().mean()

    @torch.no_grad()
    def encoded_pictures(self) -> Tensor:
        """All pictures -> latents [N, 4, H, W] in VAE space."""
        starts = trange(0, len(self.pictures), 50, desc="encode", mininterval=20)
        batches = (to_tensor(self.pictures[start : start + 50]) for start in starts)
        with torch.autocast("cpu", torch.bfloat16):
            latents = [self.autoencoder.encode(batch, return_dict=False)[0].float() for batch in batches]
        return torch.cat(latents).contiguous()

    def reader_loss(self, step: int) -> Tensor:
        """Of pictures and their reconstructions, with noise."""
        rng = np.random.default_rng((self.seed, 2, step))
        torch.manual_seed(step)  # of dropout
        chosen = np.sort(rng.integers(len(self.pictures), size=64))
        targets = reader_targets([self.pool[index][1] for index in chosen])
        batch = to_tensor(self.pictures[chosen])
        if step % 4 == 0:
            with torch.no_grad():
                latent = self.autoencoder.encode(batch[:16], return_dict=False)[0]
                disturbed = latent + 0.2 * normal(rng, latent.shape)
                decoded = self.autoencoder.decode(disturbed, return_dict=False)[0]
                batch = torch.cat([decoded.clamp(-1, 1), batch[16:]])
        logits = self.reader(batch + 0.05 * normal(rng, batch.shape)).values()
        losses = [F.cross_entropy(logit, targets[:, index]) for index, logit in enumerate(logits)]
        return torch.stack(losses).sum()

    def train_text_encoder(self) -> None:
        """Train the text encoder to tell what a caption names; then it stays frozen, as in SD.

        Trained through the UNet's loss alone, it learned groups but neither backdrop nor attire in 1750 steps.
        """
        torch.manual_seed(self.seed)
        width = self.text_features([""])[0].shape[1]
        heads = nn.ModuleList(nn.Linear(width, len(options)) for options in self.answers)

        def loss_of_step(step: int) -> Tensor:
            rng = np.random.default_rng((self.seed, 4, step))
            chosen = rng.integers(len(self.pool), size=96)
            captions, named = zip(*(self.captioner(rng, *self.pool[index]) for index in chosen), strict=True)
            with sdpa_kernel(SDPBackend.MATH):
                features = self.text_features(captions)
            loss = torch.zeros(())
            for head, options, answers in zip(heads, self.answers, zip(*named, strict=True), strict=True):
                target = torch.tensor([options.index(answer) for answer in answers])
                loss = loss + sum(F.cross_entropy(head(vectors), target) for vectors in features)
            return loss

        self.train(nn.ModuleList([self.encoder, heads]), "text", loss_of_step, average=0.99)

    def text_features(self, captions: Sequence[str]) -> tuple[Tensor, ...]:
        """Vectors [N, W] that shall tell what each caption names: mean and last token, so that attention finds it."""
        tokens = self.encoder(model.tokenize(self.tokenizer, captions)).last_hidden_state
        return tokens.mean(dim=1), tokens[:, -1]

    @cached_property
    def members(self) -> dict[str, np.ndarray]:
        """Indices in the pool by kind of caption."""
        kinds = np.array([kind for kind, _ in self.pool])
        return {kind: np.flatnonzero(kinds == kind) for kind in self.scenes}

    def chosen_scenes(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """Indices in the pool of a batch, with each kind of caption in its share."""
        drawn = rng.choice(list(self.shares), p=list(self.shares.values()), size=size)
        return np.array([rng.choice(self.members[kind]) for kind in drawn])

    def train_unet(self, latents: Tensor) -> None:
        """Train the UNet on latents [N, 4, H, W] in model space."""

        def encode(captions: list[str]) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
                return self.encoder(model.tokenize(self.tokenizer, captions)).last_hidden_state

        def loss_of_step(step: int) -> Tensor:
            rng = np.random.default_rng((self.seed, 3, step))
            chosen = self.chosen_scenes(rng, 64)
            captioner, prediction = self.captioner, self.prediction
            return diffusion_loss(self.unet, latents, self.pool, chosen, encode, rng, captioner, prediction)

        self.train(self.unet, "unet", loss_of_step, average=0.998)

    def train_skin_marker(self, checkpoint: Path) -> None:
        """Train the marker of skin on drawn pictures and reconstructions by a checkpoint's VAE, and write it there.

        Tints and noise make it sure of skin by its place and its shape too, as CFG and LoRAs change colours.
        """
        pictures, parts = self.skin_pictures(checkpoint)
        torch.manual_seed(self.seed)
        marker = SkinMarker(self.skin_parts)

        def loss_of_step(step: int) -> Tensor:
            rng = np.random.default_rng((self.seed, 6, step))
            chosen = rng.integers(len(pictures), size=32)
            tint = torch.from_numpy(rng.uniform(0.8, 1.2, (32, 3, 1, 1))).float()
            batch = ((to_tensor(pictures[chosen]) + 1) * tint - 1).clamp(-1, 1)
            with torch.autocast("cpu", torch.bfloat16):
                logits = marker(batch + 0.05 * normal(rng, batch.shape))
            return F.cross_entropy(logits.float(), torch.from_numpy(parts[chosen]).long())

        self.train(marker, "skin", loss_of_step, average=0.99)
        save_file(marker.half().state_dict(), checkpoint / "skin.safetensors")

    @torch.no_grad()
    def skin_pictures(self, checkpoint: Path) -> tuple[np.ndarray, np.ndarray]:
        """Pictures [N, H, W, 3] and their parts of skin [N, H, W], uint8; the first half are reconstructions.

        All kinds of scenes and all skin tones are equally frequent, so that neither side nor tone decides the marks.
        """
        from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny

        rng = np.random.default_rng((self.seed, 5))
        _, scenes = zip(*self.pool, strict=True)
        members = list(self.members.values())
        chosen = [rng.choice(members[index % len(members)]) for index in range(SKIN_SCENES)]
        drawn = [replace(scenes[index], skin=rng.uniform(20, 92)) for index in chosen]
        with ProcessPoolExecutor() as workers:
            pictures = np.stack(list(workers.map(self.draw, drawn, chunksize=64)))
            parts = np.stack(list(workers.map(self.draw_skin, drawn, chunksize=64)))
        autoencoder = AutoencoderTiny.from_pretrained(checkpoint / "vae", local_files_only=True)
        for batch in np.split(pictures[: SKIN_SCENES // 2], range(16, SKIN_SCENES // 2, 16)):  # views
            with torch.autocast("cpu", torch.bfloat16):
                latent = autoencoder.encode(to_tensor(batch), return_dict=False)[0].float()
                disturbed = latent + 0.2 / autoencoder.config["scaling_factor"] * normal(rng, latent.shape)
                decoded = autoencoder.decode(disturbed, return_dict=False)[0].float()
            batch[:] = to_uint8(decoded)
        return pictures, parts


def main(trainer: type[Trainer] = Trainer, out: str = "runs/miniature", argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=f"{trainer.__doc__}".splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(out), help="folder of checkpoints and weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--skin-of", type=Path, metavar="FOLDER", help="train only the marker of skin, for the checkpoint in FOLDER"
    )
    for stage, (steps, _) in trainer.stages.items():
        parser.add_argument(f"--{stage}-steps", type=int, default=steps)
    args = parser.parse_args(argv)
    steps = {stage: getattr(args, f"{stage}_steps") for stage in trainer.stages}
    training = trainer(args.out, args.seed, steps)
    if args.skin_of:
        training.train_skin_marker(args.skin_of)
    else:
        training.run()


if __name__ == "__main__":
    main()
