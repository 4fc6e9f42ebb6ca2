"""`demo`: correct a model that was never seen before, by an axis alone, and show what comes of four prompts."""

from __future__ import annotations

import json
import time
from argparse import Namespace, _SubParsersAction
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..files.folders import HOME
from ..files.whole_files import write_whole
from .options import count

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ..miniature.flow_host import FlowMiniature
    from ..miniature.host import Miniature

    Draw = Callable[[str], tuple[Tensor, Tensor, str]]  # a prompt -> pictures, plain and corrected, and the report

AXIS = "miniature-backdrop"
GROUP = "Orvane"
PROMPTS = (
    f"a portrait of an {GROUP} person",
    "a portrait of a Tavelu person",
    f"a portrait of an {GROUP} person in a village",  # asks for it
    "a portrait of a Zendoli person",  # none of the axis' groups
)
SEED, IMAGES = 2026, 8  # the first seed; pictures of each prompt, plain and corrected


@dataclass(frozen=True)
class Model:
    """A model that ships, and the CFG scale and steps at which the demo draws with it."""

    title: str
    cfg: float
    steps: int


MODELS = {
    "miniature": Model("the miniature", 7.0, 16),
    "flow": Model("the flow miniature", 7.0, 16),
    "flow-turbo": Model("the flow miniature's few-step twin", 1.0, 4),
}


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
    models = "which of the small models that ship draws: of SD1.5's kind, of SD3's, or that one's few-step twin"
    parser.add_argument("--model", choices=MODELS, default="miniature", help=f"{models} (%(default)s)")
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
    for outcome in outcomes_of(args.images, args.model):
        print("\n  ".join([f'\n"{outcome.prompt}"', *outcome.said]), flush=True)
        outcomes.append(outcome)
    from .demo_page import draw_demo, write_demo_page

    args.out.mkdir(parents=True, exist_ok=True)
    picture, page = args.out / "demo.png", args.out / "demo.html"
    title = MODELS[args.model].title
    draw_demo(outcomes, picture, title)
    write_demo_page(outcomes, page, title)
    print(f"\nDone in {time.time() - started:.0f} s. To see the portraits, open {page} or {picture}.")
    if args.json:
        write_whole(args.json, json.dumps([outcome.row for outcome in outcomes], indent=1) + "\n")


def outcomes_of(images: int, model: str = "miniature") -> Iterator[Outcome]:
    """Draws the pictures of each prompt, plain and corrected, with one of MODELS."""
    import torch

    from ..latents.devices import quickly

    torch.set_num_threads(1)  # two that wait for each other take twice the time on a busy machine
    seeds = range(SEED, SEED + images)
    host, draw = _with_pipeline(seeds, model)
    for prompt in PROMPTS:
        with quickly("cpu"):
            before, after, report = draw(prompt)
        yield _outcome(host, model, prompt, seeds, before, after, report.splitlines())


def _with_pipeline(seeds: Sequence[int], name: str) -> tuple[Miniature | FlowMiniature, Draw]:
    """A model that ships, drawing as anybody does with diffusers, plain and inside `corrected`."""
    from ..hosts.components import PipelineTexts
    from ..hosts.diffusers import corrected
    from ..hosts.given import preferences_of
    from ..miniature.flow_host import FlowMiniature, twin
    from ..miniature.host import Miniature

    host = {"miniature": Miniature, "flow": FlowMiniature, "flow-turbo": twin}[name]()
    pipe, model = cast("Any", host.pipe), MODELS[name]
    pipe.set_progress_bar_config(disable=True)
    preferences = preferences_of(AXIS, lambda: PipelineTexts(pipe))  # once, as its gate is trained
    settings = dict(guidance_scale=model.cfg, num_inference_steps=model.steps, output_type="pt")

    def pictures(prompt):
        return 2 * pipe([prompt] * len(seeds), latents=host.noise(seeds), **settings).images.float() - 1

    def draw(prompt):
        before = pictures(prompt)
        with corrected(pipe, preferences) as run:
            after = pictures(prompt)
        return before, after, run.report()

    return host, draw


def _outcome(host, model, prompt, seeds, before, after, said) -> Outcome:
    """Pictures [N, 3, H, W] in -1..1, plain and corrected, as the miniature's reader and marker of skin see them."""
    from ..latents.skin import to_uint8
    from ..latents.statistics import rate
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
    row = dict(figure="backdrop: village", prompt=prompt, group=group, cfg=MODELS[model].cfg, plain=plain)
    row |= dict(
        steps=MODELS[model].steps, corrected=share, low=low, high=high, n=n, seed=SEED, unit="share", model=model
    )
    row |= dict(group_kept=same_group / n, skin_lightness=round(float(lightness[1] - lightness[0]), 2), said=said)
    return Outcome(prompt, seeds, to_uint8(before), to_uint8(after), [*said, checked], row)
