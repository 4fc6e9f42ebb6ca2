"""The model's verdict on its own pictures, beside the readers of the drawn worlds.

Pictures of held-out wordings: plain; for prompts that ask for the counter side, or for neither; and half corrected,
which is by half of what the model's own prediction for the counter prompt would change. Verdicts use the axis' words.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.measuring import Options, share
from benchmarks.records import Row
from benchmarks.studio import BATCH, axis_of
from benchmarks.worlds import WORLDS, World
from corrector.axis.axis import Axis
from corrector.correction.verdict import verdict_of_host
from corrector.miniature.host import Miniature

SETTINGS = ((2.0, 16), (7.0, 16), (7.0, 6))  # CFG scale, steps
SEED = 730_000_000


@dataclass(frozen=True)
class Cell:
    """One group at one setting."""

    world: World
    host: Miniature
    attribute: str
    group: str
    cfg: float
    steps: int
    n: int
    seed: int

    def kinds(self) -> Iterator[tuple[str, Tensor]]:
        """Each kind of pictures and its latents [N, C, H, W]."""
        neutral = self.world.prompts(self.group, self.n)
        stereotype, counter = self.world.sides[self.attribute]
        yield "plain", self.drawn(neutral)
        yield "half corrected", self.drawn(neutral, self.asking(counter))
        for value in self.world.asking[self.attribute]:
            if value != stereotype:
                yield f"prompt for {value}", self.drawn(self.asking(value))

    def asking(self, value: str) -> list[str]:
        return self.world.prompts(self.group, self.n, self.attribute, value)

    def drawn(self, prompts: list[str], towards: list[str] | None = None) -> Tensor:
        """Latents of prompts, corrected by half towards others if there are some."""
        aim = self.host.encode(towards or prompts)

        def halfway(denoised: Tensor, x: Tensor, sigma: Tensor, index: Tensor, conditional: Tensor) -> Tensor:
            update = self.host.denoise(x, sigma.expand(len(x)), aim[index]) - conditional
            return denoised + 0.5 * self.cfg * update

        seeds, hook = range(self.seed, self.seed + self.n), halfway if towards else None
        with torch.no_grad():
            return self.host.sample(self.host.encode(prompts), seeds, self.cfg, self.steps, hook)

    def row(self, kind: str, latents: Tensor, axis: Axis) -> Row:
        sides = dict(zip(self.world.sides[self.attribute], ("stereotype", "counter"), strict=True))
        pictures = torch.cat([self.host.decode(part) for part in latents.split(BATCH)])
        seen = [sides.get(label, "neither") for label in self.host.reader.read(pictures)[self.attribute]]
        said = verdict_of_host(self.host, latents, axis, self.group).sides
        both = list(zip(said, seen, strict=True))
        outcomes = {
            "neither by the reader": [truth == "neither" for truth in seen],
            "unsure": [side == "unsure" for side, truth in both if truth != "neither"],
            "agrees where sure": [side == truth for side, truth in both if truth != "neither" and side != "unsure"],
            "unsure of neither": [side == "unsure" for side, truth in both if truth == "neither"],
        }
        settings = dict(axis=self.attribute, group=self.group, pictures=kind, cfg=self.cfg, steps=self.steps)
        return Row(settings, {name: share(shares) for name, shares in outcomes.items() if shares}, self.seed)


def verdicts(options: Options, name: str) -> Iterator[Row]:
    world = WORLDS[name]
    host = world.host()
    for attribute in world.sides:
        axis = axis_of(name, attribute)
        for group in axis.groups[: 1 if options.quick else None]:
            for cfg, steps in SETTINGS[: 1 if options.quick else None]:
                seed = (options.seed or SEED) + 1000 * world.groups.index(group)
                cell = Cell(world, host, attribute, group, cfg, steps, options.count(100, quick=4), seed)
                yield from (cell.row(kind, latents, axis) for kind, latents in cell.kinds())


PARTS = {
    "miniature": lambda options: verdicts(options, "miniature"),
    "second-world": lambda options: verdicts(options, "second"),
}
