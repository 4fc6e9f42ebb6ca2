"""The correction where people work: cells of CFG scale, steps, sampler, target share, start picture and derivative.

Through diffusers' own pipelines and schedulers, with wordings that no training saw. Corrected pictures are measured
beside the plain ones of the same seeds, and beside those of prompts that ask for the counter side.

A distance is the Frechet distance of 64 pooled latent features to counter-prompt pictures, over that of the plain
pictures. Those are weighed so that their mean lightness of skin is the plain pictures', which is what the correction
aims at. "If fine pictures stay" is that of the plain pictures if only those with the stereotype are replaced by the
counter prompts': nothing that leaves fine pictures as they are can be much nearer.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache

import diffusers
import numpy as np
import torch

import corrector
from benchmarks.measuring import Options, mean, number, share
from benchmarks.records import ROOT, Estimate, Row
from benchmarks.worlds import WORLDS, World
from corrector.auditing.statistics import latent_change
from corrector.latents.statistics import features, frechet
from corrector.preference.preference import Preference

SAMPLERS = {
    "Euler": ("EulerDiscreteScheduler", dict(use_karras_sigmas=True)),
    "Euler ancestral": ("EulerAncestralDiscreteScheduler", {}),
    "DPM++ 2M": ("DPMSolverMultistepScheduler", dict(use_karras_sigmas=True)),
    "DPM++ 2M SDE": ("DPMSolverMultistepScheduler", dict(use_karras_sigmas=True, algorithm_type="sde-dpmsolver++")),
    "DDIM": ("DDIMScheduler", dict(clip_sample=False)),  # as in SD's own configuration
    "UniPC": ("UniPCMultistepScheduler", dict(use_karras_sigmas=True)),
    "LCM": ("LCMScheduler", {}),
}
CALIBRATED = (("Euler", 2.0, 16), ("Euler", 7.0, 16))  # sampler, CFG scale, steps
ELSEWHERE = (
    *(("Euler", cfg, 16) for cfg in (1.0, 4.0, 9.0)),
    *(("Euler", 7.0, steps) for steps in (6, 8, 30, 50)),
    ("LCM", 1.0, 4),
    *((sampler, 7.0, 16) for sampler in ("Euler ancestral", "DPM++ 2M", "DPM++ 2M SDE", "DDIM", "UniPC")),
)
SHARES_BATCH = 8  # pictures in a batch that has a target share
BATCH = 50
PLAIN_PICTURES = 200  # at most, that are drawn plain and for counter prompts; the rate is of all
EFFECTIVE_SHARE = 0.1  # of counter-prompt pictures that weights must leave, as Kish's effective number
SEED = 150_000_000
PICTURE_SIZE = 128  # of the miniature
PERSON = (slice(24, None), slice(32, 96))  # rows and columns of a picture that inpainting keeps
LORAS = ROOT / "weights" / "miniature-derivatives"


@dataclass(frozen=True)
class Cell:
    """One setting.

    Args:
        axis: the attribute that is measured.
        group: that the prompts name.
        correct: attributes whose preferences correct together; `axis` alone if empty.
        asked: value of the attribute that the prompts ask for, or "".
        denoise: below 1, img2img from a picture with the stereotype.
        inpainting: that draws all but the face and the body again.
        derivative: name of the LoRA that changes the miniature, or "".
        calibrated: the preference is calibrated on the derivative.
        n: corrected pictures.
    """

    axis: str
    group: str
    world: str = "miniature"
    correct: tuple[str, ...] = ()
    sampler: str = "Euler"
    cfg: float = 7.0
    steps: int = 16
    target: float = 1.0
    asked: str = ""
    denoise: float = 1.0
    inpainting: bool = False
    derivative: str = ""
    calibrated: bool = False
    n: int = 100
    seed: int = SEED

    @property
    def preferences(self) -> list[Preference]:
        names = self.correct or (self.axis,)
        return [preference_of(self.world, name, self.derivative if self.calibrated else "") for name in names]

    def row(self, figures: dict[str, Estimate]) -> Row:
        """The settings that are not the usual ones, with axis, group, sampler, CFG scale and steps."""
        usual = Cell(self.axis, self.group, n=self.n, seed=self.seed)
        always = ("axis", "group", "sampler", "cfg", "steps")
        settings = {k: v for k, v in asdict(self).items() if k in always or v != getattr(usual, k)}
        settings["correct"] = " and ".join(self.correct)
        return Row({name: value for name, value in settings.items() if value != ""}, figures, self.seed)


@cache
def preference_of(world: str, attribute: str, derivative: str = "") -> Preference:
    """The shipped preference, or one that is learned from the world's model and kept in runs/; maybe recalibrated."""
    if derivative:
        return corrector.calibrate(studio_of(world, derivative).host, preference_of(world, attribute))
    path = ROOT / "weights" / f"{world}-{attribute}.safetensors"
    if not path.is_file():
        path = ROOT / "runs" / path.name
    if not path.is_file():
        host, axis = WORLDS[world].host(), ROOT / "benchmarks" / f"{world}_world" / "axis.json"
        learned = corrector.calibrate(host, corrector.learn(host, axis))
        path.parent.mkdir(exist_ok=True)
        corrector.save_preferences([learned], path)
    return corrector.load_preferences(path)[0]


class Studio:
    """Draws and reads the pictures of a world's model; what was drawn once is kept."""

    def __init__(self, world: World, derivative: str):
        options = {"lora": LORAS / f"miniature-{derivative}.safetensors"} if derivative else {}
        self.world = world
        self.host = world.host(**options)
        self.schedule = self.host.pipe.scheduler.config
        self.drawn: dict[tuple, torch.Tensor] = {}

    def latents(self, cell: Cell, prompts: list[str], corrects: bool) -> torch.Tensor:
        """Latents [N, C, H, W] on the CPU, in bfloat16 by autocast; seeds count from the cell's first."""
        correction = (cell.correct or cell.axis, cell.target, cell.calibrated) if corrects else ()
        key = (cell.sampler, cell.cfg, cell.steps, cell.denoise, cell.inpainting, cell.seed, tuple(prompts), correction)
        if key not in self.drawn:
            batch = SHARES_BATCH if cell.target < 1 else BATCH
            parts = range(0, len(prompts), batch)
            batches = [self._batch(cell, prompts[i : i + batch], cell.seed + i, corrects) for i in parts]
            self.drawn[key] = torch.cat(batches)
        return self.drawn[key]

    def _batch(self, cell: Cell, prompts: list[str], seed: int, corrects: bool) -> torch.Tensor:
        pipe = self.host.pipe
        if cell.denoise < 1:
            kind = "Inpaint" if cell.inpainting else "Img2Img"
            maker = getattr(diffusers, f"StableDiffusion{kind}Pipeline")
            pipe = maker(**self.host.pipe.components, requires_safety_checker=False)
            options = dict(image=(self.starts(cell, len(prompts), seed) + 1) / 2, strength=cell.denoise)
            options["generator"] = [torch.Generator().manual_seed(seed + i) for i in range(len(prompts))]
            if cell.inpainting:
                mask = torch.ones(len(prompts), 1, PICTURE_SIZE, PICTURE_SIZE)
                mask[(..., *PERSON)] = 0
                options |= dict(mask_image=mask, height=PICTURE_SIZE, width=PICTURE_SIZE)
        else:
            noise = self.host.noise(range(seed, seed + len(prompts)))
            options = dict(latents=noise, generator=torch.Generator().manual_seed(seed))
        name, scheduler_options = SAMPLERS[cell.sampler]
        pipe.scheduler = getattr(diffusers, name).from_config(self.schedule, **scheduler_options)
        pipe.set_progress_bar_config(disable=True)
        options |= dict(guidance_scale=cell.cfg, num_inference_steps=cell.steps, output_type="latent")
        strength = float(corrects)  # 0 replaces nothing
        with torch.autocast("cpu", torch.bfloat16), corrector.corrected(pipe, cell.preferences, strength, cell.target):
            return pipe(prompt=prompts, **options).images.float()

    def starts(self, cell: Cell, n: int, seed: int) -> torch.Tensor:
        """Pictures [N, 3, H, W] in -1..1 of prompts that ask for the stereotype."""
        stereotype = self.world.sides[cell.axis][0]
        whole = replace(cell, denoise=1.0, inpainting=False, seed=seed)
        prompts = self.world.prompts(cell.group, n, cell.axis, stereotype)
        return self.host.decode(self.latents(whole, prompts, False))

    def read(self, latents: torch.Tensor, attribute: str) -> tuple[list[str], list[str], np.ndarray]:
        """-> (labels of the attribute, labels of the group, lightness of skin)."""
        pictures = torch.cat([self.host.decode(part) for part in latents.split(BATCH)])
        labels = self.host.reader.read(pictures)
        return labels[attribute], labels["group"], self.world.lightness(pictures)


@cache
def studio_of(world: str, derivative: str = "") -> Studio:
    return Studio(WORLDS[world], derivative)


def measure(cell: Cell) -> Row:
    """The rate of all n pictures, and the other figures of at most PLAIN_PICTURES of them."""
    studio = studio_of(cell.world, cell.derivative)
    world = studio.world
    stereotype, counter_side = world.sides[cell.axis]
    few = min(cell.n, PLAIN_PICTURES)
    prompts = world.prompts(cell.group, cell.n, cell.axis, cell.asked)
    if cell.target < 1:  # batches of one prompt, as in UIs
        prompts = [prompts[i // SHARES_BATCH] for i in range(cell.n)]
    latents, plain = studio.latents(cell, prompts, True), studio.latents(cell, prompts[:few], False)
    labels, groups, lightness = studio.read(latents, cell.axis)
    plain_labels, _, plain_lightness = studio.read(plain, cell.axis)
    if cell.asked:
        obeyed = [label == cell.asked for label in plain_labels]
        kept = [label == cell.asked for label, obeys in zip(labels, obeyed, strict=False) if obeys]
        return cell.row({"asked for and kept": share(kept) if kept else number(0, 0)})
    wrong = {stereotype, "unreadable"}
    figures = {
        "plain": share(label in wrong for label in plain_labels),
        "corrected": share(label in wrong for label in labels),
        "group kept": share(group == cell.group for group in groups),
        "skin L* drift": mean(lightness[:few] - plain_lightness),
    }
    if cell.target < 1:
        reached = share(label not in wrong for label in labels)
        expected = max(cell.target, 1 - figures["plain"].value)  # a group that is above the target is left alone
        off = number(reached.value - expected, reached.n)
        return cell.row({"plain": figures["plain"], "counter share": reached, "share off target": off})
    if cell.derivative or cell.correct:
        return cell.row(figures)
    counter = studio.latents(cell, world.prompts(cell.group, few, cell.axis, counter_side), False)
    counter_labels, counter_groups, counter_lightness = studio.read(counter, cell.axis)
    figures["counter prompts"] = share(label in wrong for label in counter_labels)
    if cell.denoise < 1:
        start = world.lightness(studio.starts(cell, few, cell.seed))
        ways = {"plain": plain_lightness, "corrected": lightness[:few], "counter prompts": counter_lightness}
        return cell.row(figures | {f"skin L* over the start, {way}": mean(ways[way] - start) for way in ways})
    figures["group kept by counter prompts"] = share(group == cell.group for group in counter_groups)
    figures["skin L* drift of counter prompts"] = mean(counter_lightness - plain_lightness)
    fine = torch.tensor([label == counter_side for label in plain_labels])
    figures |= distances(plain, latents[:few], counter, fine, plain_lightness, counter_lightness)
    if fine.any():
        figures["change of fine pictures"] = mean(latent_change(plain[fine], latents[:few][fine], plain.std()))
    return cell.row(figures)


def distances(
    plain: torch.Tensor,
    corrected: torch.Tensor,
    counter: torch.Tensor,
    fine: torch.Tensor,
    plain_lightness: np.ndarray,
    counter_lightness: np.ndarray,
) -> dict[str, Estimate]:
    """Figures of latents [N, C, H, W] beside those of counter prompts; `fine` [N] are plain ones without stereotype."""
    n = len(plain)
    largest = [float(np.quantile(latents.abs(), 0.99)) for latents in (corrected, counter)]
    figures = {
        "spread": number(float(corrected.std() / counter.std()), n),
        "99th percentile": number(largest[0] / largest[1], n),
    }
    weights = tilted(counter_lightness, float(np.mean(plain_lightness)))
    if 1 / float(np.square(weights).sum()) > EFFECTIVE_SHARE * n:  # else the model hardly draws that tone
        replaced = torch.where(fine[:, None, None, None], plain, counter)
        far, near, least = (
            frechet(features(latents), features(counter), weights) for latents in (plain, corrected, replaced)
        )
        figures["distance"] = number(near / far, n)
        figures["distance if fine pictures stay"] = number(least / far, n)
    return figures


def tilted(values: np.ndarray, mean_value: float) -> np.ndarray:
    """Weights [N], exp(a * value) up to a factor, with which the mean of `values` [N] is as near as can be.

    They are those of the distribution nearest to the values' own that has this mean (exponential tilting).
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import softmax

    centred = (values - values.mean()) / max(float(values.std()), 1e-9)
    best = minimize_scalar(
        lambda a: (softmax(a * centred) @ values - mean_value) ** 2, bounds=(-4, 4), method="bounded"
    )
    return softmax(best.x * centred)


def cells(world: str, settings: tuple, n: int, options: Options, **more) -> Iterator[Cell]:
    """A cell for each setting, axis and group of the axis; groups have seeds of their own."""
    for sampler, cfg, steps in settings[: 1 if options.quick else None]:
        for attribute in WORLDS[world].sides:
            for group in preference_of(world, attribute).axis.groups[: 1 if options.quick else None]:
                seed = (options.seed or SEED) + 100_000 * WORLDS[world].groups.index(group)
                where = dict(sampler=sampler, cfg=cfg, steps=4 if options.quick else steps)
                yield Cell(attribute, group, world, n=options.count(n), seed=seed, **where, **more)


def samplers(options: Options, world: str = "miniature") -> Iterator[Row]:
    for settings, n in ((CALIBRATED, 1000), (ELSEWHERE, 100)):
        yield from map(measure, cells(world, settings, n, options))


def targets(options: Options, world: str = "miniature") -> Iterator[Row]:
    """Shares of counter pictures at lower targets."""
    for target in (0.25, 0.5, 0.75):
        yield from map(measure, cells(world, CALIBRATED, 200, options, target=target))


def asked(options: Options, world: str = "miniature") -> Iterator[Row]:
    """What prompts ask for, and prompts that name nobody of the axis' groups: bit-identical or not."""
    for cell in cells(world, CALIBRATED, 50, options):
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
    for cell in cells("miniature", CALIBRATED[1:], 50, options):
        if cell.axis == "backdrop":
            for inpainting in (False, True):
                for denoise in (0.3, 0.5, 0.7, 0.9):
                    yield measure(replace(cell, seed=cell.seed + 50_000, denoise=denoise, inpainting=inpainting))


def two_axes(options: Options) -> Iterator[Row]:
    """Each preference by itself and both together, for the groups of both axes: each axis is measured."""
    attributes = tuple(WORLDS["miniature"].sides)
    for cell in cells("miniature", CALIBRATED, 200, options):
        if all(cell.group in preference_of("miniature", attribute).axis.groups for attribute in attributes):
            for correct in (*((attribute,) for attribute in attributes), attributes):
                yield measure(replace(cell, correct=correct))


def derivatives(options: Options) -> Iterator[Row]:
    """The shipped preferences on derivatives of the miniature, as they are and calibrated again."""
    for derivative in ("print", "rates"):
        for calibrated in (False,) if options.quick else (False, True):
            for cell in cells("miniature", CALIBRATED, 104, options, derivative=derivative, calibrated=calibrated):
                for target in (1.0, 0.5):
                    yield measure(replace(cell, target=target))


PARTS = {
    "samplers": samplers,
    "targets": targets,
    "asked": asked,
    "pictures": pictures,
    "two-axes": two_axes,
    "derivatives": derivatives,
    "second-world": lambda options: samplers(options, "second"),
    "second-world-targets": lambda options: targets(options, "second"),
    "second-world-asked": lambda options: asked(options, "second"),
}
