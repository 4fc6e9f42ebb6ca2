"""The nodes that correct: a hook after CFG on a clone of the model, and a wrapper that makes a Run of each sampling.

The host's model is never written to. The hook is a plain closure: ComfyUI deep-copies everything else at each clone.
"""

import logging
from collections.abc import Callable, Sequence
from functools import cache, partial

import comfy.samplers
import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from comfy.sampler_helpers import convert_cond
from comfy_api.latest import io
from comfy_execution.utils import get_executing_context
from torch import Tensor

from ..corrector.correction.run import Run
from ..corrector.correction.thinning import coins_from_noise
from ..corrector.correction.update import CorrectionError, Settings
from ..corrector.latents.spaces import LATENT_SPACES
from ..corrector.preference.preference import Preference
from .identity import identity_of
from .models import SPACES, check_supported, name_of, predicts_flow
from .outcome import tell
from .preferences import PreferenceSocket
from .search import CORRECT, SEARCH_WORDS, found_by

TEXT_FIELDS = (
    "cross_attn",
    "pooled_output",
    "attention_mask",
    "conditioning_",
    "t5xxl_",
)  # of a prompt: their beginnings
REGION = {  # fields that say where and when a prompt counts
    "area", "mask", "mask_strength", "set_area_to_bounds", "strength", "start_percent", "end_percent",
    "timestep_start", "timestep_end", "clip_start_percent", "clip_end_percent", "default", "uuid",
}  # fmt: skip


def corrected(
    model: ModelPatcher, preferences: Sequence[Preference], settings: Settings, thinning_seed: int = 0,
    use_gate: bool = True, told: Callable[[Run], None] | None = None,
) -> ModelPatcher:  # fmt: skip
    """A clone of `model` whose sampling is corrected.

    Args:
        preferences: applied together.
        settings: the mask may have any size.
        thinning_seed: changes which pictures a target below 1 corrects.
        use_gate: False corrects every picture, whatever its prompt.
        told: callback `told(run)` after each sampling, with its Run.
    """
    check_model(model, preferences)
    identity = cache(partial(identity_of, model))
    model = model.clone()
    run = None  # the Run of the current sampling
    outer_scale = 1.0  # by which a nested DualCFGGuider multiplies the output of the hook
    call = {}  # the hook's current arguments
    sides = {}  # the encoded prompts of Text preferences

    def evaluate(text, x, sigma):
        if text not in sides:
            sides[text] = _sides(text, call, x)
        predicted = comfy.samplers.calc_cond_batch(call["model"], sides[text], x, sigma, call["model_options"])
        return [side.float() for side in predicted]

    def corrected_run(executor, noise, latent_image, sampler, sigmas, denoise_mask=None, *args, **kwargs):
        nonlocal run, outer_scale
        guider = executor.class_obj
        outer, samples = (run, outer_scale), None
        prompts = [cond for name, conds in guider.conds.items() if "neg" not in name for cond in conds]
        into_model_space = guider.model_patcher.model.process_latent_in
        # The second stage of KSamplerAdvanced has no noise: there the latent identifies the pictures.
        coins = coins_from_noise(noise if noise.any() else latent_image, thinning_seed)
        context = get_executing_context()
        run = Run(
            preferences, settings, coins, _prompts(prompts, len(noise)), repainted=denoise_mask,
            start=into_model_space(latent_image) if latent_image.any() else None,
            context=context and context.prompt_id,  # the samplers of a graph may be stages of the same pictures
            use_gate=use_gate, evaluate=evaluate, model=identity,
        )  # fmt: skip
        outer_scale = guider.cfg2 if getattr(guider, "nested", False) else 1.0
        sides.clear()
        try:
            samples = executor(noise, latent_image, sampler, sigmas, denoise_mask, *args, **kwargs)
            for line in run.report():
                logging.info("RS-Corrector: %s", line)
            if told:
                told(run)
            return samples
        finally:
            run.finish(None if samples is None else into_model_space(samples))  # also after an interruption
            run, outer_scale = outer
            sides.clear()

    def corrected_denoised(args):
        nonlocal call
        denoised = args["denoised"]
        if run is None:  # not a sampling of the host
            return denoised
        cfg = args.get("cond_scale", 1.0) * outer_scale
        call = args
        try:
            result = run.correct(
                denoised, args["input"], args["sigma"], cfg, args.get("cond_denoised"), args.get("uncond_denoised")
            )
        finally:
            call = {}  # they hold the model
        if outer_scale in (0, 1) or result is denoised:
            return result
        return denoised + (result - denoised) / outer_scale

    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, "rs_corrector", corrected_run)
    model.set_model_sampler_post_cfg_function(corrected_denoised)
    return model


def _prompts(conds, count):
    """For each of `count` pictures its token vectors, each [1, T, width]; a batch of prompts repeats, as in ComfyUI."""
    regions = [cond["cross_attn"] for cond in conds if cond.get("cross_attn") is not None]  # [1 or batch, T, width]
    return [[tokens[index % len(tokens)][None] for tokens in regions] for index in range(count)]


def _sides(text, args, x):
    """Both sides of a Text preference as conditions of the model; what is neither text nor region is the prompt's."""
    model, prompt = args["model"], args["cond"][0]
    fields = {name: value for name, value in prompt.items() if not name.startswith(TEXT_FIELDS) and name not in REGION}

    def inputs(fields):
        cond = fields | {"model_conds": {}}
        (cond,) = comfy.samplers.encode_model_conds(model.extra_conds, [cond], x, x.device, "positive", latent_image=x)
        return cond["model_conds"]

    of_prompt, sides = inputs(prompt), []
    for side in (text.counter, text.stereotype):
        (cond,) = convert_cond(side[:1])
        cond |= fields
        of_side = inputs(cond)
        # What the text does not change may also depend on the run: an inpainting model's picture, or the seed.
        kept = {
            name: value
            for name, value in prompt["model_conds"].items()
            if name not in of_prompt or (name in of_side and _same(of_prompt[name], of_side[name]))
        }
        sides.append([cond | {"model_conds": of_side | kept}])
    return sides


def _same(one, other):
    """Whether two inputs of a model are equal tensors."""
    tensors = one.cond, other.cond
    return all(isinstance(tensor, Tensor) for tensor in tensors) and torch.equal(*(t.cpu() for t in tensors))


def check_model(model: ModelPatcher, preferences: Sequence[Preference]) -> None:
    """Raises RSCorrectorError if the model is not supported or a preference was made for another kind of model."""
    check_supported(model)
    space, flow = SPACES[type(model.get_model_object("latent_format")).__name__], predicts_flow(model)
    advice = "use a preference made for this model, or RS-Corrector Text Preference"
    for preference in preferences:
        preference.check_space(space, name_of(model, "the model"), advice)
        if preference.space != "any" and flow != LATENT_SPACES[space].flow:
            raise CorrectionError(
                f"{name_of(model)} is {'' if flow else 'not '}sampled as a flow model, and the preference "
                f'"{preference.name}" was made for one that is{" not" if flow else ""}; {advice}.'
            )


STRENGTH = io.Float.Input(
    "strength", default=1.0, min=0.0, max=2.0, step=0.05, tooltip="0 is off, exactly. 1 is as calibrated."
)
PREFERENCE = PreferenceSocket.Input("preference", tooltip="From an RS-Corrector preference node.")
MODEL = io.Model.Input("model", tooltip="The model to correct. Its weights are not changed.")
CORRECTED_MODEL = io.Model.Output(tooltip="The corrected model, for any sampler node.")
INPUTS = (MODEL, PREFERENCE, STRENGTH)


def _correct_and_tell(cls, model, preference, settings, *options):
    """The output of a correcting node, on which the outcome of each run is shown. Args as for `corrected`."""
    node = cls.hidden and cls.hidden.unique_id
    if settings.strength == 0:
        tell(node)
        return io.NodeOutput(model)
    return io.NodeOutput(corrected(model, preference, settings, *options, told=lambda run: tell(node, run)))


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
            inputs=list(INPUTS),
            outputs=[CORRECTED_MODEL],
            hidden=[io.Hidden.unique_id],
            not_idempotent=True,  # each node shows its own outcome, so the host's cache must not share its model
        )

    @classmethod
    def execute(cls, model: ModelPatcher, preference: tuple[Preference, ...], strength: float) -> io.NodeOutput:
        return _correct_and_tell(cls, model, preference, Settings(strength=strength))


class RSCorrectorAdvanced(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RSCorrectorAdvanced",
            display_name="RS-Corrector (Advanced)",
            category=CORRECT,
            **found_by(*SEARCH_WORDS),
            description="RS-Corrector with a target share, a window, a cap, a mask, and a switch for the prompt gate.",
            inputs=[
                *INPUTS,
                io.Float.Input(
                    "target", default=1.0, min=0.01, max=1.0, step=0.01,
                    tooltip="Share of pictures that should show the counter side. Below 1, some seeds are corrected "
                    "fully and the others are left unchanged.",
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
                    tooltip="Changes which pictures a target below 1 corrects.",
                ),
                io.Float.Input(
                    "cap", default=0.0, min=0.0, max=10.0, step=0.01,
                    tooltip="Maximum change of a picture in one step (RMS, in latent units); 0 for no cap.",
                ),
                io.Boolean.Input(
                    "gate", default=True,
                    tooltip="On: prompts that name none of the preference's groups, or that ask for one of the two "
                    "sides, are left alone. Off: every picture is corrected.",
                ),
                io.Mask.Input("mask", optional=True, tooltip="Corrects only where the mask is white."),
            ],
            outputs=[CORRECTED_MODEL],
            hidden=[io.Hidden.unique_id],
            not_idempotent=True,  # each node shows its own outcome, so the host's cache must not share its model
        )  # fmt: skip

    @classmethod
    def execute(
        cls, model: ModelPatcher, preference: tuple[Preference, ...], strength: float, target: float,
        start_percent: float, end_percent: float, thinning_seed: int, cap: float, gate: bool,
        mask: Tensor | None = None,
    ) -> io.NodeOutput:  # fmt: skip
        if start_percent >= end_percent:
            raise CorrectionError(
                f"The window is empty: it starts at {start_percent:.0%} and ends at {end_percent:.0%}. The start must "
                "be before the end."
            )
        window = tuple(map(model.get_model_object("model_sampling").percent_to_sigma, (start_percent, end_percent)))
        settings = Settings(strength, target, window, mask, cap or None)
        return _correct_and_tell(cls, model, preference, settings, thinning_seed, gate)
