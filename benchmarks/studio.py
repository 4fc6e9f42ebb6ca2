"""A cell of settings, and the pictures that a drawn world's model makes in it, plain and corrected."""

from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from typing import Any

import diffusers
import numpy as np
import torch
from torch import Tensor, nn

import corrector
from benchmarks.measuring import number
from benchmarks.records import ROOT, Estimate, Row
from benchmarks.worlds import WORLDS
from corrector.axis.axis import Axis, load_axis
from corrector.hosts.diffusers import corrected
from corrector.miniature.flow_host import FlowMiniature
from corrector.miniature.flow_model import SHIFT
from corrector.preference.file import load_preference
from corrector.preference.preference import Preference
from corrector.preference.text import Text

SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "Euler": ("EulerDiscreteScheduler", dict(use_karras_sigmas=True)),
    "Euler ancestral": ("EulerAncestralDiscreteScheduler", {}),
    "DPM++ 2M": ("DPMSolverMultistepScheduler", dict(use_karras_sigmas=True)),
    "DPM++ 2M SDE": ("DPMSolverMultistepScheduler", dict(use_karras_sigmas=True, algorithm_type="sde-dpmsolver++")),
    "DDIM": ("DDIMScheduler", dict(clip_sample=False)),  # as in SD's own configuration
    "UniPC": ("UniPCMultistepScheduler", dict(use_karras_sigmas=True)),
    "LCM": ("LCMScheduler", {}),
}
FLOW_SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "Euler": ("FlowMatchEulerDiscreteScheduler", {}),
    "DPM++ 2M": (
        "DPMSolverMultistepScheduler",
        dict(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=SHIFT),
    ),
}
BATCH = 50
SHARE_BATCH = 8  # pictures in a batch that has a target share
PICTURE_SIZE = 128  # of the miniature
PERSON = (slice(24, None), slice(32, 96))  # rows and columns of a picture that inpainting keeps
ALWAYS_TOLD = ("axis", "group", "sampler", "cfg", "steps")


@dataclass(frozen=True)
class Cell:
    """One setting.

    Args:
        axis: the attribute that is measured.
        group: that the prompts name.
        correct: attributes whose preferences correct together; `axis` alone if empty.
        asked: value of the attribute that the prompts ask for, or "".
        denoise: below 1, img2img from a picture with the stereotype.
        inpainting: img2img that draws all but the face and the body again.
        derivative: name of the LoRA that changes the miniature, or "".
        calibrated: the preference is calibrated on the derivative.
        learned: name of a file in runs/ with the preference that corrects, in place of the usual one.
        calibrated_on: the world whose model the preference was calibrated on, if it is another one.
        asks: the preference asks the model, without learning or calibration; and without a gate, where pictures are not
            `gated`.
        gated: it has the gate that is trained at once for users.
        thrifty: it asks as little as possible.
        n: corrected pictures.
        seed: of the first picture.
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
    learned: str = ""
    calibrated_on: str = ""
    asks: bool = False
    gated: bool = False
    thrifty: bool = False
    n: int = 100
    seed: int = 0

    @property
    def preferences(self) -> list[Preference]:
        if self.learned:
            return [load_preference(ROOT / "runs" / f"{self.learned}.safetensors")]
        names = self.correct or (self.axis,)
        if self.asks:
            return [Preference(axis_of(self.world, name), "any", Text(), name=name) for name in names]
        derivative = self.derivative if self.calibrated else ""
        return [preference_of(self.calibrated_on or self.world, name, derivative) for name in names]

    def row(self, figures: dict[str, Estimate]) -> Row:
        """Figures with the settings that are not the defaults."""
        defaults = {field.name: field.default for field in fields(self)}
        settings = {k: v for k, v in asdict(self).items() if k in ALWAYS_TOLD or v != defaults[k]}
        settings.pop("n", None)
        settings |= {"correct": " and ".join(self.correct)} if self.correct else {}
        return Row({name: value for name, value in settings.items() if name != "seed"}, figures, self.seed)


@dataclass(frozen=True)
class Pictures:
    """Latents [N, C, H, W] with what the reader sees: labels of the attribute and the group, and lightness of skin."""

    latents: Tensor
    labels: list[str]
    groups: list[str]
    lightness: np.ndarray

    def first(self, n: int) -> "Pictures":
        return Pictures(self.latents[:n], self.labels[:n], self.groups[:n], self.lightness[:n])


def axis_of(world: str, attribute: str) -> Axis:
    return load_axis(ROOT / WORLDS[world].axes.format(attribute))


@cache
def preference_of(world: str, attribute: str, derivative: str = "") -> Preference:
    """The shipped preference, or one that is made with the world's model and kept in runs/; maybe recalibrated."""
    if derivative:
        return corrector.calibrate(studio_of(world, derivative).host, preference_of(world, attribute))
    name = f"{world}-{attribute}.safetensors"
    for folder in ("weights", "runs"):
        if (ROOT / folder / name).is_file():
            return load_preference(ROOT / folder / name)
    host, learned_on = studio_of(world).host, WORLDS[world].learned_on
    learned = preference_of(learned_on, attribute) if learned_on else corrector.learn(host, axis_of(world, attribute))
    preference = corrector.calibrate(host, learned)
    (ROOT / "runs").mkdir(exist_ok=True)
    corrector.save_preferences([preference], ROOT / "runs" / name)
    return preference


class Studio:
    """Draws and reads the pictures of a world's model; what was drawn once is kept."""

    def __init__(self, world: str, derivative: str):
        lora = ROOT / "weights" / "miniature-derivatives" / f"miniature-{derivative}.safetensors"
        self.world = WORLDS[world]
        self.host = self.world.host(lora=lora) if derivative else self.world.host()
        self.schedule = self.host.pipe.scheduler.config
        self.drawn: dict[tuple, tuple[Tensor, float]] = {}  # with the evaluations of the network a picture
        self.rows = 0  # of the network's evaluations
        flow = isinstance(self.host, FlowMiniature)
        self.samplers = FLOW_SAMPLERS if flow else SAMPLERS
        network = self.host.transformer if flow else self.host.unet
        network.register_forward_hook(self._count)

    def _count(self, network: nn.Module, inputs: tuple, output: Any) -> None:
        self.rows += len(output[0])

    def pictures(self, cell: Cell, prompts: list[str], corrects: bool) -> Pictures:
        latents = self.latents(cell, prompts, corrects)
        decoded = self.decode(latents)
        labels = self.host.reader.read(decoded)
        return Pictures(latents, labels[cell.axis], labels["group"], self.world.lightness(decoded))

    def decode(self, latents: Tensor) -> Tensor:
        return torch.cat([self.host.decode(part) for part in latents.split(BATCH)])

    def latents(self, cell: Cell, prompts: list[str], corrects: bool) -> Tensor:
        """Latents [N, C, H, W] on the CPU, in bfloat16 by autocast; seeds count from the cell's first."""
        return self._drawn(cell, prompts, corrects)[0]

    def evaluations_over_plain(self, cell: Cell, prompts: list[str]) -> Estimate:
        """Evaluations of the network in corrected runs, over those in plain ones."""
        corrected, plain = (self._drawn(cell, prompts, corrects)[1] for corrects in (True, False))
        return number(corrected / plain, len(prompts))

    def _drawn(self, cell, prompts, corrects):
        source = cell.calibrated, cell.learned, cell.calibrated_on, cell.asks, cell.thrifty
        how = (cell.correct or cell.axis, cell.target, *source) if corrects else ()
        key = (cell.sampler, cell.cfg, cell.steps, cell.denoise, cell.inpainting, cell.seed, tuple(prompts), how)
        if key not in self.drawn:
            batch, self.rows = SHARE_BATCH if cell.target < 1 else BATCH, 0
            parts = range(0, len(prompts), batch)
            batches = [self._batch(cell, prompts[i : i + batch], cell.seed + i, corrects) for i in parts]
            self.drawn[key] = torch.cat(batches), self.rows / len(prompts)
        return self.drawn[key]

    def starts(self, cell: Cell, n: int, seed: int) -> Tensor:
        """Pictures [N, 3, H, W] in -1..1 of prompts that ask for the stereotype."""
        whole = replace(cell, denoise=1.0, inpainting=False, seed=seed)
        prompts = self.world.prompts(cell.group, n, cell.axis, self.world.sides[cell.axis][0])
        return self.decode(self.latents(whole, prompts, False))

    def _batch(self, cell: Cell, prompts: list[str], seed: int, corrects: bool) -> Tensor:
        pipe, seeds = self.host.pipe, range(seed, seed + len(prompts))
        call: dict[str, Any] = dict(latents=self.host.noise(seeds), generator=torch.Generator().manual_seed(seed))
        if cell.denoise < 1:
            task = "Inpaint" if cell.inpainting else "Img2Img"
            pipe = getattr(diffusers, f"StableDiffusion{task}Pipeline")(
                **pipe.components, requires_safety_checker=False
            )
            call = dict(image=(self.starts(cell, len(prompts), seed) + 1) / 2, strength=cell.denoise)
            call["generator"] = [torch.Generator().manual_seed(each) for each in seeds]
        if cell.inpainting:
            mask = torch.ones(len(prompts), 1, PICTURE_SIZE, PICTURE_SIZE)
            mask[(..., *PERSON)] = 0
            call |= dict(mask_image=mask, height=PICTURE_SIZE, width=PICTURE_SIZE)
        scheduler, options = self.samplers[cell.sampler]
        pipe.scheduler = getattr(diffusers, scheduler).from_config(self.schedule, **options)
        pipe.set_progress_bar_config(disable=True)
        call |= dict(guidance_scale=cell.cfg, num_inference_steps=cell.steps, output_type="latent")
        strength = float(corrects)  # 0 replaces nothing
        given = [preference.axis if cell.gated else preference for preference in cell.preferences]
        correction = corrected(pipe, given, strength, cell.target, thrifty=cell.thrifty)
        with torch.autocast("cpu", torch.bfloat16), correction:
            return pipe(prompt=prompts, **call).images.float()


@cache
def studio_of(world: str, derivative: str = "") -> Studio:
    return Studio(world, derivative)
