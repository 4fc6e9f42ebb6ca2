"""`demo`: draw the same portraits of the miniature before and after correction, and print by how much they changed."""

import json
import time
from pathlib import Path

from ..latent_space.folders import HOME, WEIGHTS
from ..latent_space.whole_files import write_whole
from .options import count

SEED = 2026
CFGS = (2.0, 7.0)  # the miniature's own, and the one that hosts begin with
STEREOTYPES = {"backdrop": "village", "attire": "traditional"}


def add_commands(commands):
    one = commands.add_parser("demo", help="draw the same portraits before and after correction, and print the rates")
    one.add_argument("--json", type=Path, metavar="FILE", help="also write the rates to this file")
    one.add_argument("--out", type=Path, default=HOME / "out", help="folder of the picture and the page (%(default)s)")
    one.add_argument("--images", type=count, default=32, help="pictures per group (%(default)s)")
    one.set_defaults(run=demo)


def demo(args):
    """Every group of the miniature at CFGS, plain and corrected with both shipped preferences, from the same seeds."""
    from ..miniature.host import Miniature
    from ..miniature.world import GROUPS
    from ..preference.file import load_preference
    from .demo_page import draw_demo, write_page

    started, host = time.time(), Miniature()
    preferences = [load_preference(WEIGHTS / f"miniature-{axis}.safetensors") for axis in STEREOTYPES]
    rows, grids = [], []
    for cfg in CFGS:
        for group in GROUPS:
            rates, grid = _compare(host, preferences, group, args.images, cfg)
            rows += rates
            grids.append(grid)
    print(f"\n{'stereotype':<24}{'group':<10}{'CFG':>4}{'plain':>7}{'corrected':>11}   95 % interval     n   seed")
    for r in rows:
        print(f"{r['figure']:<24}{r['group']:<10}{r['cfg']:>4g}{r['plain']:>7.2f}{r['corrected']:>11.2f}   "
              f"[{r['low']:.2f}, {r['high']:.2f}]  {r['n']:>6}   {r['seed']}")  # fmt: skip
    args.out.mkdir(parents=True, exist_ok=True)
    picture, page = args.out / "demo.png", args.out / "demo.html"
    draw_demo(rows, grids, picture)
    write_page(rows, grids, page)
    print(f"\nMeasured on the miniature, in {time.time() - started:.0f} s. Wrote {picture} and {page}.")
    if args.json:
        write_whole(args.json, json.dumps(rows, indent=1) + "\n")


def _compare(host, preferences, group, images, cfg):
    """One group, plain and corrected -> (rows of rates, grid of pictures), as demo_page.py describes them."""
    from ..correction.decision import summary
    from ..correction.sampled import sample_corrected
    from ..correction.update import Settings
    from ..latent_space.statistics import rate
    from ..miniature.host import pictures_to_uint8
    from ..miniature.prompts import HELD_OUT_NEUTRAL, held_out

    seeds = [SEED + index for index in range(images)]
    prompts = [held_out(HELD_OUT_NEUTRAL, group, index) for index in range(images)]
    plain = host.decode(host.sample(host.encode(prompts), seeds, cfg))
    latents, reasons = sample_corrected(host, prompts, seeds, preferences, Settings(), cfg)
    corrected = host.decode(latents)
    read = [host.reader.read(pictures) for pictures in (plain, corrected)]
    rows = []
    for preference, why, (attribute, side) in zip(preferences, reasons, STEREOTYPES.items(), strict=True):
        print(f"{group}, CFG {cfg:g}: {summary(preference, why, cfg)}", flush=True)
        counts = [sum(label in (side, "unreadable") for label in labels[attribute]) for labels in read]
        before, (after, low, high) = rate(counts[0], images)[0], rate(counts[1], images)
        row = dict(figure=f"{attribute}: {side}", group=group, cfg=cfg, plain=before, corrected=after)
        rows.append(row | dict(low=low, high=high, n=images, seed=SEED, unit="share", model="miniature"))
    before, after = (pictures_to_uint8(pictures[:8]) for pictures in (plain, corrected))
    captions = [f"{prompt} (seed {seed})" for prompt, seed in zip(prompts[:8], seeds[:8], strict=True)]
    return rows, dict(title=f"{group}, CFG {cfg:g}", before=before, after=after, captions=captions)
