"""Nodes that correct: a hook after CFG on a clone of the model, and a run around it that decides and reports.

The host's model is never written to. The hook is a plain closure: ComfyUI deep-copies everything else at each clone.
"""

import math
import uuid

import comfy.model_management
import comfy.model_patcher
import comfy.samplers
import comfy.utils
import torch
from comfy.patcher_extension import WrappersMP
from comfy_api.latest import io

from ..corrector.correction.update import (
    CorrectionError,
    Settings,
)
from .preferences import PreferenceSocket
from .run import Run, wanted

SPACES = {"SD15": "sd15", "SDXL": "sdxl", "SD3": "sd3", "Flux": "flux", "Miniature": "miniature"}  # by latent format


def corrected(model, preferences, settings, thinning_seed=0, use_gate=True, told=None):
    """A clone of `model` whose sampling is corrected; the mask in `settings` may have any size.

    `told(reasons)` is called after each run with the reasons why images were left alone, a list a preference.
    """
    check_model(model, preferences)
    model = model.clone()
    key = f"rs_corrector-{uuid.uuid4().hex}"  # a key used twice would replace the first node's networks
    networks = [network_of(preference) for preference in preferences if preference.source.kind != "text"]
    model.set_additional_models(key, networks)  # the host loads and offloads them with the UNet
    run = None

    def start(noise, conditionings, hosted):
        return Run(preferences, settings, noise, conditionings, thinning_seed, use_gate, hosted)

    def corrected_run(executor, noise, latent_image, *args, **kwargs):
        nonlocal run
        # The second stage of KSamplerAdvanced brings no noise: then the latent tells the pictures apart.
        run = start(noise if noise.any() else latent_image, wanted(executor.class_obj.conds), hosted=True)
        try:
            if networks:
                with torch.inference_mode(False):  # else a Classifier's weights could not meet autograd
                    comfy.model_management.load_models_gpu(networks)
            samples = executor(noise, latent_image, *args, **kwargs)
            run.report()
            if told:
                told(run.reasons)
            return samples
        finally:
            run = None  # also when the artist interrupts it

    def corrected_denoised(args):
        nonlocal run
        if run is None or run.over(args):  # a sampler that starts no run of the host's
            run = start(args["input"], args["cond"], hosted=False)
        return run.correct(args)

    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, key, corrected_run)
    model.set_model_sampler_post_cfg_function(corrected_denoised)
    return model


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


def network_of(preference):
    """A clone of the preference's one master patcher: a second master over a network would look like a memory leak."""
    source = preference.source
    if not hasattr(source, "patcher"):
        devices = comfy.model_management.get_torch_device(), comfy.model_management.unet_offload_device()
        source.patcher = comfy.model_patcher.ModelPatcher(source, *devices)
    return source.patcher.clone()


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
