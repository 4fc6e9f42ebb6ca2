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

# As a report names them.
FAILURES = "does nothing", "changes the group", "collapses variety", "lightens skin", "ruins pictures"


class Push(nn.Module):
    """A source that always pushes by `push(x, sigma)`; x is [B, C, H, W] and sigma is [B, 1, 1, 1]."""

    has_weights = True

    def __init__(self, push):
        super().__init__()
        self.push = push

    def read(self, x, sigma, group, conditional):
        return Reading(x.new_full((len(x),), -20.0), self.push(x, sigma.view(-1, 1, 1, 1)).to(x.device))

    def in_run(self, evaluate):
        return self


def planted(host, axis, name):
    """A preference for `axis` on the miniature with one of FAILURES; it has no gate and corrects every prompt."""
    make = dict(zip(FAILURES, (_nothing, _another_group, _one_picture, _lighter, _melted), strict=True))[name]
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
    reading = _shipped(host, group)
    return lambda x, sigma: 2.0 * reading(x, sigma).tone


def _melted(host, group):
    """Pushes twice as far as the shipped preference, and until the end as at sigma 5, when nothing is decided yet.

    At CFG 7 faces melt and skies burn, and the miniature's reader still finds the group and the city.
    """
    reading = _shipped(host, group, 5.0)
    return lambda x, sigma: 2.0 * reading(x, sigma).push


def _shipped(host, group, lowest=0.0):
    """The shipped preference for a prompt that names a group: (x, sigma) -> Reading, as at `lowest` sigma or more."""
    source = load_preference(ROOT / "weights" / "miniature-backdrop.safetensors").source
    tokens = host.encode([f"a portrait of a {group} person"])

    def reading(x, sigma):
        sigma = sigma.flatten()
        predicted = host.denoise(x, sigma, tokens.expand(len(x), -1, -1))
        return source(x, sigma.clamp(min=lowest), torch.zeros(len(x), dtype=torch.long), predicted)

    return reading
