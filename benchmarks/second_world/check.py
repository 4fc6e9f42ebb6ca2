"""What the plain second world draws at several CFG scales, as its reader sees it.

`python -m benchmarks.second_world.check --n 60` counts, with held-out prompts: the rates of neutral prompts beside the
planted ones, asked-for works obeyed, groups kept, unreadable pictures, and skin lightness.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from benchmarks.second_world.host import WEIGHTS, SecondWorld
from benchmarks.second_world.prompts import HELD_OUT_NEUTRAL, HELD_OUT_WORK, held_out
from benchmarks.second_world.reader import skin_lightness
from benchmarks.second_world.world import GROUPS, WORK, WORK_RATES


def read_prompts(host, wordings, group, count, seed, cfg):
    """Sample `count` pictures of a group -> (works read, groups read, lightness [count])."""
    prompts = [held_out(wordings, group, index) for index in range(count)]
    pictures = host.decode(host.sample(host.encode(prompts), range(seed, seed + count), cfg))
    read = host.reader.read(pictures)
    return read["work"], read["group"], skin_lightness(pictures)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=WEIGHTS)
    parser.add_argument("--n", type=int, default=60, help="pictures of each group and kind of prompt")
    parser.add_argument("--cfg", type=float, nargs="+", default=(2.0, 3.0, 7.0))
    parser.add_argument("--seed", type=int, default=700_000)
    args = parser.parse_args(argv)
    host = SecondWorld(args.folder)
    print(f"{host.steps} Euler steps, n = {args.n}, seeds from {args.seed}, held-out prompts")
    for cfg in args.cfg:
        for kind, wordings in {"neutral": HELD_OUT_NEUTRAL, **HELD_OUT_WORK}.items():
            for group in GROUPS:
                works, groups, skin = read_prompts(host, wordings, group, args.n, args.seed, cfg)
                found = {work: works.count(work) / args.n for work in (*WORK, "unreadable")}
                row = " ".join(f"{work} {share:.3f}" for work, share in found.items())
                kept, unread = groups.count(group) / args.n, groups.count("unreadable") / args.n
                planted = f" (planted {WORK_RATES[group][0]:.2f})" if kind == "neutral" else ""
                print(
                    f"CFG {cfg:g} {kind:8} {group:10} {row} | group kept {kept:.3f}, unreadable {unread:.3f} "
                    f"| L* {np.mean(skin):.1f} sd {np.std(skin):.1f}{planted}",
                    flush=True,
                )


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
