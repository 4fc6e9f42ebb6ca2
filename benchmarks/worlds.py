"""The drawn worlds and models that benchmarks measure on: hosts, held-out wordings, sides and readers.

"flow" and "flow-turbo" are the miniature's world, drawn by the flow miniature and its few-step twin.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from benchmarks.second_world import host as second_host
from benchmarks.second_world import prompts as second_prompts
from benchmarks.second_world import world as second_world
from corrector.miniature import prompts, world
from corrector.miniature.flow_host import FlowMiniature, twin
from corrector.miniature.host import Miniature
from corrector.miniature.skin import SkinMarker, load_marker


@dataclass(frozen=True)
class World:
    """What a benchmark needs to know of a world.

    Args:
        axes: path of the axis of an attribute in the repository, with {} for its name.
        host: makes the host, in bfloat16 by autocast where it is slow otherwise.
        sides: {attribute: (stereotype, counter side)}.
        neutral: held-out wordings that ask for neither side.
        asking: {attribute: {value: held-out wordings}}.
        nobody: held-out prompts that name no group.
        marker: gives the network that marks skin.
        learned_on: the world from whose model preferences are learned, if it is another one; they are calibrated here.
    """

    name: str
    axes: str
    host: Callable[..., Miniature | FlowMiniature]
    groups: tuple[str, ...]
    sides: dict[str, tuple[str, str]]
    neutral: tuple[str, ...]
    asking: dict[str, dict[str, tuple[str, ...]]]
    nobody: tuple[str, ...]
    marker: Callable[[], SkinMarker]
    learned_on: str = ""

    def lightness(self, pictures: torch.Tensor) -> np.ndarray:
        """Pictures [N, 3, H, W] in -1..1 -> CIE L* of all skin [N], NaN where a picture shows none."""
        return self.marker().lightness(pictures)

    def lightness_of_parts(self, pictures: torch.Tensor) -> dict[str, np.ndarray]:
        """Pictures [N, 3, H, W] in -1..1 -> CIE L* [N] of each part of skin, NaN where a picture does not show it."""
        return self.marker().lightness_of_parts(pictures)

    def prompts(self, group: str, n: int, attribute: str = "", value: str = "") -> list[str]:
        """n held-out prompts of a group that ask for a value of the attribute, or for none."""
        texts = self.asking[attribute][value] if value else self.neutral
        return [texts[index % len(texts)].format(group=group) for index in range(n)]

    def out_of_scope(self, groups: tuple[str, ...], attribute: str) -> list[str]:
        """Held-out prompts that name none of some groups: others, nobody, and nobody with another attribute."""
        texts = [text.format(group=other) for other in self.groups if other not in groups for text in self.neutral]
        texts += self.nobody
        for name, values in self.asking.items():
            if name != attribute:
                texts += [text.format(group="quiet") for wordings in values.values() for text in wordings]
        return texts


MINIATURE = World(
    "miniature", "axes/miniature-{}.json", partial(Miniature, bf16=True), world.GROUPS,
    {"backdrop": world.BACKDROPS, "attire": world.ATTIRES},
    prompts.HELD_OUT_NEUTRAL, {"backdrop": prompts.HELD_OUT_BACKDROP, "attire": prompts.HELD_OUT_ATTIRE},
    (*prompts.HELD_OUT_NO_GROUP, *prompts.HELD_OUT_NO_PERSON), load_marker,
)  # fmt: skip
SECOND = World(
    "second", "benchmarks/second_world/axis.json", second_host.SecondWorld, second_world.GROUPS,
    {"work": ("farmer", "office")},
    second_prompts.HELD_OUT_NEUTRAL, {"work": second_prompts.HELD_OUT_WORK}, second_prompts.HELD_OUT_NO_GROUP,
    partial(load_marker, second_host.WEIGHTS, second_world.SKIN_PARTS),
)  # fmt: skip
FLOW = replace(MINIATURE, name="flow", host=partial(FlowMiniature, bf16=True))
FLOW_TURBO = replace(MINIATURE, name="flow-turbo", host=partial(twin, bf16=True), learned_on="flow")
WORLDS = {world.name: world for world in (MINIATURE, SECOND, FLOW, FLOW_TURBO)}
