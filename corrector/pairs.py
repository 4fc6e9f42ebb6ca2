"""Pairs: latents of an axis' two sides, made by the host's own model from the same seeds. No labels from anywhere."""

import random
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

SIDES = ("stereotype", "counter")


@dataclass
class Pairs:
    """Latents of both sides by group, model space. `lightness` is the mean CIE L* of where skin is, in points."""

    latents: torch.Tensor  # [G, 2, N, C, H, W], sides in the order of SIDES
    lightness: torch.Tensor  # [G, 2, N]
    seeds: torch.Tensor  # [G, N]

    def save(self, path):
        save_file({name: getattr(self, name).contiguous() for name in ("latents", "lightness", "seeds")}, path)

    @classmethod
    def load(cls, path):
        return cls(**load_file(Path(path)))


def lightness(pictures, region):
    """Pictures [N, 3, H, W] in -1..1 -> median CIE L* [N] of the box `region` (left, top, right, bottom in 0..1)."""
    height, width = pictures.shape[-2:]
    left, top, right, bottom = region
    box = pictures[..., round(top * height) : round(bottom * height), round(left * width) : round(right * width)]
    rgb = ((box.float() + 1) / 2).clamp(0, 1)
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)  # IEC 61966-2-1
    luminance = (linear * torch.tensor([0.2126, 0.7152, 0.0722]).view(3, 1, 1)).sum(dim=1)  # [N, h, w]
    cube_root = torch.where(luminance > 216 / 24389, luminance ** (1 / 3), (24389 / 27 * luminance + 16) / 116)
    return (116 * cube_root - 16).flatten(1).median(dim=1).values


def make_pairs(host, axis, count, seed, cfg=2.0, steps=16, progress=None):
    """Sample `count` pictures a side and group from the axis' prompts, both sides from the same seeds -> Pairs."""
    rng = random.Random(seed)
    latents, tones, seeds = [], [], []
    for group in axis.groups:
        numbers = [rng.randrange(2**31) for _ in range(count)]
        neutral = [rng.choice(axis.prompts(group)) for _ in range(count)]
        sides = []
        for side in SIDES:
            prompts = [f"{prompt} {rng.choice(getattr(axis, side).phrases)}" for prompt in neutral]
            sides.append(host.sample(host.encode(prompts), numbers, cfg=cfg, steps=steps, progress=progress))
        latents.append(torch.stack(sides))
        tones.append(torch.stack([lightness(host.decode(side), axis.skin_region) for side in sides]))
        seeds.append(torch.tensor(numbers))
    return Pairs(torch.stack(latents), torch.stack(tones), torch.stack(seeds))


def match_tones(pairs, tolerance=1.5):
    """Keep, within each group, pictures of both sides whose skin lightness has a partner within `tolerance` L*.

    -> list over groups of (stereotype indices, counter indices), as long as each other. The baseline "matching alone".
    """
    matched = []
    for stereotype, counter in pairs.lightness:
        free, kept = set(range(len(counter))), ([], [])
        for index in stereotype.argsort().tolist():
            best = min(free, key=lambda j: abs(float(counter[j] - stereotype[index])), default=None)
            if best is not None and abs(float(counter[best] - stereotype[index])) <= tolerance:
                free.remove(best)
                kept[0].append(index)
                kept[1].append(best)
        matched.append(kept)
    return matched
