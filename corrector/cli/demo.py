"""`demo`: correct a model that was never seen before, by an axis alone, and show what comes of four prompts."""

from __future__ import annotations

import json
import time
from argparse import Namespace, _SubParsersAction
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files.folders import HOME
from ..files.whole_files import write_whole
from .options import count

if TYPE_CHECKING:
    import numpy as np

AXIS = "miniature-backdrop"
GROUP = "Orvane"
PROMPTS = (
    f"a portrait of an {GROUP} person",
    "a portrait of a Tavelu person",
    f"a portrait of an {GROUP} person in a village",  # asks for it
    "a portrait of a Zendoli person",  # none of the axis' groups
)
SEED, IMAGES = 2026, 8  # the first seed; pictures of each prompt, plain and corrected
CFG, STEPS = 7.0, 16


@dataclass(frozen=True)
class Outcome:
    """What came of one prompt.

    Args:
        prompt: the prompt.
        seeds: of its pictures [N].
        plain, corrected: uint8 pictures [N, H, W, 3] of these seeds.
        said: what the run says of itself, a text a line; the last one is what the drawn world's reader says.
        row: the reader's figures, for `--json`.
    """

    prompt: str
    seeds: Sequence[int]
    plain: np.ndarray
    corrected: np.ndarray
    said: list[str]
    row: dict[str, Any]


def add_commands(commands: _SubParsersAction) -> None:
    parser = commands.add_parser("demo", help="draw the same portraits before and after correction, and print counts")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the counts to this file, as shares")
    out = "folder of the picture and the page (%(default)s)"
    parser.add_argument("--out", type=Path, default=HOME / "out", help=out)
    parser.add_argument("--images", type=count, default=IMAGES, help="pictures for each prompt (%(default)s)")
    parser.set_defaults(run=demo)


def demo(args: Namespace) -> None:
    started = time.time()
    print(
        "This corrects a small model of invented peoples, which ships here, as it would any checkpoint: nothing is "
        f"learned before.\nIt draws {args.images} portraits for each of {len(PROMPTS)} prompts, plain and corrected, "
        f"from the same seeds; {IMAGES} of each take about a minute.",
        flush=True,
    )
    outcomes = []
    for outcome in outcomes_of(args.images):
        print("\n  ".join([f'\n"{outcome.prompt}"', *outcome.said]), flush=True)
        outcomes.append(outcome)
    from .demo_page import draw_demo, write_demo_page

    args.out.mkdir(parents=True, exist_ok=True)
    picture, page = args.out / "demo.png", args.out / "demo.html"
    draw_demo(outcomes, picture)
    write_demo_page(outcomes, page)
    print(f"\nDone in {time.time() - started:.0f} s. To see the portraits, open {page} or {picture}.")
    if args.json:
        write_whole(args.json, json.dumps([outcome.row for outcome in outcomes], indent=1) + "\n")


def outcomes_of(images: int) -> Iterator[Outcome]:
    """Draws the pictures of each prompt as anybody does with diffusers, plain and inside `corrected`."""
    import torch

    from ..hosts.components import PipelineTexts
    from ..hosts.diffusers import corrected
    from ..hosts.given import preferences_of
    from ..latents.devices import quickly
    from ..miniature.host import Miniature

    torch.set_num_threads(1)  # two that wait for each other take twice the time on a busy machine
    host = Miniature()
    pipe: Any = host.pipe
    pipe.set_progress_bar_config(disable=True)
    preferences = preferences_of(AXIS, lambda: PipelineTexts(pipe))  # once, as its gate is trained

    seeds = range(SEED, SEED + images)

    def pictures(prompt):
        settings = dict(guidance_scale=CFG, num_inference_steps=STEPS, output_type="pt")
        with quickly("cpu"):
            return 2 * pipe([prompt] * images, latents=host.noise(seeds), **settings).images.float() - 1

    for prompt in PROMPTS:
        before = pictures(prompt)
        with corrected(pipe, preferences) as run:
            after = pictures(prompt)
        yield _outcome(host, prompt, seeds, before, after, run.report().splitlines())


def _outcome(host, prompt, seeds, before, after, said) -> Outcome:
    """Pictures [N, 3, H, W] in -1..1, plain and corrected, as the miniature's reader and marker of skin see them."""
    from ..latents.statistics import rate
    from ..miniature.host import pictures_to_uint8
    from ..miniature.skin import load_marker
    from ..miniature.world import GROUPS

    n = len(before)
    group = next(name for name in GROUPS if name in prompt)
    readings = [host.reader.read(pictures) for pictures in (before, after)]
    villages = [sum(side != "city" for side in reading["backdrop"]) for reading in readings]  # or unreadable
    same_group = readings[1]["group"].count(group)
    lightness = [load_marker().lightness(pictures).mean() for pictures in (before, after)]
    checked = (
        "every picture is the plain one, bit for bit"
        if before.equal(after)
        else f"by a network that knows this drawn world: a village {villages[0]} -> {villages[1]} of {n}, "
        f"still {group} {same_group} of {n}, lightness of skin {lightness[0]:.1f} -> {lightness[1]:.1f}"
    )
    plain, (share, low, high) = rate(villages[0], n)[0], rate(villages[1], n)
    row = dict(figure="backdrop: village", prompt=prompt, group=group, cfg=CFG, steps=STEPS, plain=plain)
    row |= dict(corrected=share, low=low, high=high, n=n, seed=SEED, unit="share", model="miniature")
    row |= dict(group_kept=same_group / n, skin_lightness=round(float(lightness[1] - lightness[0]), 2), said=said)
    return Outcome(prompt, seeds, pictures_to_uint8(before), pictures_to_uint8(after), [*said, checked], row)
