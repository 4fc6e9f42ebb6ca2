"""The correction where people work: cells of CFG scale, steps, sampler, target share, start picture and derivative.

Through diffusers' own pipelines and schedulers, with wordings that no training saw. Corrected pictures are measured
beside the plain ones of the same seeds, and beside those of prompts that ask for the counter side.

A distance is the Frechet distance of 64 pooled latent features to counter-prompt pictures, over that of the plain
pictures. Those are weighed so that their mean lightness of skin is the plain pictures', which is what the correction
aims at. "If fine pictures stay" is that of the plain pictures if only those with the stereotype are replaced by the
counter prompts': nothing that leaves fine pictures as they are can be much nearer.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from benchmarks.measuring import Options, mean, number, share
from benchmarks.records import Estimate, Row
from benchmarks.studio import SHARE_BATCH, Cell, Pictures, axis_of, preference_of, studio_of
from benchmarks.worlds import WORLDS
from corrector.latents.statistics import features, frechet, latent_change

CALIBRATED = (("Euler", 2.0, 16), ("Euler", 7.0, 16))  # sampler, CFG scale, steps
OTHER_SCALES = (*(("Euler", cfg, 16) for cfg in (1.0, 4.0, 9.0)), ("LCM", 1.0, 4))
ELSEWHERE = (
    *(("Euler", 7.0, steps) for steps in (6, 8, 30, 50)),
    *((sampler, 7.0, 16) for sampler in ("Euler ancestral", "DPM++ 2M", "DPM++ 2M SDE", "DDIM", "UniPC")),
)
PLAIN_PICTURES = 200  # at most, that are drawn plain and for counter prompts; the rate is of all
EFFECTIVE_SHARE = 0.1  # of counter-prompt pictures that weights must leave, as Kish's effective number
SEED = 150_000_000


def measure(cell: Cell) -> Row:
    """The rate of all n pictures, and the other figures of at most PLAIN_PICTURES of them."""
    studio, few = studio_of(cell.world, cell.derivative), min(cell.n, PLAIN_PICTURES)
    world = studio.world
    stereotype, counter_side = world.sides[cell.axis]
    prompts = world.prompts(cell.group, cell.n, cell.axis, cell.asked)
    if cell.target < 1:  # batches of one prompt, as in UIs
        prompts = [prompts[i // SHARE_BATCH] for i in range(cell.n)]
    pictures, plain = studio.pictures(cell, prompts, True), studio.pictures(cell, prompts[:few], False)
    if cell.asked:
        pairs = zip(pictures.labels, plain.labels, strict=False)
        kept = [label == cell.asked for label, plain_label in pairs if plain_label == cell.asked]
        return cell.row({"asked for and kept": share(kept) if kept else number(0, 0)})

    def rate(labels: list[str]) -> Estimate:
        return share(label in (stereotype, "unreadable") for label in labels)

    figures = {"plain": rate(plain.labels)}
    if cell.target < 1:
        reached = share(label not in (stereotype, "unreadable") for label in pictures.labels)
        expected = max(cell.target, 1 - figures["plain"].value)  # a group that is above the target is left alone
        off = number(reached.value - expected, reached.n)
        return cell.row(figures | {"counter share": reached, "share off target": off})
    figures["corrected"] = rate(pictures.labels)
    figures["unreadable"] = share(label == "unreadable" for label in pictures.labels)
    figures["group kept"] = share(group == cell.group for group in pictures.groups)
    pictures = pictures.first(few)
    figures["skin L* drift"] = mean(pictures.lightness - plain.lightness)
    if cell.derivative or cell.correct:
        return cell.row(figures)
    counter = studio.pictures(cell, world.prompts(cell.group, few, cell.axis, counter_side), False)
    figures["counter prompts"] = rate(counter.labels)
    if cell.denoise < 1:
        start = world.lightness(studio.starts(cell, few, cell.seed))
        for way, drawn in (("plain", plain), ("corrected", pictures), ("counter prompts", counter)):
            figures[f"skin L* over the start, {way}"] = mean(drawn.lightness - start)
        return cell.row(figures)
    figures["group kept by counter prompts"] = share(group == cell.group for group in counter.groups)
    figures["skin L* drift of counter prompts"] = mean(counter.lightness - plain.lightness)
    fine = torch.tensor([label == counter_side for label in plain.labels])
    figures |= distances(plain, pictures.latents, counter, fine)
    if fine.any():
        change = latent_change(plain.latents[fine], pictures.latents[fine], plain.latents.std())
        figures["change of fine pictures"] = mean(change)
    return cell.row(figures)


def distances(plain: Pictures, corrected: Tensor, counter: Pictures, fine: Tensor) -> dict[str, Estimate]:
    """Figures of corrected latents beside those of counter prompts; `fine` [N]: without the stereotype when plain."""
    n = len(corrected)
    ends = [float(np.quantile(latents.abs(), 0.99)) for latents in (corrected, counter.latents)]
    figures = {
        "spread": number(float(corrected.std() / counter.latents.std()), n),
        "99th percentile": number(ends[0] / ends[1], n),
    }
    weights = tilted(counter.lightness, float(np.nanmean(plain.lightness)))
    if 1 / float(np.square(weights).sum()) > EFFECTIVE_SHARE * n:  # else the model hardly draws that tone
        replaced = torch.where(fine[:, None, None, None], plain.latents, counter.latents)
        far, near, least = (
            frechet(features(latents), features(counter.latents), weights)
            for latents in (plain.latents, corrected, replaced)
        )
        figures["distance"] = number(near / far, n)
        figures["distance if fine pictures stay"] = number(least / far, n)
    return figures


def tilted(values: np.ndarray, goal: float) -> np.ndarray:
    """Weights [N], exp(a * value) up to a factor, with which the mean of `values` [N] is as near `goal` as can be.

    They are those of the distribution nearest to the values' own that has this mean (exponential tilting). NaN counts
    as the mean of the others.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import softmax

    values = np.nan_to_num(values, nan=np.nanmean(values))
    centred = (values - values.mean()) / max(float(values.std()), 1e-9)
    best = minimize_scalar(lambda a: (softmax(a * centred) @ values - goal) ** 2, bounds=(-4, 4), method="bounded")
    return softmax(best.x * centred)


def cells(world: str, settings: tuple, n: int, options: Options, **more) -> Iterator[Cell]:
    """A cell for each setting, axis and group of the axis; groups have seeds of their own."""
    for sampler, cfg, steps in settings[: 1 if options.quick else None]:
        for attribute in WORLDS[world].sides:
            for group in axis_of(world, attribute).groups[: 1 if options.quick else None]:
                more["seed"] = (options.seed or SEED) + 100_000 * WORLDS[world].groups.index(group)
                more["steps"] = 4 if options.quick else steps
                yield Cell(attribute, group, world, n=options.count(n), sampler=sampler, cfg=cfg, **more)


def learned(options: Options, settings: tuple, world: str, n: int = 100, **more) -> Iterator[Row]:
    """A learned preference."""
    yield from map(measure, cells(world, settings, n, options, **more))


ASKED_ELSEWHERE = (
    *(("Euler", cfg, 16) for cfg in (1.0, 4.0, 9.0)),
    *(("Euler", 7.0, steps) for steps in (6, 30)),
    ("UniPC", 7.0, 16),
)
NOISY = (("LCM", 1.0, 4), ("Euler ancestral", 7.0, 16), ("DPM++ 2M SDE", 7.0, 16))  # these add noise at each step


def any_checkpoint(options: Options, settings: tuple, world: str = "miniature", **more) -> Iterator[Row]:
    """A preference that asks the model, without learning or calibration."""
    yield from map(measure, cells(world, settings, 100, options, asks=True, **more))


FLOW = tuple(("Euler", cfg, steps) for steps in (16, 28) for cfg in (1.0, 2.0, 4.0, 7.0))
FLOW_MULTISTEP = tuple(("DPM++ 2M", cfg, 16) for cfg in (1.0, 2.0, 4.0, 7.0))
FLOW_TURBO = (("Euler", 1.0, 4), ("Euler", 1.0, 8))
FLOW_ELSEWHERE = (
    *(("Euler", cfg, 16) for cfg in (1.0, 4.0)),
    ("Euler", 7.0, 28),
    *(("DPM++ 2M", cfg, 16) for cfg in (2.0, 7.0)),
)


def flow(options: Options, settings: tuple, world: str) -> Iterator[Row]:
    """The same with a flow model, and what it costs."""
    for cell in cells(world, settings, 200, options, asks=True):
        row, prompts = measure(cell), WORLDS[world].prompts(cell.group, cell.n)
        yield replace(row, figures=row.figures | evaluations_of(cell, prompts))


def evaluations(options: Options) -> Iterator[Row]:
    """Evaluations of the UNet in a run that asks the model, over those of the plain run."""
    settings = tuple(("Euler", cfg, steps) for steps in (16, 30) for cfg in (7.0, 1.0))
    ways = [cells("miniature", settings, 8, options, asks=True, thrifty=thrifty) for thrifty in (False, True)]
    for cell in chain(*ways):
        if cell.group == "Orvane" and cell.axis == "backdrop":
            yield cell.row(evaluations_of(cell, WORLDS[cell.world].prompts(cell.group, cell.n)))


def evaluations_of(cell: Cell, prompts: list[str]) -> dict[str, Estimate]:
    return {"evaluations over plain": studio_of(cell.world).evaluations_over_plain(cell, prompts)}


def targets(
    options: Options, world: str = "miniature", settings: tuple = CALIBRATED, shares: tuple = (0.25, 0.5, 0.75), **more
) -> Iterator[Row]:
    """Shares of counter pictures at lower targets."""
    for target in shares:
        yield from map(measure, cells(world, settings, 96, options, target=target, **more))


def asked(options: Options, world: str = "miniature", settings: tuple = CALIBRATED, **more) -> Iterator[Row]:
    """What prompts ask for, and prompts that name nobody of the axis' groups: bit-identical or not."""
    for cell in cells(world, settings, 50, options, **more):
        for value in WORLDS[world].asking[cell.axis]:
            yield measure(replace(cell, asked=value))
        groups = cell.preferences[0].axis.groups
        if cell.group == groups[0]:
            prompts = WORLDS[world].out_of_scope(groups, cell.axis)[: 2 if options.quick else None]
            drawn = [studio_of(world).latents(cell, prompts, corrects) for corrects in (False, True)]
            yield replace(cell, group="").row({"out of scope": share(map(torch.equal, *drawn))})


def pictures(options: Options) -> Iterator[Row]:
    """img2img and inpainting from pictures with the stereotype, of seeds that no other part draws.

    Otherwise the correction would find the start among its own pictures, and keep what it decided there.
    """
    for cell in cells("miniature", CALIBRATED[1:], 48, options):
        if cell.axis == "backdrop":
            for inpainting in (False, True):
                for denoise in (0.3, 0.5, 0.7, 0.9):
                    yield measure(replace(cell, seed=cell.seed + 50_000, denoise=denoise, inpainting=inpainting))


def two_axes(options: Options) -> Iterator[Row]:
    """Each preference by itself and both together, for the groups of both axes: each axis is measured."""
    attributes = tuple(WORLDS["miniature"].sides)
    for cell in cells("miniature", CALIBRATED, 96, options):
        if all(cell.group in preference_of("miniature", attribute).axis.groups for attribute in attributes):
            for correct in (*((attribute,) for attribute in attributes), attributes):
                yield measure(replace(cell, correct=correct))


def derivatives(options: Options) -> Iterator[Row]:
    """The shipped preferences on derivatives of the miniature, as they are and calibrated again."""
    for derivative in ("print", "rates"):
        for calibrated in (False,) if options.quick else (False, True):
            for cell in cells("miniature", CALIBRATED, 56, options, derivative=derivative, calibrated=calibrated):
                for target in (1.0, 0.5):
                    yield measure(replace(cell, target=target))


PARTS = {
    "samplers": lambda options: learned(options, CALIBRATED, "miniature", 200),
    "samplers-elsewhere": lambda options: learned(options, ELSEWHERE, "miniature"),
    "samplers-scales": lambda options: learned(options, OTHER_SCALES, "miniature"),
    "any-checkpoint": lambda options: any_checkpoint(options, CALIBRATED),
    "any-checkpoint-elsewhere": lambda options: any_checkpoint(options, ASKED_ELSEWHERE),
    "any-checkpoint-noisy": lambda options: any_checkpoint(options, NOISY),
    "any-checkpoint-targets": lambda options: targets(options, asks=True),
    "any-checkpoint-second-world": lambda options: any_checkpoint(options, CALIBRATED, "second"),
    "any-checkpoint-elsewhere-second-world": lambda options: any_checkpoint(options, ASKED_ELSEWHERE, "second"),
    "any-checkpoint-noisy-second-world": lambda options: any_checkpoint(options, NOISY, "second"),
    "any-checkpoint-asked": lambda options: asked(options, asks=True, gated=True),
    "any-checkpoint-thrifty": lambda options: any_checkpoint(options, CALIBRATED[1:], thrifty=True),
    "flow": lambda options: flow(options, FLOW, "flow"),
    "flow-multistep": lambda options: flow(options, FLOW_MULTISTEP, "flow"),
    "flow-targets": lambda options: targets(options, "flow", shares=(0.5,), asks=True),
    "flow-asked": lambda options: asked(options, "flow", asks=True, gated=True),
    "flow-turbo": lambda options: flow(options, FLOW_TURBO, "flow-turbo"),
    "flow-learned": lambda options: learned(options, CALIBRATED, "flow", 200),
    "flow-learned-elsewhere": lambda options: learned(options, FLOW_ELSEWHERE, "flow", 24),
    "flow-learned-targets": lambda options: targets(options, "flow", shares=(0.5,)),
    "flow-learned-asked": lambda options: asked(options, "flow"),
    "flow-turbo-learned": lambda options: learned(options, FLOW_TURBO, "flow-turbo"),
    "flow-turbo-learned-targets": lambda options: targets(options, "flow-turbo", FLOW_TURBO, (0.5,)),
    "flow-turbo-learned-asked": lambda options: asked(options, "flow-turbo", FLOW_TURBO),
    "flow-turbo-learned-as-is": lambda options: learned(options, FLOW_TURBO, "flow-turbo", calibrated_on="flow"),
    "evaluations": evaluations,
    "targets": targets,
    "asked": asked,
    "pictures": pictures,
    "two-axes": two_axes,
    "derivatives": derivatives,
    "second-world": lambda options: learned(options, CALIBRATED, "second", 200),
    "second-world-elsewhere": lambda options: learned(options, ELSEWHERE, "second"),
    "second-world-scales": lambda options: learned(options, OTHER_SCALES, "second"),
    "second-world-targets": lambda options: targets(options, "second"),
    "second-world-asked": lambda options: asked(options, "second"),
}
