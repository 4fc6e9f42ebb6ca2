"""The nodes that correct: a hook after CFG on a clone of the model, and a wrapper that makes a Run of each sampling.

The host's model is never written to. The hook is a plain closure: ComfyUI deep-copies everything else at each clone.
"""

import logging
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from comfy.sd import VAE as ComfyVAE
from comfy_api.latest import io
from comfy_execution.utils import get_executing_context
from torch import Tensor

from ..corrector.correction.run import Run
from ..corrector.correction.thinning import coins_from_noise
from ..corrector.correction.update import CorrectionError, Settings
from ..corrector.preference.preference import Preference
from ..corrector.preference.text import Text
from .asking import AskedModel
from .identity import identity_of
from .models import check_model
from .outcome import tell, tell_reading
from .preferences import PreferenceSocket
from .sampling import Sampling
from .search import CORRECT, SEARCH_WORDS, found_by


def corrected(
    model: ModelPatcher, preferences: Sequence[Preference], settings: Settings, thinning_seed: int = 0,
    use_gate: bool = True, told: Callable[[Run], None] | None = None, replaces: bool = True,
    vae: ComfyVAE | None = None, begun: Callable[[Run], None] | None = None,
) -> ModelPatcher:  # fmt: skip
    """A clone of `model` whose sampling is corrected.

    Args:
        preferences: applied together.
        settings: the mask may have any size.
        thinning_seed: changes which pictures a target below 1 corrects.
        use_gate: False corrects every picture, whatever its prompt.
        told: callback `told(run)` after each sampling, with its Run.
        replaces: whether the model may predict for the counter side's prompts in place of the run's own, where that
            is all there is to ask; else hooks before see the plain prediction, and a run costs more.
        vae: shows finished pictures, which get the skin tone of plain ones; by default that of a preference, or the
            host's approximate colours.
        begun: callback `begun(run)` before each sampling.
    """
    check_model(model, preferences)
    identity = cache(partial(identity_of, model))
    model = model.clone()
    run = None  # the Run of the current sampling
    outer_scale = 1.0  # by which a nested DualCFGGuider multiplies the output of the hook
    asked = None  # the AskedModel of the current sampling
    replaced = False  # whether the prediction at hand is for the counter side's prompts
    asks = any(isinstance(preference.source, Text) for preference in preferences)

    def corrected_run(executor, noise, latent_image, sampler, sigmas, denoise_mask=None, *args, **kwargs):
        nonlocal run, outer_scale, asked, replaced
        guider = executor.class_obj
        outer, samples = (run, outer_scale, asked), None
        conds = [cond for name, conds in guider.conds.items() if "neg" not in name for cond in conds]
        prompts = [cond for cond in conds if cond.get("cross_attn") is not None]
        host = guider.model_patcher.model
        sampling = Sampling(guider.model_patcher, frames=noise.ndim == 5)
        asked, replaced = AskedModel(guider, preferences, prompts, sampling, vae), False

        def in_package(latents):
            return sampling.pictures(host.process_latent_in(latents))

        # The second stage of KSamplerAdvanced has no noise: there the latent identifies the pictures.
        coins = coins_from_noise(sampling.pictures(noise if noise.any() else latent_image), thinning_seed)
        context = get_executing_context()
        run = Run(
            preferences, settings, coins, _prompts(prompts, len(noise)), repainted=denoise_mask,
            start=in_package(latent_image) if latent_image.any() else None,
            context=context and context.prompt_id,  # the samplers of a graph may be stages of the same pictures
            use_gate=use_gate, asks=asked, steps=len(sigmas) - 1, model=identity,
            texts=[] if asked.text is None else [asked.text] * len(noise), pictures=asked.pictures,
        )  # fmt: skip
        outer_scale = guider.cfg2 if getattr(guider, "nested", False) else 1.0
        if begun:
            begun(run)
        try:
            samples = executor(noise, latent_image, sampler, sigmas, denoise_mask, *args, **kwargs)
            if sigmas[-1] == 0:
                made = in_package(samples)
                kept = run.finished(made)
                changed = sampling.latents(kept != made)  # others keep their bits
                samples = torch.where(changed, host.process_latent_out(sampling.latents(kept)), samples)
            for line in run.report():
                logging.info("RS-Corrector: %s", line)
            if told:
                told(run)
            return samples
        finally:
            run.finish(None if samples is None else in_package(samples))  # also after an interruption
            run, outer_scale, asked = outer

    def judged_run(executor, guider, sigmas, extra_args, *args, **kwargs):
        """Ask for the verdict on the finished latents, while the model is still there."""
        made = executor(guider, sigmas, extra_args, *args, **kwargs)
        if run is not None and asked is not None and sigmas[-1] == 0:
            options, conds = extra_args["model_options"], guider.conds.get("positive")
            asked.call = {"model": guider.inner_model, "cond": conds, "model_options": options}
            try:
                run.judge(asked.sampling.pictures(made))
            finally:
                asked.call = {}
        return made

    def replaced_prompts(executor, model, conds, x, sigma, model_options):
        """Predict for the counter side's prompts in place of the run's own, where that is all there is to ask."""
        nonlocal replaced
        positive = asked and asked.guider.conds.get("positive")
        if run is None or asked is None or asked.aside or not any(cond is positive for cond in conds):
            return executor(model, conds, x, sigma, model_options)
        asked.call = {"model": model, "cond": positive, "model_options": model_options}
        replacement = run.replacement(*asked.sampling.exploding(x, sigma)) if replaces else None
        prompts = asked.with_counter(*replacement) if replacement else None
        replaced = prompts is not None
        if prompts is not None:
            side = asked.condition(prompts, x, torch.arange(len(x)))
            conds = [side if cond is positive else cond for cond in conds]
        return executor(model, conds, x, sigma, model_options)

    def corrected_denoised(args):
        denoised = args["denoised"]
        if run is None or asked is None or asked.aside:  # not a sampling of the host
            return denoised
        cfg = args.get("cond_scale", 1.0) * outer_scale
        sampling, asked.call = asked.sampling, args
        predicted = sampling.pictures(denoised)
        sides = (args.get(name) for name in ("cond_denoised", "uncond_denoised"))
        prompted, unprompted = (None if side is None else sampling.pictures(side) for side in sides)
        try:
            x, sigma = sampling.exploding(args["input"], args["sigma"])
            result = run.correct(predicted, x, sigma, cfg, prompted, unprompted, replaced)
        finally:
            asked.call = {}  # they hold the model
        if result is predicted:
            return denoised
        if outer_scale not in (0, 1):
            result = predicted + (result - predicted) / outer_scale
        return sampling.latents(result)

    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, "rs_corrector", corrected_run)
    if asks:
        model.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, "rs_corrector", judged_run)
        model.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, "rs_corrector", replaced_prompts)
    model.set_model_sampler_post_cfg_function(corrected_denoised)
    return model


def _prompts(conds, count):
    """For each of `count` pictures its token vectors, each [1, T, width]; a batch of prompts repeats, as in ComfyUI."""
    regions = [cond["cross_attn"] for cond in conds]  # [1 or batch, T, width]
    return [[tokens[index % len(tokens)][None] for tokens in regions] for index in range(count)]


STRENGTH = io.Float.Input(
    "strength", default=1.0, min=0.0, max=2.0, step=0.05, tooltip="0 is off, exactly. 1 is as calibrated."
)
RARELY = {"advanced": True}  # widgets that ComfyUI's page folds away, where it can
ASKING = (
    io.Boolean.Input(
        "verdict", default=True, optional=True, extra_dict=RARELY,
        tooltip="Where the model is asked: whether it also says what the finished pictures show. This costs a tenth of "
        "a run of 20 steps.",
    ),
    io.Boolean.Input(
        "thrifty", default=False, optional=True, extra_dict=RARELY,
        tooltip="Where the model is asked: as little as possible. A run of 20 steps takes a fifth longer in place of "
        "half as long again, but skin is kept less exactly, pictures are misread more often, and there is no verdict.",
    ),
)  # fmt: skip
VAE = io.Vae.Input(
    "vae", optional=True,
    tooltip="The checkpoint's VAE. With it finished pictures keep the skin tone of plain ones; without it approximate "
    "colours serve, which are less exact.",
)  # fmt: skip
PREFERENCE = PreferenceSocket.Input("preference", tooltip="From an RS-Corrector preference node.")
MODEL = io.Model.Input("model", tooltip="The model to correct. Its weights are not changed.")
CORRECTED_MODEL = io.Model.Output(tooltip="The corrected model, for any sampler node.")
INPUTS = (MODEL, PREFERENCE, STRENGTH)


def correct_and_tell(
    cls: type[io.ComfyNode], model: ModelPatcher, preferences: Sequence[Preference], settings: Settings, *options: Any,
    vae: ComfyVAE | None = None,
) -> io.NodeOutput:  # fmt: skip
    """The output of a correcting node, on which the outcome of each run is shown. Args as for `corrected`."""
    node = cls.hidden and cls.hidden.unique_id
    if settings.strength == 0:
        tell(node)
        return io.NodeOutput(model)
    callbacks = dict(told=lambda run: tell(node, run), begun=lambda run: tell_reading(node, run))
    return io.NodeOutput(corrected(model, preferences, settings, *options, vae=vae, **callbacks))


class RSCorrector(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RSCorrector",
            display_name="RS-Corrector",
            category=CORRECT,
            **found_by(*SEARCH_WORDS),
            description="Corrects a stereotype during sampling, without changing the model's weights. Pictures without "
            "the stereotype, and prompts that ask for it, are left alone.",
            inputs=[*INPUTS, VAE],
            outputs=[CORRECTED_MODEL],
            hidden=[io.Hidden.unique_id],
            not_idempotent=True,  # each node shows its own outcome, so the host's cache must not share its model
        )

    @classmethod
    def execute(
        cls, model: ModelPatcher, preference: tuple[Preference, ...], strength: float, vae: ComfyVAE | None = None
    ) -> io.NodeOutput:
        return correct_and_tell(cls, model, preference, Settings(strength=strength), vae=vae)


class RSCorrectorAdvanced(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RSCorrectorAdvanced",
            display_name="RS-Corrector (Advanced)",
            category=CORRECT,
            **found_by(*SEARCH_WORDS),
            description="RS-Corrector with more settings: how many pictures to correct, at which steps, how strongly "
            "at most, where in the picture, and whether the prompt decides.",
            inputs=[
                *INPUTS,
                io.Float.Input(
                    "target", default=1.0, min=0.01, max=1.0, step=0.01,
                    tooltip="Share of pictures that should be free of the stereotype. Below 1, some seeds are "
                    "corrected fully and the others are left unchanged.",
                ),
                io.Float.Input(
                    "start_percent", default=0.0, min=0.0, max=1.0, step=0.01,
                    tooltip="When the correction starts, as a fraction of the steps.",
                ),
                io.Float.Input(
                    "end_percent", default=1.0, min=0.0, max=1.0, step=0.01,
                    tooltip="When the correction ends, as a fraction of the steps.",
                ),
                io.Int.Input(
                    "thinning_seed", default=0, min=0, max=2**31 - 1,
                    tooltip="Changes which pictures a target share below 1 corrects.",
                ),
                io.Float.Input(
                    "cap", default=0.0, min=0.0, max=10.0, step=0.01,
                    tooltip="The most that a picture may change in one step, in units of the latent (root mean "
                    "square); 0 for no limit.",
                ),
                io.Boolean.Input(
                    "gate", default=True,
                    tooltip="On: prompts that name nobody of the group, or that ask for the stereotype or its "
                    "opposite themselves, are left alone. Off: every picture is corrected.",
                ),
                io.Mask.Input("mask", optional=True, tooltip="Corrects only where the mask is white."),
                *ASKING,
                VAE,
            ],
            outputs=[CORRECTED_MODEL],
            hidden=[io.Hidden.unique_id],
            not_idempotent=True,  # each node shows its own outcome, so the host's cache must not share its model
        )  # fmt: skip

    @classmethod
    def execute(
        cls, model: ModelPatcher, preference: tuple[Preference, ...], strength: float, target: float,
        start_percent: float, end_percent: float, thinning_seed: int, cap: float, gate: bool,
        mask: Tensor | None = None, verdict: bool = True, thrifty: bool = False, vae: ComfyVAE | None = None,
    ) -> io.NodeOutput:  # fmt: skip
        if start_percent >= end_percent:
            raise CorrectionError(
                f"The window is empty: it starts at {start_percent:.0%} and ends at {end_percent:.0%}. The start must "
                "be before the end."
            )
        window = Sampling(model).window(start_percent, end_percent)
        settings = Settings(strength, target, window, mask, cap or None, verdict, thrifty)
        return correct_and_tell(cls, model, preference, settings, thinning_seed, gate, vae=vae)
