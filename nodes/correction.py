"""Nodes that correct: a hook after CFG on a clone of the model, and a run around it that decides and reports.

The host's model is never written to. The hook is a plain closure: ComfyUI deep-copies everything else at each clone.
"""

import logging
import math

import comfy.samplers
from comfy.patcher_extension import WrappersMP
from comfy.sampler_helpers import convert_cond
from comfy_api.latest import io
from comfy_execution.utils import get_executing_context

from ..corrector.correction.run import Run
from ..corrector.correction.thinning import coins_from_noise
from ..corrector.correction.update import CorrectionError, Settings
from . import metadata
from .preferences import PreferenceSocket

SPACES = {"SD15": "sd15", "SDXL": "sdxl", "SD3": "sd3", "Flux": "flux", "Miniature": "miniature"}  # by latent format


def corrected(model, preferences, settings, thinning_seed=0, use_gate=True, told=None):
    """A clone of `model` whose sampling is corrected.

    Args:
        model: the host's ModelPatcher.
        preferences: the Preferences that act.
        settings: Settings; the mask may have any size.
        thinning_seed: another draw of which pictures a target below 1 corrects.
        use_gate: whether the gate on the prompt decides.
        told: `told(reasons)` is called after each run with the reasons why pictures were left alone, a list a
            preference.
    """
    check_model(model, preferences)
    model = model.clone()
    run = lone = None  # the host's run, or that of a custom node that samples without the host's samplers
    outer_scale = 1.0  # by which a nested DualCFGGuider multiplies what the hook returns
    call, sides = {}, {}  # the arguments of the hook's last call; a Text's sides in this run

    def start(noise, conds, **more):
        prompts, coins = _prompts(conds, len(noise)), coins_from_noise(noise, thinning_seed)
        return Run(preferences, settings, coins, prompts, use_gate=use_gate, evaluate=evaluate, **more)

    def evaluate(text, x, sigma):
        if text not in sides:
            sides[text] = _sides(text, call, x)
        predicted = comfy.samplers.calc_cond_batch(call["model"], sides[text], x, sigma, call["model_options"])
        return [side.float() for side in predicted]

    def corrected_run(executor, noise, latent_image, sampler, sigmas, denoise_mask=None, *args, **kwargs):
        nonlocal run, outer_scale
        guider, outer, samples = executor.class_obj, (run, outer_scale), None
        outer_scale = guider.cfg2 if getattr(guider, "nested", False) else 1.0
        into_model_space = guider.model_patcher.model.process_latent_in
        # The second stage of KSamplerAdvanced brings no noise: then the latent tells the pictures apart.
        run = start(
            noise if noise.any() else latent_image, _wanted(guider.conds), repainted=denoise_mask,
            start=into_model_space(latent_image) if latent_image.any() else None, context=_prompt_id(),
        )  # fmt: skip
        try:
            samples = executor(noise, latent_image, sampler, sigmas, denoise_mask, *args, **kwargs)
            for line in run.report():
                logging.info("RS-Corrector: %s", line)
            metadata.record(_entries(run))
            if told:
                told(run.reasons)
            return samples
        finally:
            run.finish(None if samples is None else into_model_space(samples))  # also when it is interrupted
            run, outer_scale = outer
            call.clear()
            sides.clear()

    def corrected_denoised(args):
        nonlocal lone
        x, sigma, current = args["input"], args["sigma"], run
        if current is None:
            lone = current = lone if lone and not lone.over(x, sigma) else start(x, args["cond"])
        call.update(args)
        cfg, denoised = args.get("cond_scale", 1.0) * outer_scale, args["denoised"]
        result = current.correct(denoised, x, sigma, cfg, args.get("cond_denoised"))
        if outer_scale in (0, 1) or result is denoised:
            return result
        return denoised + (result - denoised) / outer_scale

    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, "rs_corrector", corrected_run)
    model.set_model_sampler_post_cfg_function(corrected_denoised)
    return model


def _prompt_id():
    """The graph that is running: its samplers are stages of the same pictures."""
    context = get_executing_context()
    return context and context.prompt_id


def _wanted(conds):
    """A guider's conditionings by name -> those that say what is wanted: all but the negative ones."""
    return [cond for name, some in conds.items() if "neg" not in name for cond in some]


def _prompts(conds, count):
    """For each of `count` pictures its token vectors, each [1, T, width]; a batch of prompts repeats, as in ComfyUI."""
    regions = [cond["cross_attn"] for cond in conds if cond.get("cross_attn") is not None]  # [1 or batch, T, width]
    return [[tokens[index % len(tokens)][None].float() for tokens in regions] for index in range(count)]


def _sides(text, args, x):
    """Both sides of a Text preference, encoded for the model, with ControlNet and LoRA hooks of the user's prompt."""
    model, first, conds = args["model"], args["cond"][0], []
    for side in (text.counter, text.stereotype):
        (cond,) = convert_cond(side[:1])
        cond |= {name: first[name] for name in ("control", "hooks") if name in first}
        (cond,) = comfy.samplers.encode_model_conds(model.extra_conds, [cond], x, x.device, "positive")
        cond["model_conds"] = {**first["model_conds"], **cond["model_conds"]}
        conds.append([cond])
    return conds


def _entries(run):
    """What a run did, for the metadata of its pictures: a JSON object a preference."""
    settings = {"strength": float(run.settings.strength), "target": run.settings.target}
    return [
        {
            "preference": preference.name,
            "hash": preference.hash,
            "images": [f"left alone: {reason}" if reason else "corrected" for reason in reasons],
            **settings,
        }
        for preference, reasons in zip(run.preferences, run.reasons, strict=False)
    ]


def check_model(model, preferences):
    """Raises CorrectionError naming model and preference when they do not belong together."""
    latent_format = model.get_model_object("latent_format")
    kind = type(latent_format).__name__
    if latent_format.latent_dimensions != 2:
        raise CorrectionError(
            f"The model has {kind} latents, which are video or 3-D; RS-Corrector corrects pictures only. Take the "
            "RS-Corrector node out of this graph."
        )
    if kind not in SPACES:
        raise CorrectionError(
            f"The model has {kind} latents, which RS-Corrector does not know; it knows {', '.join(SPACES)}."
        )
    for preference in preferences:
        if preference.space not in ("any", SPACES[kind]):
            raise CorrectionError(
                f'The preference "{preference.name}" was made for {preference.space} latents and the model has {kind} '
                f"latents ({SPACES[kind]}); use a preference made for this model, or RS-Corrector Text Preference."
            )


STRENGTH = io.Float.Input(
    "strength", default=1.0, min=0.0, max=2.0, step=0.05, tooltip="0 is off, exactly. 1 is as calibrated."
)


class RSCorrector(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RSCorrector",
            display_name="RS-Corrector",
            category="RS-Corrector",
            description="Corrects a stereotype while the sampler runs. The model's weights stay as they are; pictures "
            "that are fine already, and prompts that ask for the stereotype, are left alone.",
            inputs=[
                io.Model.Input("model"),
                PreferenceSocket.Input("preference", tooltip="From one of the RS-Corrector preference nodes."),
                STRENGTH,
            ],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls, model, preference, strength) -> io.NodeOutput:
        settings = Settings(strength=strength)
        return io.NodeOutput(corrected(model, preference, settings) if strength > 0 else model)


class RSCorrectorAdvanced(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RSCorrectorAdvanced",
            display_name="RS-Corrector (Advanced)",
            category="RS-Corrector",
            description="RS-Corrector with a target share, a window, a cap, a mask, and the gate on the prompt as a "
            "switch.",
            inputs=[
                io.Model.Input("model"),
                PreferenceSocket.Input("preference", tooltip="From one of the RS-Corrector preference nodes."),
                STRENGTH,
                io.Float.Input(
                    "target", default=1.0, min=0.01, max=1.0, step=0.01,
                    tooltip="Share of pictures that should show the counter side. Below 1, a seeded part of them is "
                    "corrected fully and the others are left exactly as they were.",
                ),
                io.Float.Input(
                    "start_percent", default=0.0, min=0.0, max=1.0, step=0.01, tooltip="Where in the run it starts."
                ),
                io.Float.Input(
                    "end_percent", default=1.0, min=0.0, max=1.0, step=0.01, tooltip="Where in the run it ends."
                ),
                io.Int.Input(
                    "thinning_seed", default=0, min=0, max=2**31 - 1,
                    tooltip="Another draw of which pictures a target below 1 corrects, where the run does not tell.",
                ),
                io.Float.Input(
                    "cap", default=0.0, min=0.0, max=10.0, step=0.01,
                    tooltip="The most that one step may change a picture (RMS, in latent units); 0 is no cap.",
                ),
                io.Boolean.Input(
                    "gate", default=True,
                    tooltip="On: prompts that name nobody of the preference's groups, or that ask for one side "
                    "themselves, are left alone. Off: every picture is corrected.",
                ),
                io.Mask.Input("mask", optional=True, tooltip="Corrects only where the mask is white."),
            ],
            outputs=[io.Model.Output()],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, model, preference, strength, target, start_percent, end_percent, thinning_seed, cap, gate, mask=None
    ) -> io.NodeOutput:
        if start_percent >= end_percent:
            raise CorrectionError(
                f"The window is empty: it starts at {start_percent:.0%} and ends at {end_percent:.0%}. The start must "
                "lie before the end."
            )
        if not math.isfinite(cap):
            raise CorrectionError(f"The cap is {cap}; it must be a number, or 0 for no cap.")
        sampling = model.get_model_object("model_sampling")
        settings = Settings(
            strength=strength,
            target=target,
            window=tuple(sampling.percent_to_sigma(percent) for percent in (start_percent, end_percent)),
            mask=mask,
            cap=cap or None,
        )
        if strength == 0:
            return io.NodeOutput(model)
        return io.NodeOutput(corrected(model, preference, settings, thinning_seed, gate))
