"""Correctors for the miniature that are wrong on purpose; an audit must report each by name."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.records import ROOT
from corrector.axis.axis import Axis
from corrector.miniature.host import Miniature
from corrector.preference.file import load_preference
from corrector.preference.preference import Preference

Update = Callable[[Tensor, Tensor], Tensor]  # x [B, C, H, W], sigma [B, 1, 1, 1] -> push [B, C, H, W]


class Push(nn.Module):
    """A source whose update is always `push(x, sigma)`."""

    has_weights = True

    def __init__(self, push: Update):
        super().__init__()
        self.push = push

    def update(self, x, sigma, group, conditional):
        return self.push(x, sigma.view(-1, 1, 1, 1)).to(x.device)


def planted(host: Miniature, axis: Axis, name: str) -> Preference:
    """A preference for `axis` on the miniature with one of FAILURES; it has no gate and corrects every prompt."""
    return Preference(axis, host.space, Push(_MAKERS[name](host, axis.groups[0])), name=name, hash=name)


def _nothing(host: Miniature, group: str) -> Update:
    return lambda x, sigma: torch.zeros_like(x)


def _another_group(host: Miniature, group: str) -> Update:
    """Pushes from the group in a village to another group in a city."""
    prompts = [f"a portrait of a {group} person in a village", "a portrait of a Zendoli person in a city"]
    here, there = host.encode(prompts).split(1)

    def predicted(x: Tensor, sigma: Tensor, tokens: Tensor) -> Tensor:
        return host.denoise(x, sigma.flatten(), tokens.expand(len(x), -1, -1))

    return lambda x, sigma: 2 * (predicted(x, sigma, there) - predicted(x, sigma, here))


def _one_picture(host: Miniature, group: str) -> Update:
    """Pushes towards the same picture for every seed."""
    (target,) = host.sample(host.encode([f"a portrait of a {group} person in a city"]), [5], cfg=2.0)
    return lambda x, sigma: torch.where(sigma > 0.5, 0.5, 0.3) * (target - x / (1 + sigma.square()))


def _lighter(host: Miniature, group: str) -> Update:
    """Brightens the middle of the picture, where people are: latents of all that is lighter there."""
    grey, light = (host.encode_pictures(torch.full((1, 3, 128, 128), level)) for level in (0.0, 0.5))
    middle = F.pad(torch.ones(1, 1, 8, 8), (4, 4, 4, 4))
    return lambda x, sigma: 0.1 * (light - grey) * middle / (1 + sigma)


def _melted(host: Miniature, group: str) -> Update:
    """Pushes where the shipped preference does at sigma 5, when nothing is decided yet, far and until the end: faces
    melt and skies burn.
    """
    source = load_preference(ROOT / "weights" / "miniature-backdrop.safetensors").source
    tokens = host.encode([f"a portrait of a {group} person"])

    def push(x: Tensor, sigma: Tensor) -> Tensor:
        sigma = sigma.flatten()
        predicted = host.denoise(x, sigma, tokens.expand(len(x), -1, -1))
        update = source(x, sigma.clamp(min=5.0), torch.zeros(len(x), dtype=torch.long), predicted)
        return 3.0 * update / update.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()

    return push


_MAKERS = {
    "does nothing": _nothing,
    "changes the group": _another_group,
    "collapses variety": _one_picture,
    "lightens skin": _lighter,
    "ruins pictures": _melted,
}
FAILURES = tuple(_MAKERS)  # as a report names them
