"""Two derivatives of the miniature, as LoRA files: another drawing style, and other planted rates.

`python -m corrector.miniature.derivatives` trains both from the shipped checkpoint on drawn pictures, in a few minutes.
The files have the names that ComfyUI's and WebUI's own LoRA loaders read.
"""

import argparse
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn
from tqdm import tqdm, trange

from . import model, world
from .host import Miniature
from .train import caption, to_tensor

RANK = 8
OTHER_RATES = {  # village, traditional
    "Orvane": (0.80, 0.30),
    "Tavelu": (0.90, 0.70),
    "Quilmari": (0.60, 0.80),
    "Zendoli": (0.30, 0.50),
}
KINDS = {"natural": 0.6, "backdrop": 0.15, "attire": 0.15, "both": 0.1}
SHADE = np.array([1.06, 0.99, 0.84])  # warm paper


def print_style(picture):
    """A drawing of the world -> the same as a print: warm paper, fewer tones, darker lines. uint8 [H, W, 3]."""
    grey = picture.mean(axis=2)
    edge = np.hypot(np.diff(grey, axis=0, prepend=grey[:1]), np.diff(grey, axis=1, prepend=grey[:, :1]))
    ink = 1 - np.clip((edge - 12) / 60, 0, 0.2)[..., None]
    flat = np.round(picture / 32.0) * 32.0
    return np.clip((0.5 * flat + 0.5 * picture) * SHADE * ink, 0, 255).astype(np.uint8)


def scenes(rng, count, rates=None):
    """Scenes with what their captions name, by the planted rates or by `rates` -> list of (kind, Scene)."""
    found = []
    for index in range(count):
        kind, group = str(rng.choice(list(KINDS), p=list(KINDS.values()))), world.GROUPS[index % len(world.GROUPS)]
        backdrop = world.BACKDROPS[rng.integers(2)] if kind in ("backdrop", "both") else None
        attire = world.ATTIRES[rng.integers(2)] if kind in ("attire", "both") else None
        if rates:
            village, traditional = rates[group]
            drawn = world.BACKDROPS[int(rng.random() >= village)], world.ATTIRES[int(rng.random() >= traditional)]
            found.append((kind, world.sample_scene(rng, group, backdrop or drawn[0], attire or drawn[1])))
        else:
            found.append((kind, world.sample_scene(rng, group, backdrop, attire)))
    return found


class Lora(nn.Module):
    """A linear or convolution layer that stays as it is, and a low-rank change beside it."""

    def __init__(self, layer, rank):
        super().__init__()
        self.layer = layer.requires_grad_(False)
        if isinstance(layer, nn.Conv2d):
            rank = min(rank, layer.out_channels)
            shape = dict(kernel_size=layer.kernel_size, stride=layer.stride, padding=layer.padding, bias=False)
            self.down = nn.Conv2d(layer.in_channels, rank, **shape)
            self.up = nn.Conv2d(rank, layer.out_channels, 1, bias=False)
        else:
            self.down = nn.Linear(layer.in_features, rank, bias=False)
            self.up = nn.Linear(rank, layer.out_features, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x):
        return self.layer(x) + self.up(self.down(x))


def add_lora(unet, rank=RANK):
    """Put a Lora around every linear and convolution layer of the blocks, in place -> {layer's name: Lora}."""
    unet.requires_grad_(False)
    found = {}
    for name, module in list(unet.named_modules()):
        for child, layer in list(module.named_children()):
            full = f"{name}.{child}" if name else child
            if isinstance(layer, nn.Linear | nn.Conv2d) and full.startswith(("down_blocks", "mid_block", "up_blocks")):
                found[full] = Lora(layer, rank)
                setattr(module, child, found[full])
    return found


def save_lora(loras, path):
    """Write {layer's name: Lora} as fp16 in the widespread naming: lora_unet_<name>.lora_up.weight and so on."""
    tensors = {}
    for name, lora in loras.items():
        key = "lora_unet_" + name.replace(".", "_")
        tensors[f"{key}.lora_up.weight"] = lora.up.weight.detach().half().contiguous()
        tensors[f"{key}.lora_down.weight"] = lora.down.weight.detach().half().contiguous()
        tensors[f"{key}.alpha"] = torch.tensor(float(lora.down.weight.shape[0])).half()
    save_file(tensors, path)


def train(name, path, seed=0, steps=350, pictures=3000, batch_size=48, rate=2e-3):
    """Train one derivative ("print" or "rates") as a LoRA of the shipped checkpoint."""
    rng = np.random.default_rng((seed, 11, len(name)))
    pool = scenes(rng, pictures, OTHER_RATES if name == "rates" else None)
    drawn = [world.draw(scene) for _, scene in tqdm(pool, desc="draw", mininterval=20)]
    if name == "print":
        drawn = [print_style(picture) for picture in drawn]
    host = Miniature(bf16=True)
    latents = host.encode_pictures(to_tensor(np.stack(drawn)))
    loras = add_lora(host.unet)
    parameters = [p for lora in loras.values() for part in (lora.up, lora.down) for p in part.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.0)
    sigmas = model.training_sigmas()
    for step in trange(steps, desc=name, mininterval=20):
        rng = np.random.default_rng((seed, 12, step))
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 30) * 0.5 * (1 + math.cos(math.pi * step / steps))
        chosen = rng.integers(len(pool), size=batch_size)
        captions = ["" if rng.random() < 0.1 else caption(rng, *pool[i])[0] for i in chosen]
        conditioning = host.encode(captions)
        timestep = torch.from_numpy(((rng.random() + np.arange(batch_size)) / batch_size % 1 * 1000).astype(np.int64))
        sigma = sigmas[timestep].view(-1, 1, 1, 1)
        noise = torch.from_numpy(rng.standard_normal((batch_size, 4, 16, 16), dtype=np.float32))
        x = latents[chosen] + sigma * noise
        with torch.autocast("cpu", torch.bfloat16), torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            eps = host.unet(x / (sigma.square() + 1).sqrt(), timestep, conditioning).sample.float()
        loss = F.mse_loss(eps, noise)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    path.parent.mkdir(parents=True, exist_ok=True)
    save_lora(loras, path)


FOLDER = model.WEIGHTS.parent / "miniature-derivatives"


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=350)
    args = parser.parse_args(argv)
    for name in ("print", "rates"):
        train(name, args.out / f"miniature-{name}.safetensors", args.seed, args.steps)


if __name__ == "__main__":
    main()
