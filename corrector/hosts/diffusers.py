"""Corrects the pictures of a diffusers pipeline inside a `with` block."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from ..correction.update import CorrectionError, Settings
from .components import PipelineTexts
from .given import Given, preferences_of
from .pipeline_run import THREAD, PipelineRun
from .pipelines import check_pipeline, check_preferences
from .replaced_method import ReplacedMethod

if TYPE_CHECKING:
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline


@contextmanager
def corrected(
    pipe: DiffusionPipeline,
    preferences: Given | Iterable[Given],
    strength: float | Tensor = 1.0,
    target: float = 1.0,
    start: float = 0.0,
    end: float = 1.0,
    cap: float | None = None,
    mask: Image | Tensor | None = None,
    seed: int = 0,
    use_gate: bool = True,
    verdict: bool = True,
    thrifty: bool = False,
) -> Iterator[PipelineRun]:
    """Corrects the pictures that a pipeline makes inside the block, which is given a PipelineRun.

        with corrected(pipe, "mine.safetensors", target=0.8) as run:
            images = pipe("a portrait of ...", num_images_per_prompt=4).images
        print(run.report())

    Raises CorrectionError or PreferenceError if the preferences or the scheduler do not fit the pipeline, and
    PreferenceFileError if a file cannot be read.

    Args:
        pipe: a pipeline for Stable Diffusion 1.5, 2.x or XL: text to image, img2img, inpaint or ControlNet; or one of
            `families.FAMILIES`: text to image with SD3, Flux.1, Z-Image, Qwen-Image, Lumina 2, Sana or PixArt.
        preferences: what corrects, or several of them: a Preference, the path of a preference file; or, to ask the
            pipe's own model without learning, an Axis, the name of a shipped one or the path of an axis file (.json).
        strength: 0 is off, exactly; 1 is as calibrated. A number, or [B] with one for each picture.
        target: wanted share of counter pictures, in (0, 1].
        start, end: part of the sampling in which the correction acts, 0 to 1.
        cap: most RMS change of a picture in one step, in latent units, or None.
        mask: where to correct: a PIL image (white), or a tensor [H, W], [B, H, W] or [B, 1, H, W] in 0..1; any size.
        seed: another draw of which pictures a target below 1 corrects.
        use_gate: False corrects every picture, whatever its prompt.
        verdict: whether the model that is asked also says what the finished pictures show, for `results`.
        thrifty: whether it is asked as little as possible: a run of 20 steps takes a fifth longer in place of half as
            long again, but skin is kept less exactly, and there is no verdict.
    """
    check_pipeline(pipe)
    preferences = preferences_of(preferences, functools.partial(PipelineTexts, pipe))
    check_preferences(pipe, preferences)
    if isinstance(pipe.encode_prompt, ReplacedMethod) and pipe.encode_prompt.owner is pipe:
        raise CorrectionError("This pipeline is corrected already; give all preferences to the first `corrected(...)`.")
    if not 0 <= start < end <= 1:
        raise CorrectionError(f"The correction starts at {start} and ends at {end}; use 0 <= start < end <= 1.")
    if isinstance(mask, Image):
        mask = torch.from_numpy(np.asarray(mask.convert("L")) / 255)
    settings = Settings(strength, target, mask=mask, cap=cap, verdict=verdict, thrifty=thrifty)
    outer = THREAD.runs
    run = PipelineRun(pipe, preferences, settings, seed, use_gate, (start, end))
    THREAD.runs = (*outer, run)
    try:
        with ExitStack() as replaced:
            if not run.settings.off:
                run.replace(replaced)
            yield run
    finally:
        THREAD.runs = outer
        run.end_call()
