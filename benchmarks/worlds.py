"""The two drawn worlds that benchmarks measure on: hosts, held-out wordings, sides and readers."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from benchmarks.second_world import host as second_host
from benchmarks.second_world import prompts as second_prompts
from benchmarks.second_world import world as second_world
from corrector.miniature import prompts, reader, world
from corrector.miniature.host import Miniature


@dataclass(frozen=True)
class World:
    """What a benchmark needs to know of a world."""

    name: str
    host: Callable  # makes the host, in bfloat16 by autocast where it is slow otherwise
    groups: tuple
    sides: dict  # {attribute: (stereotype, counter)}
    neutral: tuple  # held-out wordings that ask for neither side
    asking: dict  # {attribute: {value: held-out wordings}}
    nobody: tuple  # held-out prompts that name no group
    lightness: Callable  # pictures -> CIE L* of skin

    def prompts(self, group, n, attribute=None, side=None):
        """n held-out prompts of a group that ask for a side, or for neither."""
        texts = self.asking[attribute][side] if side else self.neutral
        return [texts[index % len(texts)].format(group=group) for index in range(n)]

    def out_of_scope(self, groups, attribute):
        """Held-out prompts that name none of some groups: others, nobody, and nobody with another attribute."""
        texts = [text.format(group=other) for other in self.groups if other not in groups for text in self.neutral]
        texts += self.nobody
        for name, values in self.asking.items():
            texts += [text.format(group="quiet") for some in values.values() for text in some if name != attribute]
        return texts


MINIATURE = World(
    "miniature", partial(Miniature, bf16=True), world.GROUPS, {"backdrop": world.BACKDROPS, "attire": world.ATTIRES},
    prompts.HELD_OUT_NEUTRAL, {"backdrop": prompts.HELD_OUT_BACKDROP, "attire": prompts.HELD_OUT_ATTIRE},
    (*prompts.HELD_OUT_NO_GROUP, *prompts.HELD_OUT_NO_PERSON), reader.skin_lightness,
)  # fmt: skip
SECOND = World(
    "second", second_host.SecondWorld, second_world.GROUPS, {"work": ("farmer", "office")},
    second_prompts.HELD_OUT_NEUTRAL, {"work": second_prompts.HELD_OUT_WORK}, second_prompts.HELD_OUT_NO_GROUP,
    second_host.skin_lightness,
)  # fmt: skip
WORLDS = {world.name: world for world in (MINIATURE, SECOND)}
