"""Correctors for the miniature that are wrong on purpose; an audit must report each by name."""

import sys
from pathlib import Path

import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from corrector.preference.file import load_preference  # noqa: E402
from corrector.preference.networks import Reading  # noqa: E402
from corrector.preference.preference import Preference  # noqa: E402

FAILURES = "does nothing", "changes the group", "collapses variety", "lightens skin"  # as a report names them


class Push(nn.Module):
    """A source that always pushes by `push(x, sigma)`; x is [B, C, H, W] and sigma is [B, 1, 1, 1]."""

    kind, knows_belief = "planted", True

    def __init__(self, push):
        super().__init__()
        self.push = push

    def forward(self, x, sigma, group, conditional=None):
        return Reading(torch.full((len(x),), -20.0), self.push(x, sigma.view(-1, 1, 1, 1)))


def planted(host, axis, name):
    """A preference for `axis` on the miniature with one of FAILURES; it has no gate and corrects every prompt."""
    make = dict(zip(FAILURES, (_nothing, _another_group, _one_picture, _lighter), strict=True))[name]
    return Preference(axis, host.space, Push(make(host, axis.groups[0])), name=name, hash=name)


def _nothing(host, group):
    return lambda x, sigma: torch.zeros_like(x)


def _another_group(host, group):
    """Pushes from the group in a village to another group in a city."""
    prompts = [f"a portrait of a {group} person in a village", "a portrait of a Zendoli person in a city"]
    here, there = host.encode(prompts).split(1)

    def push(x, sigma):
        return 2 * (predicted(x, sigma, there) - predicted(x, sigma, here))

    def predicted(x, sigma, tokens):
        return host.denoise(x, sigma.flatten(), tokens.expand(len(x), -1, -1))

    return push


def _one_picture(host, group):
    """Pushes towards the same picture for every seed."""
    (target,) = host.sample(host.encode([f"a portrait of a {group} person in a city"]), [5], cfg=2.0)
    return lambda x, sigma: torch.where(sigma > 0.5, 0.5, 0.3) * (target - x / (1 + sigma.square()))


def _lighter(host, group):
    """Pushes along the tone push of the shipped preference, which is the direction of lighter skin."""
    source = load_preference(ROOT / "weights" / "miniature-backdrop.safetensors").source
    tokens = host.encode([f"a portrait of a {group} person"])

    def push(x, sigma):
        sigma = sigma.flatten()
        predicted = host.denoise(x, sigma, tokens.expand(len(x), -1, -1))
        return 4.0 * source(x, sigma, torch.zeros(len(x), dtype=torch.long), predicted).tone

    return push
