"""`demo`: draw the same portraits of the miniature before and after correction, and print by how much they changed."""

from __future__ import annotations

import json
import time
from argparse import Namespace, _SubParsersAction
from pathlib import Path

from ..files.folders import HOME, WEIGHTS
from ..files.whole_files import write_whole
from .options import count

DEMO_SEED = 2026
DEMO_CFG = 7.0  # that hosts begin with
ALL_CFGS = (2.0, 7.0)  # with the miniature's own
IMAGES, ALL_IMAGES = 20, 32  # pictures per group, plain and corrected
SHEET_IMAGES = 6  # of them on the sheet
STEREOTYPES = {"backdrop": "village", "attire": "traditional"}
SECONDS_A_PICTURE = 0.3  # on two cores: from which the time left is estimated until the steps themselves show it
PRIOR_PICTURES = 8  # as which that counts


def add_commands(commands: _SubParsersAction) -> None:
    parser = commands.add_parser(
        "demo", help="draw the same portraits before and after correction, and print the rates"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rates to this file")
    out = "folder of the picture and the page (%(default)s)"
    parser.add_argument("--out", type=Path, default=HOME / "out", help=out)
    parser.add_argument("--images", type=count, help=f"pictures per group ({IMAGES}, with --all {ALL_IMAGES})")
    scales = " and ".join(f"{cfg:g}" for cfg in ALL_CFGS)
    parser.add_argument("--all", action="store_true", help=f"at CFG {scales}, with more pictures: some minutes")
    parser.set_defaults(run=demo)


def demo(args: Namespace) -> None:
    """Every group of the miniature, plain and corrected with both shipped preferences, from the same seeds."""
    from tqdm import tqdm

    cfgs = ALL_CFGS if args.all else (DEMO_CFG,)
    images = args.images or (ALL_IMAGES if args.all else IMAGES)
    started = time.time()

    class Bar(tqdm):
        """A bar that shows the time left from the start, while the model is loaded, and without the time of that."""

        loaded = 0.0  # seconds after which the first step began

        @property
        def format_dict(self):
            shown = super().format_dict
            drawing = shown["elapsed"] - self.loaded if shown["n"] else 0.0
            return {**shown, "rate": (shown["n"] + PRIOR_PICTURES) / (drawing + PRIOR_PICTURES * SECONDS_A_PICTURE)}

    total = 8 * images * len(cfgs)  # four groups, plain and corrected
    form = "{desc} {percentage:3.0f}%|{bar}| {n:.0f} of {total:.0f} pictures, {elapsed} so far, {remaining} left"
    with Bar(total=total, desc="Drawing portraits", bar_format=form, mininterval=0.5) as bar:
        rows, grids = _drawn(cfgs, images, bar)
    print(f"\n{'stereotype':<24}{'group':<10}{'CFG':>4}{'plain':>7}{'corrected':>11}   95 % interval     n   seed")
    for r in rows:
        print(f"{r['figure']:<24}{r['group']:<10}{r['cfg']:>4g}{r['plain']:>7.2f}{r['corrected']:>11.2f}   "
              f"[{r['low']:.2f}, {r['high']:.2f}]  {r['n']:>6}   {r['seed']}")  # fmt: skip
    from .demo_page import draw_demo, write_demo_page

    args.out.mkdir(parents=True, exist_ok=True)
    picture, page = args.out / "demo.png", args.out / "demo.html"
    draw_demo(rows, grids, picture)
    write_demo_page(rows, grids, page)
    print(f"\nMeasured on the miniature, in {time.time() - started:.0f} s. Wrote {picture} and {page}.")
    if args.json:
        write_whole(args.json, json.dumps(rows, indent=1) + "\n")


def _drawn(cfgs, images, bar):
    """-> (rows of rates, grids of pictures), as demo_page.py describes them. `bar` is moved on at each step."""
    import torch

    from ..latents.devices import has_bfloat16
    from ..miniature.host import Miniature
    from ..miniature.world import GROUPS
    from ..preference.file import load_preference

    host = Miniature(bf16=has_bfloat16(torch.device("cpu")))
    denoise = host.denoise

    def watched(x, sigma, conditioning):
        bar.loaded = bar.loaded or bar.format_dict["elapsed"]
        bar.update(len(x) / 2 / host.steps)  # CFG asks twice for each step of a picture
        return denoise(x, sigma, conditioning)

    host.denoise = watched
    preferences = [load_preference(WEIGHTS / f"miniature-{axis}.safetensors") for axis in STEREOTYPES]
    drawn = [_compare(host, preferences, group, images, cfg) for cfg in cfgs for group in GROUPS]
    return [row for rows, _ in drawn for row in rows], [grid for _, grid in drawn]


def _compare(host, preferences, group, images, cfg):
    """One group, plain and corrected -> (rows of rates, grid of pictures)."""
    from ..correction.sampled import sample_corrected
    from ..correction.update import Settings
    from ..latents.statistics import rate
    from ..miniature.host import pictures_to_uint8
    from ..miniature.prompts import HELD_OUT_NEUTRAL, held_out

    seeds = [DEMO_SEED + index for index in range(images)]
    prompts = [held_out(HELD_OUT_NEUTRAL, group, index) for index in range(images)]
    plain = host.decode(host.sample(host.encode(prompts), seeds, cfg))
    latents, _ = sample_corrected(host, prompts, seeds, preferences, Settings(), cfg)
    corrected = host.decode(latents)
    readings = [host.reader.read(pictures) for pictures in (plain, corrected)]
    rows = []
    for attribute, side in STEREOTYPES.items():
        counts = [sum(label in (side, "unreadable") for label in labels[attribute]) for labels in readings]
        before, (after, low, high) = rate(counts[0], images)[0], rate(counts[1], images)
        row = dict(figure=f"{attribute}: {side}", group=group, cfg=cfg, plain=before, corrected=after)
        rows.append(row | dict(low=low, high=high, n=images, seed=DEMO_SEED, unit="share", model="miniature"))
    before, after = (pictures_to_uint8(pictures[:SHEET_IMAGES]) for pictures in (plain, corrected))
    captions = [f"{prompt} (seed {seed})" for prompt, seed in zip(prompts, seeds, strict=True)]
    return rows, dict(title=f"{group}, CFG {cfg:g}", before=before, after=after, captions=captions[:SHEET_IMAGES])
