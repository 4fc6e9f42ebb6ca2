"""Two derivatives of the miniature, as LoRA files: one with another drawing style, one with other planted rates.

`python -m corrector.miniature.derivatives` trains both from the shipped checkpoint on drawn pictures, in a few minutes.
ComfyUI, WebUI and diffusers load the files with their own LoRA loaders.
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
    """A drawing -> the same as a print, with warm paper, fewer tones and darker lines. uint8 [H, W, 3]."""
    grey = picture.mean(axis=2)
    edge = np.hypot(np.diff(grey, axis=0, prepend=grey[:1]), np.diff(grey, axis=1, prepend=grey[:, :1]))
    ink = 1 - np.clip((edge - 12) / 60, 0, 0.2)[..., None]
    flat = np.round(picture / 32.0) * 32.0
    return np.clip((0.5 * flat + 0.5 * picture) * SHADE * ink, 0, 255).astype(np.uint8)


def scenes(rng, count, rates=None):
    """Sample scenes -> list of (kind of caption, Scene).

    Args:
        rng: numpy Generator.
        count: number of scenes.
        rates: as OTHER_RATES; by default the planted rates.
    """
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


def add_lora(unet, rank=RANK):
    """Add a LoRA to every linear and convolution layer of the UNet's blocks, in place; only it is trained."""
    from peft import LoraConfig

    layers = [name for name, module in unet.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    layers = [name for name in layers if name.startswith(("down_blocks", "mid_block", "up_blocks"))]
    unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=layers))


def save_lora(unet, path, rank=RANK):
    """Write the LoRA of a UNet in fp16 and in kohya's naming, lora_unet_<layer>.lora_up.weight and so on."""
    from peft import get_peft_model_state_dict

    tensors = {}
    for name, tensor in get_peft_model_state_dict(unet).items():
        layer, half = name.removesuffix(".weight").rsplit(".", 1)  # half: lora_A or lora_B
        key = "lora_unet_" + layer.replace(".", "_")
        tensors[f"{key}.{'lora_down' if half == 'lora_A' else 'lora_up'}.weight"] = tensor.half().contiguous()
        tensors[f"{key}.alpha"] = torch.tensor(float(rank)).half()
    save_file(tensors, path)


def train(name, path, seed=0, steps=350, pictures=3000, batch_size=48, rate=2e-3):
    """Train a derivative as a LoRA of the shipped checkpoint.

    Args:
        name: "print" or "rates".
        path: file to write.
        steps: of training, on `batch_size` of `pictures` drawn pictures, with `rate` as the largest learning rate.
    """
    rng = np.random.default_rng((seed, 11, len(name)))
    pool = scenes(rng, pictures, OTHER_RATES if name == "rates" else None)
    drawn = [world.draw(scene) for _, scene in tqdm(pool, desc="draw", mininterval=20)]
    if name == "print":
        drawn = [print_style(picture) for picture in drawn]
    host = Miniature(bf16=True)
    latents = host.encode_pictures(to_tensor(np.stack(drawn)))
    add_lora(host.unet)
    parameters = [p for p in host.unet.parameters() if p.requires_grad]
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
    save_lora(host.unet, path)


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
