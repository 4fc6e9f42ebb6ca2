"""A guider for diffusers' modular pipelines: classifier-free guidance, and the correction."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from diffusers.configuration_utils import register_to_config
from diffusers.guiders.classifier_free_guidance import ClassifierFreeGuidance
from diffusers.guiders.guider_utils import GuiderOutput
from torch import Tensor, nn

from ..correction.update import CorrectionError, Settings
from .modular_run import ModularRun

if TYPE_CHECKING:
    from diffusers.modular_pipelines.modular_pipeline import ModularPipeline
    from typing_extensions import Self


class RSCorrectorGuidance(ClassifierFreeGuidance):
    """Classifier-free guidance, and the pictures of a modular pipeline are corrected.

        pipe.update_components(guider=RSCorrectorGuidance("african-house-poverty", guidance_scale=5.0).attach(pipe))
        images = pipe(prompt="a portrait of ...", output="images")
        print(pipe.guider.run.report())

    At strength 0 it is ClassifierFreeGuidance, bit for bit. Its configuration is plain JSON, so it is saved and loaded
    as guiders are; a guider that was loaded must be attached again, and one of `new(...)` is attached like the old one.

    A guider is given token vectors and predictions. The schedule, the text encoders and the VAE are the pipeline's, so
    it has to be attached to it. The text of a prompt stays unknown: if the model is asked, the token vectors of phrases
    follow those of the prompt.

    Args:
        preferences: the path of a preference file; or, to ask the pipeline's own model without learning, the name of a
            shipped axis or the path of an axis file (.json). Or several of them.
        strength: 0 is off, exactly; 1 is as calibrated.
        target: wanted share of counter pictures, in (0, 1].
        guidance_scale, guidance_rescale, use_original_formulation, start, stop, enabled: of ClassifierFreeGuidance. The
            correction does not depend on `start`, `stop` and `enabled`.
    """

    @register_to_config
    def __init__(
        self,
        preferences: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        strength: float = 1.0,
        target: float = 1.0,
        guidance_scale: float = 7.5,
        guidance_rescale: float = 0.0,
        use_original_formulation: bool = False,
        start: float = 0.0,
        stop: float = 1.0,
        enabled: bool = True,
    ):
        super().__init__(
            guidance_scale=guidance_scale,
            guidance_rescale=guidance_rescale,
            use_original_formulation=use_original_formulation,
            start=start,
            stop=stop,
            enabled=enabled,
        )
        several = [preferences] if isinstance(preferences, str | os.PathLike) else list(preferences)
        if not all(isinstance(each, str | os.PathLike) for each in several):
            raise CorrectionError(
                "A guider is saved as text, so give names of axes or paths of files as its preferences; save a "
                "Preference with save_preferences(...) first."
            )
        # Arguments that are given by their position are taken for defaults by diffusers, which are not copied.
        self.register_to_config(preferences=[os.fspath(each) for each in several], _use_default_values=[])
        self.settings = Settings(strength, target)
        self.run: ModularRun | None = None  # what was done, from `attach` on

    def attach(self, pipe: ModularPipeline) -> Self:
        """Tell the guider its pipeline, whose components are loaded -> the guider. The errors are those of ModularRun.

        Args:
            pipe: a StableDiffusionXL, StableDiffusion3, QwenImage or ZImageModularPipeline.
        """
        if self.run:
            self.run.end_call()
        self.run = ModularRun(pipe, self.config["preferences"], self.settings, rescaled=self.guidance_rescale > 0)
        return self

    def new(self, **kwargs) -> Self:
        copy: Any = super().new(**kwargs)
        return copy.attach(self.run.modular) if self.run else copy

    def set_state(self, step: int, num_inference_steps: int, timestep: Any) -> None:
        super().set_state(step, num_inference_steps, timestep)
        if step or self.settings.off:
            return
        if self.run is None:
            raise CorrectionError("This RSCorrectorGuidance does not know its pipeline; call pipe.guider.attach(pipe).")
        if self.run.outdated:
            self.attach(self.run.modular)
        self.run.begin()

    def prepare_models(self, denoiser: nn.Module) -> None:
        super().prepare_models(denoiser)
        if self.run and not self.settings.off:
            self.run.begin_evaluation(denoiser)

    def cleanup_models(self, denoiser: nn.Module) -> None:
        super().cleanup_models(denoiser)
        if self.run:
            self.run.end_evaluation()

    def forward(self, pred_cond: Tensor, pred_uncond: Tensor | None = None) -> GuiderOutput:
        if self.run:
            self.run.predicted = True
        return super().forward(pred_cond, pred_uncond)
