"""What happens to a diffusers pipeline inside `corrected(...)`.

Each call of a pipeline starts with `encode_prompt`, twice if Flux or Qwen-Image have a negative prompt. Then come
`scheduler.add_noise` if it starts from a picture, `scheduler.step` for each output after CFG, and
`maybe_free_model_hooks` at the end. The block replaces these methods on the objects and puts them back; components,
weights and settings are never changed.
"""

from __future__ import annotations

import functools
import inspect
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch

from ..correction.run import Run
from ..correction.thinning import coins_from_noise
from ..correction.update import CorrectionError, Settings
from ..preference.preference import Preference
from ..preference.text import Text
from .asking import AskedPipeline, pictures_of, texts_of
from .components import spoken
from .evaluations import Evaluations
from .families import STABLE_DIFFUSION, denoiser_of, family_of
from .pipelines import checkpoint_of
from .replaced_method import ReplacedMethod
from .schedulers import check_scheduler, denoised_of, has_finished, noise_level, output_unit, window_of

if TYPE_CHECKING:
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline
    from torch.utils.hooks import RemovableHandle

LOG = logging.getLogger("rs_corrector")


class Thread(threading.local):
    runs: tuple[PipelineRun, ...] = ()  # whose blocks this thread is in, the outermost first


THREAD = Thread()


class PipelineRun:
    """What was done inside a block: a `correction.run.Run` for each call of the pipeline, in order."""

    def __init__(
        self, pipe: DiffusionPipeline, preferences: Sequence[Preference], settings: Settings, seed: int, use_gate: bool,
        part: tuple[float, float] = (0.0, 1.0),
    ):  # fmt: skip
        self.pipe = pipe
        self.family = family_of(pipe)
        self.settings = settings
        self.part = part  # of the sampling, in which the correction acts
        self._preferences = preferences
        self._seed = seed
        self._use_gate = use_gate
        self._runs: list[Run] = []
        self._run: Run | None = None  # of the call that is in progress, from its first step
        self._scheduler: Any = None  # of the call that is in progress
        self._evaluations: Evaluations | None = None  # of the call that is in progress
        self._asked: AskedPipeline | None = None  # the same, if a preference asks the model, from the first step
        self._replaced = False  # whether the last evaluation was for the counter side's prompts
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
        if self.family is not STABLE_DIFFUSION:
            stack.enter_context(ReplacedMethod(self.pipe, "prepare_latents", self._prepare_latents))
        if self.family.two_calls:
            stack.enter_context(ReplacedMethod(self.pipe, "check_inputs", self._check_inputs))
        if hasattr(self.pipe, "prepare_mask_latents"):
            stack.enter_context(ReplacedMethod(self.pipe, "prepare_mask_latents", self._prepare_mask_latents))

    def end_call(self) -> None:
        """A call of the pipeline is over, or was interrupted."""
        self._hooks.close()
        run, self._run = self._run, None
        self._scheduler = self._evaluations = self._asked = None
        if run:
            run.finish(self._made)
            for line in run.report():
                LOG.info("%s", line)

    def _check_inputs(self, original, *args, **kwargs):
        """The start of a call of pipelines that encode prompts and negative prompts one after the other."""
        self.end_call()
        return original(*args, **kwargs)

    def _encode_prompt(self, original, *args, **kwargs):
        """The start of a call -> (token vectors, one row a picture; ...)."""
        if self.family.two_calls and self._evaluations and self._run is None:
            return original(*args, **kwargs)  # of the negative prompt
        self.end_call()
        check_scheduler(self.pipe.scheduler, self.family.time is not None)
        signature = inspect.signature(getattr(type(self.pipe), "encode_prompt"))  # noqa: B009
        arguments = signature.bind(self.pipe, *args, **kwargs).arguments
        # Z-Image writes its chat template into the lists.
        arguments = {name: list(given) if isinstance(given, list) else given for name, given in arguments.items()}
        encoded = original(*args, **kwargs)
        self._begin_call()
        for hook in self._hook_denoiser():
            self._hooks.callback(hook.remove)
        self._evaluate(Evaluations(self.pipe, self.family, encoded), original, arguments)
        return encoded

    def _evaluate(self, evaluations: Evaluations, encode_prompt: Callable, arguments: Mapping[str, Any]):
        """The call evaluates its prompts, which `encode_prompt` encoded with arguments, by name."""
        self._evaluations = evaluations
        self._ask = functools.partial(AskedPipeline, evaluations, encode_prompt, arguments)
        self._texts = functools.partial(texts_of, arguments)

    def _begin_call(self):
        """Follow what the scheduler does until the end of the call."""
        scheduler = self.pipe.scheduler
        for run in THREAD.runs:  # this call may start from their pictures
            if run._scheduler is scheduler:
                run.end_call()
            elif run._run:
                run._run.finish(run._made)
        self._start = self._noise = self._repainted = self._made = None
        self._replaced = False
        self._scheduler = scheduler
        self._hooks.enter_context(ReplacedMethod(scheduler, "step", self._step))
        if hasattr(scheduler, "add_noise"):  # those of flow models only have it under another name, for other tasks
            self._hooks.enter_context(ReplacedMethod(scheduler, "add_noise", self._add_noise))

    def _hook_denoiser(self) -> tuple[RemovableHandle, RemovableHandle]:
        """Follow the denoiser's evaluations until these hooks are removed."""
        # Functions, which a copy of the denoiser shares; methods would be copied, with all that they belong to.
        denoiser = denoiser_of(self.pipe)
        return (
            denoiser.register_forward_pre_hook(lambda *given: self._before_denoiser(*given), with_kwargs=True),
            denoiser.register_forward_hook(lambda denoiser, _, output: self._after_denoiser(denoiser, output)),
        )

    def _prepare_latents(self, original, *args, **kwargs):
        if self._evaluations:
            given = inspect.signature(original).bind(*args, **kwargs).arguments
            self._evaluations.prepared(given["batch_size"], (given["height"], given["width"]))
        return original(*args, **kwargs)

    def _before_denoiser(self, denoiser, args, kwargs):
        """The denoiser's arguments with the counter side's prompts, where that is all there is to ask; else None."""
        evaluations, asked = self._evaluations, self._asked
        if evaluations is None or evaluations.aside or denoiser is not denoiser_of(self.pipe):
            return None
        if not evaluations.begin(args, kwargs):
            return None
        replacement = None
        if self._run and asked:
            replacement = self._run.replacement(*asked.exploding(*noise_level(self._scheduler, evaluations.timestep)))
        changed = asked.replaced(*replacement) if asked and replacement else None
        self._replaced = changed is not None
        return changed and ((), changed)

    def _after_denoiser(self, denoiser, output):
        if self._evaluations and not self._evaluations.aside and denoiser is denoiser_of(self.pipe):
            self._evaluations.end(output)

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
        if self._evaluations:
            count = len(self._evaluations)
            self._repainted, masked = (part if part is None else part[-count:] for part in prepared)
            self._start = masked if self._start is None else self._start
        return prepared

    def _step(self, original, model_output, timestep, sample, *args, **kwargs):
        stepped = original(self._correct(model_output, timestep, sample), timestep, sample, *args, **kwargs)
        assert self._evaluations is not None  # noqa: S101
        self._made = self._evaluations.pictures(stepped[0])
        if self._run and has_finished(self._scheduler, timestep):
            stepped = self._finished(stepped)
        self._evaluations.stepped()
        self._replaced = False
        return stepped

    def _finished(self, stepped):
        """What the last step returned, with the skin tone of plain pictures."""
        made, latents = self._made, stepped[0]
        assert self._run is not None and self._evaluations is not None and made is not None  # noqa: S101
        self._run.judge(made)
        self._made = self._run.finished(made)
        if self._made is made:
            return stepped
        finished = self._evaluations.latents(self._made)
        if isinstance(stepped, tuple):  # LCM pipelines take the second one, which is the same tensor at the end
            return tuple(finished if part is latents else part for part in stepped)
        stepped["prev_sample"] = finished
        return stepped

    def _correct(self, output, timestep, sample):
        """The corrected model output after CFG, as the pipeline has it; pictures left alone keep their bits."""
        scheduler, evaluations = self._scheduler, self._evaluations
        assert evaluations is not None  # noqa: S101
        sigma, alpha = noise_level(scheduler, timestep)
        guidance = evaluations.read_guidance(output)
        x = evaluations.pictures(sample)
        if self._run is None:
            self._run = self._begin(evaluations, timestep, x, alpha)
            self._runs.append(self._run)
            self._shape = x.shape
        if x.shape != self._shape:
            raise CorrectionError(
                f"The latents changed from {list(self._shape)} to {list(x.shape)} in the middle of a run, which "
                "RS-Corrector does not support; remove the callback that changes them."
            )
        x = x.float() / alpha
        levels = torch.full((len(x),), sigma, device=x.device)

        def denoised(output):
            return denoised_of(scheduler, evaluations.pictures(output), x, levels)

        predictions = denoised(guidance.prompted), lambda: denoised(output)
        change = self._run.change(x, levels, guidance.scale, *predictions, None, self._replaced)
        if change is None:
            return output
        change = evaluations.latents(output_unit(scheduler, sigma, alpha) * change)
        if guidance.scaling is not None:
            change = change * guidance.scaling
        return torch.where(change != 0, (output.float() + change).to(output.dtype), output)

    @functools.cached_property
    def _model(self):
        """The identity of the pipeline's model, as in calibrations; "" if that takes long, or a part is missing."""
        offloaded = any(parameter.is_meta for parameter in denoiser_of(self.pipe).parameters())  # each would be loaded
        return "" if offloaded or self.pipe.text_encoder is None else checkpoint_of(self.pipe)

    def _begin(self, evaluations, timestep, sample, alpha):
        """The Run of a call, at its first step."""
        if len(sample) != len(evaluations):
            raise CorrectionError(
                f"The pipeline samples {len(sample)} pictures from {len(evaluations)} prompts; give latents and "
                "prompts of the same number, counting num_images_per_prompt."
            )
        if any(isinstance(preference.source, Text) for preference in self._preferences):
            self._asked = self._ask()
        start = self._start
        if start is None and timestep != self._scheduler.timesteps[0]:
            start = sample / alpha  # another pipeline sampled the steps before (denoising_end and denoising_start)
        self.settings.check_masks(len(sample))
        coins = coins_from_noise(sample if self._noise is None else self._noise, self._seed)
        tokens = [prompt[0][0] for prompt in evaluations.prompts.conditionings]
        if self.family is not STABLE_DIFFUSION:
            tokens = [spoken(row) for row in tokens]
        texts = ["\n".join(dict.fromkeys(each.values())) for each in self._texts(len(sample))]
        settings = replace(self.settings, window=window_of(self._scheduler, *self.part))
        # No `context`: the calls in a block are not one job, and may start from pictures that have nothing in common.
        return Run(
            self._preferences, settings, coins, [[row] for row in tokens], start=start, repainted=self._repainted,
            use_gate=self._use_gate, asks=self._asked, steps=len(self._scheduler.timesteps), model=lambda: self._model,
            texts=texts, pictures=functools.partial(pictures_of, self.pipe, evaluations.tokens[0].device),
        )  # fmt: skip
