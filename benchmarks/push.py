"""Strengths and schedules of the push, compared: `python benchmarks/push.py --json FILE`.

A near-deterministic group needs a strong push; pictures that show the counter side by themselves should not change.
Compared, at the calibrated tone gain: the CFG scale at all sigmas, with and without the push gain; 1 at all sigmas; the
CFG scale above sight and more below; and what ships: 1 above sight and the CFG scale times the push gain below.
"""

import argparse
import json
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import tables  # noqa: E402
from corrector.audit import statistics as audit  # noqa: E402
from corrector.correction.update import drift  # noqa: E402
from corrector.miniature.host import Miniature  # noqa: E402
from corrector.miniature.prompts import HELD_OUT_NEUTRAL, held_out  # noqa: E402
from corrector.preference.file import load_preference  # noqa: E402

CFG = 2.0
CASES = (("backdrop", "Orvane", "village", "city"), ("attire", "Quilmari", "traditional", "modern"))
WAYS = {  # k above sight, k below, of (cfg, push gain)
    "1 everywhere": lambda cfg, gain: (1.0, 1.0),
    "CFG everywhere": lambda cfg, gain: (cfg, cfg),
    "CFG times gain everywhere": lambda cfg, gain: (cfg * gain, cfg * gain),
    "CFG above sight, times gain below": lambda cfg, gain: (cfg, cfg * gain),
    "1 above sight, CFG times gain below, as shipped": lambda cfg, gain: (1.0, cfg * gain),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=200, help="pictures per group and method")
    parser.add_argument("--fine", type=int, default=30, help="number of plain counter pictures to find")
    parser.add_argument("--seed", type=int, default=31_000_000)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    host, rows = Miniature(bf16=args.bf16), []

    def say(*row):
        rows.append(tables.row(*row, args.seed))
        print(tables.table(rows[-1:]).splitlines()[1], flush=True)

    for attribute, group, side, counter in CASES:
        preference = load_preference(ROOT / "weights" / f"miniature-{attribute}.safetensors")
        known, index = preference.calibration(group, CFG), preference.axis.groups.index(group)

        def some(start, n, group=group):
            prompts = [held_out(HELD_OUT_NEUTRAL, group, i) for i in range(start, start + n)]
            return host.encode(prompts), list(range(args.seed + start, args.seed + start + n))

        plain, fine = [], []  # latents of the first n; (index, latent) of plain counter pictures
        for start in range(0, 60 * args.fine, 100):
            latents = host.sample(*some(start, 100), CFG)
            labels = host.reader.read(host.decode(latents))[attribute]
            plain += [latents] if start < args.n else []
            fine += [(start + i, latents[i]) for i, label in enumerate(labels) if label == counter]
            if len(fine) >= args.fine and start + 100 >= args.n:
                break
        scale, fine = torch.cat(plain).std(), fine[: args.fine]
        for name, way in WAYS.items():
            above, below = way(CFG, known.push_gain)

            def hook(denoised, x, sigma, which, preference=preference, above=above, below=below, index=index):
                reading = preference.source(x, sigma, torch.full((len(x),), index))
                k = torch.where(sigma <= preference.sight[index], below, above)
                bases, gains = (torch.full((len(x),), value) for value in (known.base_rate, known.tone_gain))  # noqa: B023
                return denoised + drift(reading, bases, gains, k)

            read = host.reader.read(host.decode(host.sample(*some(0, args.n), CFG, hook=hook)))
            count = tables.stereotype_count(read[attribute], side)
            say(f"{name}: {side}", group, audit.rate(count, args.n), args.n)
            if fine:
                where = [some(i, 1) for i, _ in fine]
                conditioning, seeds = torch.cat([c for c, _ in where]), [s for _, seeds in where for s in seeds]
                after = host.sample(conditioning, seeds, CFG, hook=hook)
                change = audit.latent_change(torch.stack([latent for _, latent in fine]), after, scale)
                say(f"{name}: change of fine images, RMS", group, audit.mean(change), len(fine))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
