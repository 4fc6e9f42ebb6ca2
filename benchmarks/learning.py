"""Cost and quality of learning: `python benchmarks/learning.py --json FILE`.

`cost`: time to learn and calibrate a preference for the shipped backdrop axis from 128 pairs a side, and of sampling
the pairs. `few`: stereotype rates with it. `sdxl`: time and memory to train on 256 pairs of SDXL-size random latents
and pushes. `derivatives`: the shipped preferences on both derivatives of the miniature, with their own calibration and
with a new one. `both`: both shipped preferences together, for the groups of both.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import derivatives, tables  # noqa: E402
from benchmarks.worlds import MINIATURE  # noqa: E402
from corrector.auditing import statistics as audit  # noqa: E402
from corrector.axis.axis import load_axis  # noqa: E402
from corrector.correction.sampled import sample_corrected  # noqa: E402
from corrector.correction.update import Settings  # noqa: E402
from corrector.gate.texts import gate_others  # noqa: E402
from corrector.learning.calibrate import calibrate  # noqa: E402
from corrector.learning.learn import learn  # noqa: E402
from corrector.learning.pairs import Pairs, make_pairs  # noqa: E402
from corrector.learning.points import sample_points  # noqa: E402
from corrector.learning.training import train_distilled, train_judge  # noqa: E402
from corrector.miniature.host import Miniature  # noqa: E402
from corrector.miniature.prompts import HELD_OUT_NEUTRAL, held_out  # noqa: E402
from corrector.miniature.reader import skin_lightness  # noqa: E402
from corrector.preference.file import load_preference  # noqa: E402

SIDES = MINIATURE.sides


class Bench:
    def __init__(self, args):
        self.n, self.seed, self.bf16, self.path, self.rows = args.n, args.seed, args.bf16, args.json, []
        self.derivative = [args.derivative] if args.derivative else ["print", "rates"]
        self.axis, self.cfgs = [args.axis] if args.axis else list(SIDES), args.cfg

    def say(self, figure, group, measured, n, **more):
        measured = measured if isinstance(measured, tuple) else (measured,) * 3
        self.rows.append(tables.row(figure, group, measured, n, self.seed, **more))
        print(tables.table(self.rows[-1:]).splitlines()[1], flush=True)
        if self.path:
            self.path.write_text(json.dumps(self.rows, indent=1) + "\n")

    def some(self, group, n=None):
        n = n or self.n
        prompts = [held_out(HELD_OUT_NEUTRAL, group, index // 8) for index in range(n)]  # batches of one prompt
        return prompts, list(range(self.seed, self.seed + n))

    def rates(self, host, name, preferences, settings, groups, attributes, plain, cfg, **more):
        """Corrected rates of each group; `plain`: {group: (latents, lightness, labels)} of the same seeds."""
        host.batch = 8  # pictures that have the target share
        for group in groups:
            before, lightness, _ = plain[group]
            some = self.some(group)
            latents, _ = sample_corrected(host, *some, preferences, settings, cfg, plain=before)
            pictures = host.decode(latents)
            read, skin = host.reader.read(pictures), skin_lightness(pictures)
            for attribute in attributes:
                count = tables.stereotype_count(read[attribute], SIDES[attribute][0])
                self.say(f"{name}: {SIDES[attribute][0]}", group, audit.rate(count, self.n), self.n, cfg=cfg, **more)
            self.say(f"{name}: L* drift", group, audit.mean(skin - lightness), self.n, cfg=cfg, **more)

    def plain(self, host, name, groups, cfg, **more):
        found = {}
        for group in groups:
            prompts, seeds = self.some(group)
            latents = host.sample(host.encode(prompts), seeds, cfg)
            pictures = host.decode(latents)
            read = host.reader.read(pictures)
            found[group] = latents, skin_lightness(pictures), read
            for attribute, (side, _) in SIDES.items():
                count = tables.stereotype_count(read[attribute], side)
                self.say(f"{name}, plain: {side}", group, audit.rate(count, self.n), self.n, cfg=cfg, **more)
        return found

    def cost(self, count=128, name="128 pairs"):
        host, axis = Miniature(bf16=self.bf16), load_axis(ROOT / "axes" / "miniature-backdrop.json")
        started, sampling = time.time(), Stopwatch(host.sample)
        host.sample = sampling
        with tempfile.TemporaryDirectory() as folder:
            pairs = make_pairs(host, axis, count, seed=0, folder=Path(folder) / "pairs")
        before, keeping, times = host.evaluations, time.time() - started - sampling.took, {}

        def progress(stage, done, total):
            times.setdefault(stage, [time.time(), 0])[1] = time.time()

        preference, judge = learn(
            host, axis, count, pairs=pairs, progress=progress, **gate_others(axis, ROOT / "axes", host.space)
        )
        self.say(f"{name}: seconds of sampling the pairs", "all", sampling.took, count)
        self.say(f"{name}: seconds beyond it", "all", time.time() - started - sampling.took, count)
        self.say(f"{name}: seconds of decoding and storing", "all", keeping, count)
        for stage, (first, last) in times.items():
            if last > first:  # the gate only tells that it begins
                self.say(f"{name}: seconds of {stage}", "all", last - first, count)
        self.say(f"{name}: UNet evaluations at points", "all", host.evaluations - before, count)
        started = time.time()
        preference = calibrate(host, preference, judge)
        self.say(f"{name}: seconds of calibration", "all", time.time() - started, count)
        return host, preference

    def few(self):
        host, preference = self.cost()
        for cfg in self.cfgs:
            plain = self.plain(host, "128 pairs", preference.axis.groups, cfg)
            self.rates(host, "128 pairs", [preference], Settings(), preference.axis.groups, ["backdrop"], plain, cfg)

    def sdxl(self, count=256, size=128):
        generator = torch.Generator().manual_seed(0)
        latents = torch.randn(1, 2, count, 4, size, size, generator=generator)
        pairs = Pairs(latents, 50 + 5 * torch.randn(1, 2, count, generator=generator), torch.zeros(1, count))
        axis = replace(load_axis(ROOT / "axes" / "miniature-backdrop.json"), groups=("Orvane",))
        points = sample_points(RandomPushes(generator), axis, pairs, 6000, 0)
        started = time.time()
        train_distilled("sdxl", 1, points, 2000, 0)
        train_judge(pairs, 0)
        self.say("SDXL size, 256 pairs: seconds of training", "all", time.time() - started, count)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        self.say("SDXL size, 256 pairs: most memory, GiB", "all", memory, count)

    def derivatives(self):
        """The shipped preferences on the derivatives. Each seed is sampled plain and at full strength.

        For a target share, the decisions of runs with batches of 8 select one of the two pictures.
        """
        for name in self.derivative:
            host = Miniature(bf16=self.bf16, lora=derivatives.FOLDER / f"miniature-{name}.safetensors")
            used = {a: load_preference(ROOT / "weights" / f"miniature-{a}.safetensors") for a in self.axis}
            groups = dict.fromkeys(group for preference in used.values() for group in preference.axis.groups)
            again = {a: calibrate(host, preference, preference.judge) for a, preference in used.items()}
            for cfg in self.cfgs:
                plain = self.plain(host, name, groups, cfg, derivative=name)
                for said, preferences in (("as it is", used), ("calibrated again", again)):
                    for attribute, preference in preferences.items():
                        for group in preference.axis.groups:
                            which = f"{name}, {said}", preference, group, attribute, plain[group], cfg
                            self.targets(host, *which, derivative=name)

    def targets(self, host, name, preference, group, attribute, plain, cfg, **more):
        """Stereotype rate and drift at targets 1 and 0.5."""
        host.batch = 8  # pictures that have the target share
        (before, lightness, read), (prompts, seeds), side = plain, self.some(group), SIDES[attribute][0]
        full, _ = sample_corrected(host, prompts, seeds, [preference], Settings(), cfg, plain=before)
        half = Settings(target=0.5)
        _, (reasons,) = sample_corrected(host, prompts, seeds, [preference], half, cfg, plain=before)
        pictures = host.decode(full)
        corrected, change = host.reader.read(pictures)[attribute], skin_lightness(pictures) - lightness
        for target, chosen in ((1, np.full(self.n, True)), (0.5, np.array([not why for why in reasons]))):
            labels = np.where(chosen, corrected, read[attribute])
            rate = audit.rate(tables.stereotype_count(labels, side), self.n)
            self.say(f"{name}, target {target}: {side}", group, rate, self.n, cfg=cfg, **more)
            drift = audit.mean(change * chosen)
            self.say(f"{name}, target {target}: L* drift, {attribute}", group, drift, self.n, cfg=cfg, **more)

    def both(self):
        host = Miniature(bf16=self.bf16)
        used = {a: load_preference(ROOT / "weights" / f"miniature-{a}.safetensors") for a in SIDES}
        groups = [group for group in used["backdrop"].axis.groups if group in used["attire"].axis.groups]
        for cfg in self.cfgs:
            plain = self.plain(host, "both", groups, cfg)
            for name, preferences in (
                ("only backdrop", [used["backdrop"]]),
                ("only attire", [used["attire"]]),
                ("backdrop and attire", list(used.values())),
            ):
                self.rates(host, name, preferences, Settings(), groups, list(SIDES), plain, cfg)


class Stopwatch:
    """A function with the total time of its calls in seconds."""

    def __init__(self, function):
        self.function, self.took = function, 0.0

    def __call__(self, *args, **kwargs):
        started = time.time()
        try:
            return self.function(*args, **kwargs)
        finally:
            self.took += time.time() - started


class RandomPushes:
    """A host with random predictions, to measure time and memory."""

    def __init__(self, generator):
        self.generator = generator

    def encode(self, prompts):
        return torch.zeros(len(prompts), 1, 8)

    def denoise(self, x, sigma, conditioning):
        return torch.randn(x.shape, generator=self.generator)


def main():
    parts = ("cost", "few", "sdxl", "derivatives", "both")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=(*parts, []), default=list(parts))
    parser.add_argument("--n", type=int, default=1000, help="pictures per group")
    parser.add_argument("--cfg", type=float, nargs="+", default=[2.0, 7.0])
    parser.add_argument("--seed", type=int, default=50_000_000)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--derivative", choices=("print", "rates"), help="only this one")
    parser.add_argument("--axis", choices=tuple(SIDES), help="only this axis on the derivatives")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    bench = Bench(args)
    for part in args.parts or parts:
        getattr(bench, part)()


if __name__ == "__main__":
    main()
