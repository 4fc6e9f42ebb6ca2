"""What happens to a diffusers pipeline inside `corrected(...)`.

Each call of a pipeline starts with `encode_prompt`. Then come `scheduler.add_noise` if it starts from a picture,
`scheduler.step` for each model output, and `maybe_free_model_hooks` at the end. The block replaces these methods on the
objects and puts them back; components, weights and settings are never changed.
"""

from __future__ import annotations

import functools
import inspect
import logging
import math
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch

from ..correction.run import Run
from ..correction.thinning import coins_from_noise
from ..correction.update import CorrectionError, Settings
from ..preference.preference import Preference
from ..preference.text import Text
from .asking import AskedPipeline
from .pipelines import checkpoint_of
from .replaced_method import ReplacedMethod
from .schedulers import check_scheduler, denoised_of, has_finished, noise_level
from .unet_arguments import arguments_of

if TYPE_CHECKING:
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

LOG = logging.getLogger("rs_corrector")


class Thread(threading.local):
    runs: tuple[PipelineRun, ...] = ()  # whose blocks this thread is in, the outermost first


THREAD = Thread()


class PipelineRun:
    """What was done inside a block: a `correction.run.Run` for each call of the pipeline, in order."""

    def __init__(
        self, pipe: DiffusionPipeline, preferences: Sequence[Preference], settings: Settings, seed: int, use_gate: bool
    ):
        self.pipe = pipe
        self.settings = settings
        self._preferences = preferences
        self._seed = seed
        self._use_gate = use_gate
        self._runs: list[Run] = []
        self._run: Run | None = None  # of the call that is in progress, from its first step
        self._scheduler: Any = None  # of the call that is in progress
        self._asked: AskedPipeline | None = None  # of the call that is in progress, if a preference asks the model
        self._replaced = False  # whether the UNet's last evaluation was for the counter side's prompts
        self._hooks = ExitStack()

    def report(self) -> str:
        """What was done in all calls of the pipeline, a line a call and preference."""
        lines = [line for run in self._runs for line in run.report()]
        if not lines and self.settings.off:
            return "Nothing was corrected: the strength is 0."
        if not lines:
            return (
                f"Nothing was corrected: the {type(self.pipe).__name__} that was given to corrected(...) made no "
                "picture in this block. Another pipeline with the same components is not corrected; give that one to "
                "corrected(...)."
            )
        return "\n".join(lines)

    @property
    def reasons(self) -> list[list[str]]:
        """For each preference and picture of all calls, why it was left alone, or "" if it was corrected."""
        columns = [run.reasons for run in self._runs if run.reasons]
        return [list(chain(*column)) for column in zip(*columns, strict=True)]

    def outcomes(self) -> list[str]:
        """One text per picture of all calls, also of those that were interrupted."""
        return [outcome for run in self._runs for outcome in run.outcomes()]

    def results(self) -> list[str]:
        """What the pictures of each call show, for each axis about which the model was asked: "a village: 4 -> 0 of 4",
        by its own verdict on plain previews and on the pictures.
        """
        return [text for run in self._runs for text, _ in run.results()]

    def replace(self, stack: ExitStack) -> None:
        """Replace the pipeline's methods until an ExitStack is closed."""
        stack.enter_context(ReplacedMethod(self.pipe, "encode_prompt", self._encode_prompt))
        stack.enter_context(ReplacedMethod(self.pipe, "maybe_free_model_hooks", self._maybe_free_model_hooks))
        if hasattr(self.pipe, "prepare_mask_latents"):
            stack.enter_context(ReplacedMethod(self.pipe, "prepare_mask_latents", self._prepare_mask_latents))

    def end_call(self) -> None:
        """A call of the pipeline is over, or was interrupted."""
        self._hooks.close()
        run, self._run = self._run, None
        self._scheduler = self._asked = None
        if run:
            run.finish(self._made)
            for line in run.report():
                LOG.info("%s", line)

    def _encode_prompt(self, original, *args, **kwargs):
        """The start of a call -> (token vectors [B, T, W], one row a picture; ...)."""
        self.end_call()
        scheduler = self.pipe.scheduler
        check_scheduler(scheduler)
        encoded = original(*args, **kwargs)
        for run in THREAD.runs:  # this call may start from their pictures
            if run._scheduler is scheduler:
                run.end_call()
            elif run._run:
                run._run.finish(run._made)
        self._start = self._noise = self._repainted = self._made = self._output = self._asked = None
        self._replaced = False
        self._prompts = [[row[None]] for row in encoded[0].detach()]
        self._scheduler = scheduler
        self._hooks.enter_context(ReplacedMethod(scheduler, "step", self._step))
        self._hooks.enter_context(ReplacedMethod(scheduler, "add_noise", self._add_noise))
        # A function, which a copy of the UNet shares; a method would be copied, with all that it belongs to.
        hook = self.pipe.unet.register_forward_hook(lambda unet, _, output: self._seen(unet, output))
        self._hooks.callback(hook.remove)
        if any(isinstance(preference.source, Text) for preference in self._preferences):
            signature = inspect.signature(getattr(type(self.pipe), "encode_prompt"))  # noqa: B009
            arguments = signature.bind(self.pipe, *args, **kwargs).arguments
            self._asked = AskedPipeline(self.pipe, original, arguments, encoded)
            before = self.pipe.unet.register_forward_pre_hook(
                lambda unet, args, kwargs: self._before_unet(unet, args, kwargs), with_kwargs=True
            )
            self._hooks.callback(before.remove)
        return encoded

    def _before_unet(self, unet, args, kwargs):
        """The UNet's arguments with the counter side's prompts, where that is all there is to ask; else None."""
        asked = self._asked
        if asked is None or asked.aside or unet is not self.pipe.unet:
            return None
        asked.call, self._replaced = arguments_of(args, kwargs), False
        replacement = None
        if self._run and asked.is_own:
            sigma, _ = noise_level(self._scheduler, asked.call["timestep"])
            replacement = self._run.replacement(*asked.exploding(sigma))
        changed = asked.replaced(*replacement) if replacement else None
        self._replaced = changed is not None
        return changed and ((), changed)

    def _maybe_free_model_hooks(self, original):
        self.end_call()
        return original()

    def _add_noise(self, original, original_samples, noise, timesteps):
        if self._run is None:
            self._start, self._noise = original_samples, noise
        return original(original_samples, noise, timesteps)

    def _prepare_mask_latents(self, original, *args, **kwargs):
        """-> (mask [B or 2B, 1, H, W], 1 where the picture is repainted; latents of the masked picture)."""
        prepared = original(*args, **kwargs)
        if self._scheduler:
            self._repainted, masked = (part if part is None else part[-len(self._prompts) :] for part in prepared)
            self._start = masked if self._start is None else self._start
        return prepared

    def _seen(self, unet, output):
        """The output of the UNet: a row for each picture without CFG, with it those of the negative prompts before."""
        if unet is self.pipe.unet and not (self._asked and self._asked.aside):
            self._output = output[0]

    def _step(self, original, model_output, timestep, sample, *args, **kwargs):
        stepped = original(self._correct(model_output, timestep, sample), timestep, sample, *args, **kwargs)
        self._made = stepped[0]
        if self._asked and self._run:
            if has_finished(self._scheduler, timestep):
                stepped = self._finished(stepped)
            self._asked.call = {}  # it holds tensors of the UNet
        return stepped

    def _finished(self, stepped):
        """What the last step returned, with the skin tone of plain pictures."""
        made = self._made
        assert self._run is not None and made is not None  # noqa: S101
        self._run.judge(made)
        self._made = self._run.finished(made)
        if isinstance(stepped, tuple):  # LCM pipelines take the second one, which is the same tensor at the end
            return tuple(self._made if part is made else part for part in stepped)
        stepped["prev_sample"] = self._made
        return stepped

    def _correct(self, output, timestep, sample):
        """The corrected model output after CFG [B, C, H, W]; pictures that are left alone keep their bits."""
        sigma, alpha = noise_level(self._scheduler, timestep)
        if self._run is None:
            self._run = self._begin(timestep, sample)
            self._runs.append(self._run)
            self._shape = sample.shape
        if sample.shape != self._shape:
            raise CorrectionError(
                f"The latents changed from {list(self._shape)} to {list(sample.shape)} in the middle of a run, which "
                "RS-Corrector does not support; remove the callback that changes them."
            )
        x, prediction = sample.float() / alpha, self._scheduler.config.prediction_type
        levels = torch.full((len(x),), sigma, device=x.device)
        denoised = functools.partial(denoised_of, self._scheduler, x=x, sigma=levels)

        guided = self.pipe.do_classifier_free_guidance
        # Without a forward hook, as in a UNet that was compiled in place, the prediction after CFG stands in.
        prompted = output if self._output is None else self._output.split(len(x))[int(guided)]
        cfg = self.pipe.guidance_scale if guided else 1.0
        predictions = denoised(prompted), lambda: denoised(output)
        change = self._run.change(x, levels, cfg, *predictions, None, self._replaced)
        if change is None:
            return output
        unit = {"sample": 1.0, "epsilon": -1 / sigma, "v_prediction": -math.sqrt(sigma**2 + 1) / sigma}[prediction]
        return torch.where(change != 0, (output.float() + unit * change).to(output.dtype), output)

    @functools.cached_property
    def _model(self):
        """The identity of the pipeline's model, as in calibrations; "" if that takes long, or a part is missing."""
        offloaded = any(parameter.is_meta for parameter in self.pipe.unet.parameters())  # each would be loaded
        return "" if offloaded or self.pipe.text_encoder is None else checkpoint_of(self.pipe)

    def _begin(self, timestep, sample):
        """The Run of a call, at its first step."""
        if len(sample) != len(self._prompts):
            raise CorrectionError(
                f"The pipeline samples {len(sample)} pictures from {len(self._prompts)} prompts; give latents and "
                "prompts of the same number, counting num_images_per_prompt."
            )
        start = self._start
        if start is None and timestep != self._scheduler.timesteps[0]:
            start = sample  # another pipeline sampled the steps before (denoising_end and denoising_start)
        mask = self.settings.mask
        masks = 1 if mask is None or mask.ndim == 2 else len(mask)
        if masks not in (1, len(sample)):
            raise CorrectionError(
                f"There are {masks} masks for {len(sample)} pictures; give one for all, or one for each picture."
            )
        coins = coins_from_noise(sample if self._noise is None else self._noise, self._seed)
        # No `context`: the calls in a block are not one job, and may start from pictures that have nothing in common.
        return Run(
            self._preferences, self.settings, coins, self._prompts, start=start, repainted=self._repainted,
            use_gate=self._use_gate, asks=self._asked, steps=len(self._scheduler.timesteps), model=lambda: self._model,
        )  # fmt: skip
