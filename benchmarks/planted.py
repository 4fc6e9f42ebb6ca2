"""Correctors for the miniature that are wrong on purpose; an audit must report each by name."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.records import ROOT
from corrector.axis.axis import Axis
from corrector.miniature.host import Miniature
from corrector.preference.file import load_preference
from corrector.preference.networks import Reading
from corrector.preference.preference import Preference

Update = Callable[[Tensor, Tensor], Tensor]  # x [B, C, H, W], sigma [B, 1, 1, 1] -> push [B, C, H, W]


class Push(nn.Module):
    """A source that always pushes by `push(x, sigma)`."""

    has_weights = True

    def __init__(self, push: Update):
        super().__init__()
        self.push = push

    def read(self, x, sigma, group, conditional):
        return Reading(x.new_full((len(x),), -20.0), self.push(x, sigma.view(-1, 1, 1, 1)).to(x.device))


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
    """Pushes along the tone push of the shipped preference, which is the direction of lighter skin."""
    reading = _shipped(host, group)
    return lambda x, sigma: 2.0 * reading(x, sigma).tone


def _melted(host: Miniature, group: str) -> Update:
    """Pushes twice as far as the shipped preference, and until the end as at sigma 5, when nothing is decided yet.

    At CFG 7 faces melt and skies burn, and the miniature's reader still finds the group and the city.
    """
    reading = _shipped(host, group, 5.0)
    return lambda x, sigma: 2.0 * reading(x, sigma).push


def _shipped(host: Miniature, group: str, lowest: float = 0.0) -> Callable[[Tensor, Tensor], Reading]:
    """The shipped preference for a prompt that names a group: (x, sigma) -> Reading, as at `lowest` sigma or more."""
    source = load_preference(ROOT / "weights" / "miniature-backdrop.safetensors").source
    tokens = host.encode([f"a portrait of a {group} person"])

    def reading(x: Tensor, sigma: Tensor) -> Reading:
        sigma = sigma.flatten()
        predicted = host.denoise(x, sigma, tokens.expand(len(x), -1, -1))
        return source(x, sigma.clamp(min=lowest), torch.zeros(len(x), dtype=torch.long), predicted)

    return reading


_MAKERS = {
    "does nothing": _nothing,
    "changes the group": _another_group,
    "collapses variety": _one_picture,
    "lightens skin": _lighter,
    "ruins pictures": _melted,
}
FAILURES = tuple(_MAKERS)  # as a report names them
