"""What happens to a modular pipeline of diffusers whose guider is an RSCorrectorGuidance.

The blocks of a modular pipeline encode prompts, schedule and decode in functions of their own. The pipeline of the same
components that is not modular can do all that too, so it is asked, and the correction is that of `corrected(...)`. What
differs is how a call begins, with the guider's first step, and that the denoiser's evaluations are those for which the
guider prepares it: each prompt and each negative prompt on its own.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import nn

from ..correction.update import CorrectionError, Settings
from .components import PipelineTexts
from .denoiser_arguments import arguments_of, encoded_of
from .evaluations import Evaluations
from .families import default_encoding, denoiser_of
from .given import Given, preferences_of
from .pipeline_run import PipelineRun
from .pipelines import check_pipeline, check_preferences
from .schedulers import has_finished

if TYPE_CHECKING:
    from diffusers.modular_pipelines.modular_pipeline import ModularPipeline
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline
    from torch.utils.hooks import RemovableHandle

MODULAR = {  # those with a guider, and the pipelines of the same components
    "StableDiffusionXLModularPipeline": "StableDiffusionXLPipeline",
    "StableDiffusion3ModularPipeline": "StableDiffusion3Pipeline",
    "QwenImageModularPipeline": "QwenImagePipeline",
    "ZImageModularPipeline": "ZImagePipeline",
}


def whole_pipeline(modular: ModularPipeline) -> DiffusionPipeline:
    """The pipeline of the same components that is not modular. Raises CorrectionError if there is none, or a component
    is missing.
    """
    import diffusers

    name = type(modular).__name__
    if name not in MODULAR:
        raise CorrectionError(
            f"RSCorrectorGuidance does not support the {name}; use one of {', '.join(MODULAR)}, or a pipeline that is "
            "not modular, inside corrected(...)."
        )
    kind = getattr(diffusers, MODULAR[name])
    named = [parameter for parameter in inspect.signature(kind).parameters if parameter in modular.component_names]
    parts = {part: getattr(modular, part, None) for part in named}
    denoiser = "unet" if "unet" in parts else "transformer"
    if missing := [part for part in (denoiser, "vae", "scheduler") if parts.get(part) is None]:
        raise CorrectionError(
            f"The {name} has no {' and no '.join(missing)}; load it with pipe.load_components() before guider.attach"
            "(pipe)."
        )
    required = {each.name: None for each in inspect.signature(kind).parameters.values() if each.default is each.empty}
    return kind(**required | parts)


class ModularRun(PipelineRun):
    """What was done in the last call of a modular pipeline.

    Raises CorrectionError or PreferenceError if pipeline, scheduler or preferences do not fit each other, and
    PreferenceFileError or AxisError if a file cannot be read.

    Args:
        modular: of a class in MODULAR.
        preferences: as for `corrected`.
        settings: Settings.
        rescaled: whether the guider rescales its prediction.
    """

    def __init__(
        self, modular: ModularPipeline, preferences: Given | Iterable[Given], settings: Settings, rescaled: bool = False
    ):
        pipe = whole_pipeline(modular)
        check_pipeline(pipe)
        loaded = preferences_of(preferences, functools.partial(PipelineTexts, pipe))
        check_preferences(pipe, loaded)
        super().__init__(pipe, loaded, settings, seed=0, use_gate=True)
        self.modular = modular
        lengths = self.family.lengths or ((1, 2, 3) if rescaled else ())
        # The scale is read from the predictions: a pipeline without a negative prompt may give the prompt for it.
        self.family = replace(self.family, two_calls=True, prompts_first=False, scale=None, lengths=lengths)
        self.predicted = False  # whether the guider has made a prediction since the last step
        self._denoiser_hooks: tuple[RemovableHandle, ...] = ()

    @property
    def outdated(self) -> bool:
        """Whether the pipeline has other components now."""
        return any(getattr(self.modular, name, None) is not part for name, part in self.pipe.components.items())

    def report(self) -> str:
        if self._runs or self.settings.off:
            return super().report()
        return f"Nothing was corrected: the {type(self.modular).__name__} has made no picture with this guider yet."

    def begin(self) -> None:
        """A call of the pipeline begins."""
        self.end_call()
        if getattr(denoiser_of(self.pipe), "_compiled_call_impl", None):
            raise CorrectionError(
                f"The {self.family.denoiser} was compiled in place, and then calls no hooks; give "
                f"pipe.update_components the result of torch.compile(pipe.{self.family.denoiser}) in place of that."
            )
        self._runs.clear()
        self._begin_call()

    def begin_evaluation(self, denoiser: nn.Module) -> None:
        """The guider's next evaluation begins, by a denoiser."""
        if self.predicted or denoiser is not denoiser_of(self.pipe):  # its last prediction reached no step
            raise CorrectionError(
                "This RSCorrectorGuidance was attached to a pipeline with another denoiser or scheduler; call "
                "pipe.guider.attach(pipe) with the one that samples."
            )
        self._denoiser_hooks = self._hook_denoiser()

    def end_evaluation(self) -> None:
        """The guider's evaluation has ended."""
        for hook in self._denoiser_hooks:
            hook.remove()
        self._denoiser_hooks = ()

    def end_call(self) -> None:
        self.end_evaluation()
        self.predicted = False
        super().end_call()

    def _before_denoiser(self, denoiser, args, kwargs):
        if self._evaluations is None:  # the first one of a call is for its prompts
            call = arguments_of(self.family, args, kwargs)
            encoded = encoded_of(self.family, call)
            evaluations = Evaluations(self.pipe, self.family, encoded)
            if self.family.packed:
                ((_, height, width),) = call["img_shapes"][0]
                factor = 2 * self.pipe.vae_scale_factor
                evaluations.prepared(len(evaluations), (height * factor, width * factor))
            arguments = default_encoding(self.pipe) | {"prompt_embeds": evaluations.tokens}
            self._evaluate(evaluations, self.pipe.encode_prompt, arguments)
        return super()._before_denoiser(denoiser, args, kwargs)

    def _step(self, original, model_output, timestep, sample, *args, **kwargs):
        if not self.predicted:  # another pipeline's, after a call that stopped before its last step
            return original(model_output, timestep, sample, *args, **kwargs)
        self.predicted = False
        stepped = super()._step(original, model_output, timestep, sample, *args, **kwargs)
        if has_finished(self._scheduler, timestep):
            self.end_call()
        return stepped
