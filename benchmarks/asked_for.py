"""What prompts ask for wins: `python benchmarks/asked_for.py --json FILE`.

Prompts that ask for a value of the attribute keep it; prompts that name nobody of the axis' groups give bit-identical
pictures. Euler, 16 steps, wordings that no training saw.
"""

import argparse
import json
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import tables  # noqa: E402
from benchmarks.worlds import WORLDS  # noqa: E402
from corrector.auditing import statistics as audit  # noqa: E402
from corrector.correction.sampled import sample_corrected  # noqa: E402
from corrector.correction.update import Settings  # noqa: E402
from corrector.preference.file import load_preference  # noqa: E402

EACH = 4  # pictures of a prompt that is out of scope


class Bench:
    def __init__(self, args, cfg, attribute):
        self.world, self.n, self.seed, self.cfg, self.attribute = WORLDS[args.world], args.n, args.seed, cfg, attribute
        self.host = self.world.host()
        self.preference = load_preference(args.preferences / f"{args.world}-{attribute}.safetensors")

    def both(self, prompts, seeds):
        """Latents [N, C, H, W] without and with the correction."""
        plain = self.host.sample(self.host.encode(prompts), seeds, self.cfg)
        return plain, sample_corrected(self.host, prompts, seeds, [self.preference], Settings(), self.cfg)[0]

    def read(self, latents):
        return self.host.reader.read(self.host.decode(latents))[self.attribute]

    def row(self, figure, group, measured, n):
        return tables.row(figure, group, measured, n, self.seed, axis=self.attribute, cfg=self.cfg)

    def asked_for(self, group):
        """Rows: how many pictures keep what the prompt asks for, of those that show it without the correction."""
        seeds = range(self.seed, self.seed + self.n)
        for value in self.world.asking[self.attribute]:
            plain, ours = self.both(self.world.prompts(group, self.n, self.attribute, value), seeds)
            obeyed = [label == value for label in self.read(plain)]
            kept = [label == value for label, before in zip(self.read(ours), obeyed, strict=True) if before]
            yield self.row(f"{value} kept where asked for", group, audit.rate(sum(kept), len(kept)), len(kept))

    def out_of_scope(self):
        """Row: for how many prompts that name nobody of the groups all pictures are bit-identical."""
        prompts, identical = self.world.out_of_scope(self.preference.axis.groups, self.attribute), 0
        for index, prompt in enumerate(prompts):
            seeds = range(self.seed + EACH * index, self.seed + EACH * (index + 1))
            same = torch.equal(*self.both([prompt] * EACH, seeds))
            identical += same
            if not same:
                print("  acted out of scope on:", prompt)
        return self.row("out of scope, bit-identical", "-", audit.rate(identical, len(prompts)), len(prompts))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=100, help="pictures per group and value")
    parser.add_argument("--seed", type=int, default=160_000_000)
    parser.add_argument("--world", choices=WORLDS, default="miniature")
    parser.add_argument("--cfg", type=float, nargs="+", default=(2.0, 7.0))
    parser.add_argument("--preferences", type=Path, default=ROOT / "weights", help="folder of WORLD-AXIS.safetensors")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = []
    for cfg in args.cfg:
        for attribute in WORLDS[args.world].sides:
            bench = Bench(args, cfg, attribute)
            for group in bench.preference.axis.groups:
                rows += bench.asked_for(group)
            rows.append(bench.out_of_scope())
            if args.json:
                args.json.write_text(json.dumps(rows, indent=1) + "\n")
    print(tables.table(rows))


if __name__ == "__main__":
    main()
