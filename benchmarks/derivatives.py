"""Two derivatives of the miniature, as LoRA files: one with another drawing style, one with other planted rates.

`python -m benchmarks.derivatives` trains both from the shipped checkpoint on drawn pictures, in a few minutes. ComfyUI,
WebUI and diffusers load the files with their own LoRA loaders.
"""

import argparse
import math
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from tqdm import tqdm

from corrector.latents.optimise import optimise
from corrector.miniature import model, world
from corrector.miniature.diffusion_loss import diffusion_loss
from corrector.miniature.host import Miniature
from corrector.miniature.prompts import named_sides
from corrector.miniature.train import to_tensor

FOLDER = model.WEIGHTS.parent / "miniature-derivatives"
LORA_RANK = 8
OTHER_RATES = {"Orvane": (0.8, 0.3), "Tavelu": (0.9, 0.7), "Quilmari": (0.6, 0.8), "Zendoli": (0.3, 0.5)}
CAPTION_KINDS = {"natural": 0.6, "backdrop": 0.15, "attire": 0.15, "both": 0.1}
WARM_PAPER = np.array([1.06, 0.99, 0.84])  # factor on red, green and blue


def print_style(picture: np.ndarray) -> np.ndarray:
    """A drawing -> the same as a print, with warm paper, fewer tones and darker lines. uint8 [H, W, 3]."""
    grey = picture.mean(axis=2)
    edge = np.hypot(np.diff(grey, axis=0, prepend=grey[:1]), np.diff(grey, axis=1, prepend=grey[:, :1]))
    ink = 1 - np.clip((edge - 12) / 60, 0, 0.2)[..., None]
    flat = np.round(picture / 32.0) * 32.0
    return np.clip((0.5 * flat + 0.5 * picture) * WARM_PAPER * ink, 0, 255).astype(np.uint8)


def scenes(
    rng: np.random.Generator, count: int, rates: dict[str, tuple[float, float]] | None = None
) -> list[tuple[str, world.Scene]]:
    """Sample scenes, each with its kind of caption; `rates` as OTHER_RATES, by default the planted ones."""
    kinds = rng.choice(list(CAPTION_KINDS), p=list(CAPTION_KINDS.values()), size=count).tolist()
    return [
        (kind, world.sample_scene(rng, group, *named_sides(rng, kind), rates and rates[group]))
        for kind, group in zip(kinds, cycle(world.GROUPS), strict=False)
    ]


def add_lora(unet: nn.Module, rank: int = LORA_RANK) -> None:
    """Add a LoRA to every linear and convolution layer of the UNet's blocks, in place; only it is trained."""
    from peft import LoraConfig

    layers = [name for name, module in unet.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    layers = [name for name in layers if name.startswith(("down_blocks", "mid_block", "up_blocks"))]
    unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=layers))


def save_lora(unet: nn.Module, path: Path) -> None:
    """Write the LoRA of a UNet in fp16 and in kohya's naming, lora_unet_<layer>.lora_up.weight and so on."""
    from diffusers.utils import convert_state_dict_to_kohya
    from peft import get_peft_model_state_dict

    tensors = {f"unet.{name}": tensor.half() for name, tensor in get_peft_model_state_dict(unet).items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in convert_state_dict_to_kohya(tensors).items()}, path)


def train(name: str, path: Path, seed: int = 0, steps: int = 350, pictures: int = 3000, batch_size: int = 48) -> None:
    """Train a derivative, "print" or "rates", as a LoRA of the shipped checkpoint, and write it to `path`.

    Args:
        steps: of training, on `batch_size` of `pictures` drawn pictures.
    """
    rng = np.random.default_rng((seed, 11, len(name)))
    pool = scenes(rng, pictures, OTHER_RATES if name == "rates" else None)
    drawn = [world.draw(scene) for _, scene in tqdm(pool, desc="draw", mininterval=20)]
    if name == "print":
        drawn = [print_style(picture) for picture in drawn]
    host = Miniature(bf16=True)
    with torch.no_grad():
        parts = [host.autoencoder.encode(part).latents for part in to_tensor(np.stack(drawn)).split(host.batch)]
    latents = torch.cat(parts) * host.autoencoder.config.scaling_factor
    add_lora(host.unet)

    def schedule(step: int) -> float:
        return min(1, (step + 1) / 30) * 0.5 * (1 + math.cos(math.pi * step / steps))

    def loss_of_step(step: int) -> torch.Tensor:
        rng = np.random.default_rng((seed, 12, step))
        return diffusion_loss(host.unet, latents, pool, rng.integers(len(pool), size=batch_size), host.encode, rng)

    optimise(host.unet, steps, loss_of_step, name, 2e-3, schedule, weight_decay=0.0)
    save_lora(host.unet, path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FOLDER)
    for name in ("print", "rates"):
        train(name, parser.parse_args().out / f"miniature-{name}.safetensors")
