"""Peers side by side on the miniature: `python benchmarks/peers.py --json FILE`.

The methods of peer_methods.py draw the same seeds with wordings that no training saw, through diffusers' own pipelines,
Euler, 16 steps. Each is applied blindly to every prompt, as a service would: a user who writes prompts may leave a word
away where something else is asked for. Methods without a target share are applied to half of the pictures.
"""

import argparse
import json
import logging
import sys
import time
from pathlib import Path
from statistics import median

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import tables  # noqa: E402
from benchmarks.peer_methods import Methods  # noqa: E402
from benchmarks.worlds import MINIATURE  # noqa: E402
from corrector.auditing import statistics as audit  # noqa: E402
from corrector.correction.thinning import coins_from_seeds  # noqa: E402
from corrector.latents.statistics import features, frechet  # noqa: E402
from corrector.preference.file import load_preference  # noqa: E402

KEYS = (
    "plain", "rs", "text", "word", "negative", "negative-all", "sega", "sld-weak", "sld-medium", "sld-strong",
    "sld-max", "uce", "uce-2023",
)  # fmt: skip
CFGS = (2.0, 7.0)
BATCH = 50
TIMED = 4  # pictures in each round of timing, at most
NOTES = """\
Each method was applied to every prompt, as a service would; a user can leave a word away where the prompt asks for
something else. At target 0.5 methods without a share were applied to half of the pictures, picked by a coin; the
error is that of the share, given where the plain share is below 0.5. The Frechet distance is to pictures of prompts
that ask for the counter side, which also have lighter skin: what keeps skin as it was is a little farther from them.
Warm-ups published for 50 steps were scaled to 16: 2 for SEGA, 5, 3, 2 and 0 for Safe Latent Diffusion. EquiSteer was
not measured: its code knows only its own attributes, models and layers (peer_methods.py)."""


class Bench:
    """Measures methods on one axis of the miniature.

    Args:
        axis: "backdrop" or "attire".
        n: pictures per group and CFG scale; half as many with explicit prompts.
        seed: the first one.
        keys: of the methods, or None for all.
        steps: of Euler's method.
        rounds: of timing.
        path: JSON file for the rows, or None.
        folder: with the preferences.
    """

    def __init__(self, axis, n, seed, keys=None, steps=16, rounds=5, path=None, folder=ROOT / "weights"):
        self.axis, self.n, self.seed, self.steps, self.path, self.rows = axis, n, seed, steps, path, []
        self.rounds, (self.side, self.counter) = rounds, MINIATURE.sides[axis]
        self.host, self.started = MINIATURE.host(), time.time()
        preference = load_preference(folder / f"miniature-{axis}.safetensors")
        self.groups = preference.axis.groups
        self.others = [group for group in MINIATURE.groups if group not in self.groups]
        self.methods = Methods(self.host, preference, self.others, steps).make(keys)

    def say(self, figure, group, measured, n, **about):
        self.rows.append(tables.row(figure, group, measured, n, self.seed, axis=self.axis, **about))
        if self.path:
            self.path.write_text(json.dumps(self.rows, indent=1) + "\n")  # after each row, in case of interruption

    def draw(self, draw, prompts, seeds, cfg, **more):
        """Latents [N, C, H, W], in batches."""
        parts = range(0, len(seeds), BATCH)
        return torch.cat([draw(prompts[i : i + BATCH], seeds[i : i + BATCH], cfg, **more) for i in parts])

    def read(self, latents):
        pictures = self.host.decode(latents)
        return self.host.reader.read(pictures), MINIATURE.lightness(pictures)

    def run(self, groups=None, cfgs=CFGS):
        for cfg in cfgs:
            for group in groups or self.groups:
                self.group(group, cfg)
            self.out_of_scope(cfg)
        self.costs(cfgs[-1])

    def group(self, group, cfg):
        """Every method on the neutral and on the explicit prompts of a group."""
        start, few = self.seed + 100_000 * MINIATURE.groups.index(group), max(1, self.n // 2)
        seeds, explicit = list(range(start, start + self.n)), list(range(start + 50_000, start + 50_000 + few))
        prompts = MINIATURE.prompts(group, self.n)
        wanted = MINIATURE.prompts(group, self.n, self.axis, self.counter)
        asked = MINIATURE.prompts(group, few, self.axis, self.side)
        plain = self.methods["plain"].draw
        reference = self.draw(plain, wanted, seeds, cfg)
        before, obeyed = self.draw(plain, prompts, seeds, cfg), self.draw(plain, asked, explicit, cfg)
        labels, tones = self.read(before)
        obeys = [label == self.side for label in self.read(obeyed)[0][self.axis]]
        far = frechet(features(before), features(reference))
        for key, method in self.methods.items():

            def say(figure, measured, n=self.n, key=key, **more):
                self.say(figure, group, measured, n, method=key, cfg=cfg, **more)

            after, found, own = before, labels, tones
            if key != "plain":
                after = self.draw(method.draw, prompts, seeds, cfg)
                found, own = self.read(after)
            say(self.side, audit.rate(tables.stereotype_count(found[self.axis], self.side), self.n))
            say("group kept", audit.rate(found["group"].count(group), self.n))
            say("skin L* over plain", audit.mean(own - tones))
            near = frechet(features(after), features(reference))
            say("Frechet distance, over plain's", (near / far,) * 3)
            fine = torch.tensor([label == self.counter for label in labels[self.axis]])
            if fine.any():
                change = audit.latent_change(before[fine], after[fine], before.std())
                say("change of fine pictures, RMS", audit.mean(change), int(fine.sum()))
            if any(obeys):
                latents = obeyed if key == "plain" else self.draw(method.draw, asked, explicit, cfg)
                still = [label == self.side for label in self.read(latents)[0][self.axis]]
                kept = sum(one and other for one, other in zip(obeys, still, strict=True))
                say(f"{self.side} kept where asked for", audit.rate(kept, sum(obeys)), sum(obeys))
            if fine.double().mean() < 0.5:
                half = self.to_half(method, prompts, seeds, cfg, labels[self.axis], found[self.axis])
                say(f"{self.counter} at target 0.5", audit.rate(half.count(self.counter), self.n))
            self.progress(group, cfg, method)

    def to_half(self, method, prompts, seeds, cfg, before, after):
        """Labels at target 0.5: by the method itself, or with half of the pictures changed, which a coin picks."""
        if method.to_share:
            return self.read(self.draw(method.to_share, prompts, seeds, cfg, target=0.5))[0][self.axis]
        heads = coins_from_seeds(seeds).argsort().argsort() < len(seeds) / 2
        return [new if head else old for head, old, new in zip(heads, before, after, strict=True)]

    def out_of_scope(self, cfg):
        """One picture each, and at most n."""
        prompts = MINIATURE.out_of_scope(self.groups, self.axis)
        prompts = prompts[:: -(-len(prompts) // self.n)]
        seeds = [self.seed + 900_000 + index for index in range(len(prompts))]
        before = self.draw(self.methods["plain"].draw, prompts, seeds, cfg)
        for key, method in self.methods.items():
            after = self.draw(method.draw, prompts, seeds, cfg)
            change, about = audit.latent_change(before, after, before.std()), dict(method=key, cfg=cfg)
            same = sum(torch.equal(one, other) for one, other in zip(before, after, strict=True))
            self.say("out of scope: bit-identical", "", audit.rate(same, len(prompts)), len(prompts), **about)
            self.say("out of scope: change, RMS", "", audit.mean(change), len(prompts), **about)

    def costs(self, cfg):
        """UNet evaluations and wall time, over a plain run's; timed in turns, because other work disturbs them."""
        n, plain = min(self.n, TIMED), self.methods["plain"].draw
        prompts = MINIATURE.prompts(self.groups[0], n)
        seeds = [self.seed + 950_000 + index for index in range(n)]
        timed(plain, prompts, seeds, cfg)  # to warm up
        for key, method in self.methods.items():
            pairs = [[timed(draw, prompts, seeds, cfg) for draw in (plain, method.draw)] for _ in range(self.rounds)]
            evaluations = pairs[0][1][1] / pairs[0][0][1]
            about = dict(method=key, cfg=cfg, setup=method.setup)
            self.say("UNet evaluations, over plain's", "", (evaluations,) * 3, n, **about)
            ratio = median(own[0] / base[0] for base, own in pairs)
            self.say("wall time, over plain's", "", (ratio,) * 3, self.rounds, **about)

    def progress(self, group, cfg, method):
        line = ", ".join(
            f"{row['figure']} {row['value']:.2f}" for row in self.rows if self.methods.get(row["method"]) is method
            and (row["group"], row["cfg"]) == (group, cfg)
        )  # fmt: skip
        print(f"[{time.time() - self.started:5.0f} s] {group}, CFG {cfg:g}, {method.name}: {line}", flush=True)


def timed(draw, *call):
    """-> (seconds, UNet evaluations counted in pictures) of a run; any UNet counts."""
    rows = []

    def count(module, inputs):
        if type(module).__name__ == "UNet2DConditionModel":
            rows.append(len(inputs[0]))

    hook = torch.nn.modules.module.register_module_forward_pre_hook(count)
    started = time.perf_counter()
    draw(*call)
    seconds = time.perf_counter() - started
    hook.remove()
    return seconds, sum(rows)


def markdown(rows, methods):
    """Rows of the benchmark as two tables: a line for each group, CFG scale and method, and one for each method."""
    found = {}
    for row in rows:
        found.setdefault((row["group"], row["cfg"], row["method"]), {})[row["figure"]] = row
    side, counter = MINIATURE.sides[rows[0]["axis"]]
    lines = [
        f"| group, CFG | method | {side} | group kept | Frechet distance over plain's | skin L* over plain "
        f"| change of fine pictures | {side} kept where asked for | {counter} at target 0.5 (error) |",
        "|" + "---|" * 9,
    ]
    for (group, cfg, key), own in found.items():
        if group:
            rate, skin = own[side], own["skin L* over plain"]
            fine, kept = own.get("change of fine pictures, RMS"), own.get(f"{side} kept where asked for")
            half = own.get(f"{counter} at target 0.5")
            lines.append(
                f"| {group}, {cfg:g} | {methods[key].name} | {interval(rate)} | {own['group kept']['value']:.2f} "
                f"| {own['Frechet distance, over plain' + chr(39) + 's']['value']:.2f} | {skin['value']:+.1f} | "
                + (f"{fine['value']:.2f} (n = {fine['n']}) | " if fine else "- | ")
                + (f"{kept['value']:.2f} (n = {kept['n']}) | " if kept else "- | ")
                + (f"{half['value']:.2f} ({abs(half['value'] - 0.5):.2f}) |" if half else "- |")
            )
    cfgs = list(dict.fromkeys(row["cfg"] for row in rows))
    lines += [
        "",
        f"| method | out of scope, bit-identical (change, RMS), CFG {' / '.join(f'{cfg:g}' for cfg in cfgs)} "
        "| UNet evaluations over plain's | wall time over plain's | to set up |",
        "|" + "---|" * 5,
    ]
    for key, method in methods.items():
        scope = [found["", cfg, key] for cfg in cfgs]
        same, change = (
            " / ".join(f"{own[f'out of scope: {figure}']['value']:.2f}" for own in scope)
            for figure in ("bit-identical", "change, RMS")
        )
        cost = [scope[-1][f"{figure}, over plain's"]["value"] for figure in ("UNet evaluations", "wall time")]
        lines.append(f"| {method.name} | {same} ({change}) | {cost[0]:.2f} | {cost[1]:.2f} | {method.setup} |")
    return "\n".join(lines)


def interval(row):
    return f"{row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=100, help="pictures per group and CFG scale")
    parser.add_argument("--seed", type=int, default=140_000_000)
    parser.add_argument("--axis", choices=MINIATURE.sides, default="backdrop")
    parser.add_argument("--methods", nargs="+", choices=KEYS, help="all by default; plain is always measured")
    parser.add_argument("--preferences", type=Path, default=ROOT / "weights", help="folder with the two preferences")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    bench = Bench(args.axis, args.n, args.seed, args.methods, path=args.json, folder=args.preferences)
    bench.run()
    print(
        f"\nMeasured on the miniature in {time.time() - bench.started:.0f} s.\n\n{markdown(bench.rows, bench.methods)}"
    )


if __name__ == "__main__":
    main()
