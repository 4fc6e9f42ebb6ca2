"""Peers side by side on the miniature's backdrop axis.

The methods of peer_methods.py draw the same seeds with wordings that no training saw, through diffusers' own pipelines,
Euler, 16 steps. Each is applied to every prompt, as a service would; a user can leave a word away where the prompt asks
for something else. At target 0.5 methods without a share are applied to half of the pictures, which a coin picks. The
distance is the Frechet distance to pictures of prompts that ask for the counter side, over the plain pictures'; those
also have lighter skin, so that what keeps skin as it was is a little farther from them.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from benchmarks.measuring import Options, mean, number, share
from benchmarks.peer_methods import Method, Methods
from benchmarks.records import ROOT, Estimate, Row
from benchmarks.worlds import MINIATURE
from corrector.correction.thinning import coins_from_seeds
from corrector.latents.statistics import features, frechet, latent_change
from corrector.miniature.host import Miniature
from corrector.preference.file import load_preference

AXIS = "backdrop"
BATCH = 50
SEED = 140_000_000


class Bench:
    """Measures methods on the backdrop axis.

    Args:
        n: pictures per group and CFG scale; half as many with explicit prompts.
        seed: the first one.
        names: of the methods, "plain" among them; all by default.
        steps: of Euler's method.
    """

    def __init__(self, n: int, seed: int, names: Sequence[str] = (), steps: int = 16):
        self.n = n
        self.seed = seed
        self.stereotype, self.counter = MINIATURE.sides[AXIS]
        self.host = Miniature(bf16=True)
        preference = load_preference(ROOT / "weights" / f"miniature-{AXIS}.safetensors")
        self.groups = preference.axis.groups
        others = [group for group in MINIATURE.groups if group not in self.groups]
        self.methods = Methods(self.host, preference, others, steps).make(names)

    def draw(self, method: Method, prompts: list[str], seeds: Sequence[int], cfg: float, **more) -> Tensor:
        """Latents [N, C, H, W], in batches."""
        parts = range(0, len(seeds), BATCH)
        return torch.cat([method.draw(prompts[i : i + BATCH], seeds[i : i + BATCH], cfg, **more) for i in parts])

    def read(self, latents: Tensor) -> tuple[dict[str, list[str]], np.ndarray]:
        pictures = self.host.decode(latents)
        return self.host.reader.read(pictures), MINIATURE.lightness(pictures)

    def rows_of_group(self, group: str, cfg: float) -> Iterator[Row]:
        """Every method on the neutral and on the explicit prompts of a group."""
        start = self.seed + 100_000 * MINIATURE.groups.index(group)
        seeds, few = range(start, start + self.n), max(1, self.n // 2)
        asking_seeds = range(start + 50_000, start + 50_000 + few)
        neutral = MINIATURE.prompts(group, self.n), seeds, cfg
        explicit = MINIATURE.prompts(group, few, AXIS, self.stereotype), asking_seeds, cfg
        plain = self.methods["plain"]
        reference = features(self.draw(plain, MINIATURE.prompts(group, self.n, AXIS, self.counter), seeds, cfg))
        before = self.draw(plain, *neutral)
        labels, tones = self.read(before)
        obeys = [label == self.stereotype for label in self.read(self.draw(plain, *explicit))[0][AXIS]]
        fine = torch.tensor([label == self.counter for label in labels[AXIS]])
        far = frechet(features(before), reference)
        for name, method in self.methods.items():
            after = self.draw(method, *neutral)
            labels_after, tones_after = self.read(after)
            figures = {
                "stereotype": share(label != self.counter for label in labels_after[AXIS]),
                "group kept": share(label == group for label in labels_after["group"]),
                "skin L* over plain": mean(tones_after - tones),
                "distance": number(frechet(features(after), reference) / far, self.n),
            }
            if fine.any():
                figures["change of fine pictures"] = mean(latent_change(before[fine], after[fine], before.std()))
            if any(obeys):
                asked_labels = self.read(self.draw(method, *explicit))[0][AXIS]
                kept = [label == self.stereotype for label, obey in zip(asked_labels, obeys, strict=True) if obey]
                figures["stereotype kept where asked for"] = share(kept)
            if fine.double().mean() < 0.5:
                half = self.half_changed(method, *neutral, labels[AXIS], labels_after[AXIS])
                figures["counter share at target 0.5"] = share(label == self.counter for label in half)
            yield self.row(name, cfg, figures, group=group)

    def half_changed(self, method, prompts, seeds, cfg, before: list[str], after: list[str]) -> list[str]:
        """Labels at target 0.5: by the method itself, or with half of the pictures changed, which a coin picks."""
        if method.has_target:
            return self.read(self.draw(method, prompts, seeds, cfg, target=0.5))[0][AXIS]
        heads = coins_from_seeds(seeds).argsort().argsort() < len(seeds) / 2
        return [new if head else old for head, old, new in zip(heads, before, after, strict=True)]

    def out_of_scope(self, cfg: float) -> Iterator[Row]:
        """One picture of each prompt, and at most n."""
        prompts = MINIATURE.out_of_scope(self.groups, AXIS)
        prompts = prompts[:: -(-len(prompts) // self.n)]
        call = prompts, range(self.seed + 900_000, self.seed + 900_000 + len(prompts)), cfg
        before = self.draw(self.methods["plain"], *call)
        for name, method in self.methods.items():
            after = self.draw(method, *call)
            same = share(map(torch.equal, before, after))
            change = mean(latent_change(before, after, before.std()))
            yield self.row(name, cfg, {"out of scope: bit-identical": same, "out of scope: change": change})

    def costs(self, cfg: float) -> Iterator[Row]:
        """UNet evaluations over a plain run's, and what a method needs before the first picture."""
        call = MINIATURE.prompts(self.groups[0], 1), [self.seed + 950_000], cfg
        plain = evaluations(self.methods["plain"], *call)
        for name, method in self.methods.items():
            figures = {"UNet evaluations over plain": number(evaluations(method, *call) / plain)}
            if method.setup is not None:
                figures["seconds to set up"] = number(method.setup)
            yield self.row(name, cfg, figures)

    def row(self, method: str, cfg: float, figures: dict[str, Estimate], **more: str) -> Row:
        return Row({"method": method, **more, "cfg": cfg}, figures, self.seed)


def evaluations(method: Method, prompts: list[str], seeds: Sequence[int], cfg: float) -> int:
    """UNet evaluations of a run, counted in pictures; any UNet counts."""
    evaluated = []

    def count(module, inputs, output):
        if type(module).__name__ == "UNet2DConditionModel":
            evaluated.append(len(output[0]))

    hook = torch.nn.modules.module.register_module_forward_hook(count)
    method.draw(prompts, seeds, cfg)
    hook.remove()
    return sum(evaluated)


def methods(options: Options) -> Iterator[Row]:
    bench = Bench(options.count(100), options.seed or SEED, steps=4 if options.quick else 16)
    for cfg in (7.0,) if options.quick else (2.0, 7.0):
        for group in bench.groups[: 1 if options.quick else None]:
            yield from bench.rows_of_group(group, cfg)
        yield from bench.out_of_scope(cfg)
    yield from bench.costs(7.0)


PARTS = {"methods": methods}
