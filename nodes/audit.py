"""Nodes that measure what a checkpoint draws and what a correction changes: the audit, and the map."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import comfy.sample
import comfy.utils
import folder_paths
import numpy as np
import torch
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP, VAE
from comfy_api.latest import io

from ..corrector.auditing.map import Acts, overlay, step_tiles
from ..corrector.correction.update import Settings
from ..corrector.files.picture_files import open_picture
from .audit_host import add_reader, clip_judge, identity_of_clip
from .axes import AxisSocket
from .correction import MODEL, PREFERENCE, STRENGTH, corrected
from .host import ComfyHost
from .learning import BATCH, CFG, CHECKPOINT, ENCODER, HOST_INPUTS, STEPS, digest, seed_input
from .models import check_model
from .preferences import PreferenceSocket
from .progress import Progress
from .provenance import remember
from .reports import publish as publish_page
from .results import shown
from .search import MEASURE, found_by

if TYPE_CHECKING:
    from ..corrector.auditing.plan import Plan
    from ..corrector.axis.axis import Axis
    from ..corrector.preference.preference import Preference


def audited(
    host: ComfyHost, plan: Plan, preferences: Sequence[Preference], clip: tuple[Any, Any] | None
) -> tuple[dict[str, Any], Path]:
    """Run an audit, saving its progress in the host's output folder -> (report, folder).

    Args:
        host: the model.
        plan: what to sample.
        preferences: those that correct; may be empty.
        clip: (vision model, text model) of a second judge, or None.
    """
    # Imported here because SciPy is slow to load and ComfyUI imports this module when it starts.
    from ..corrector.auditing.page import publish
    from ..corrector.auditing.run import Audit
    from ..corrector.auditing.whole import judges_of

    hashes, second = [[p.name, p.hash] for p in preferences], clip and identity_of_clip(*clip)
    settings = hashes, plan.settings, plan.axis.hash, host.identity, second
    folder = Path(folder_paths.get_output_directory(), "rs_corrector", "audits", f"{plan.axis.id}-{digest(settings)}")
    folder.mkdir(parents=True, exist_ok=True)

    def measured(done, total, latents):
        progress.pictures, progress.total = done, total
        progress.at("measuring pictures", done, total, None if latents is None else host.preview(latents))

    with Progress() as progress, torch.inference_mode(False), torch.no_grad():
        add_reader(host)
        judges = judges_of(host, plan.axis, clip and clip_judge(clip, plan.axis))
        run = Audit(host, plan, judges, list(preferences))
        return publish(run, run.run(folder / "pictures", progress=measured), folder)[0], folder


class RSCorrectorAudit(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RSCorrectorAudit",
            display_name="RS-Corrector Audit",
            category=MEASURE,
            **found_by("bias", "stereotype", "fairness", "diversity", "representation", "report", "benchmark"),
            description="Measures what your checkpoint draws for the groups of an axis and, with a preference, what "
            "the correction changes on the same seeds: rates with intervals, skin tones, variety, pictures that got "
            "worse. Writes a report and a page. You can stop it at any time; the next run resumes.",
            inputs=[
                CHECKPOINT,
                ENCODER,
                io.Vae.Input("vae", tooltip="Decodes the pictures that are measured and shown."),
                AxisSocket.Input("axis", tooltip="From RS-Corrector Load Axis or RS-Corrector Axis."),
                io.Int.Input("images", default=40, min=2, max=4096, tooltip="Maximum number of pictures per group."),
                io.Float.Input(
                    "narrow", default=0.1, min=0.0, max=0.49, step=0.01,
                    tooltip="A group stops early once its rates are this certain: at 0.1, within 10 points up or down "
                    "(95 % intervals). 0 draws all pictures.",
                ),
                STRENGTH,
                STEPS,
                CFG,
                *HOST_INPUTS,
                seed_input("The same seed gives the same pictures."),
                BATCH,
                PreferenceSocket.Input("preference", optional=True, tooltip="Without one, the plain model is audited."),
                io.ClipVision.Input(
                    "clip_vision", optional=True, tooltip="A second judge: CLIP compares pictures with words."
                ),
                io.Clip.Input(
                    "clip_text", optional=True,
                    tooltip="The text model of that CLIP, from a CLIP loader; an SD1.5 checkpoint's own is incomplete.",
                ),
                io.Float.Input(
                    "target", default=1.0, min=0.01, max=1.0, step=0.01, optional=True,
                    tooltip="Share of pictures that should be free of the stereotype.",
                ),
                io.String.Input(
                    "more_cfg", default="", optional=True,
                    tooltip="Measures at these CFG scales too, such as 4, 7, with prompts that ask for neither side.",
                ),
                io.String.Input(
                    "more_strengths", default="", optional=True,
                    tooltip="Measures at these strengths too, such as 0.5, 1.5. They need a preference.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="pictures", tooltip="Plain pictures above corrected ones, same seeds."),
                io.Image.Output(display_name="chart", tooltip="Rates with intervals, and skin tones, by group."),
                io.String.Output(display_name="report", tooltip="All figures as text, and where the page is."),
            ],
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, more_cfg: str = "", more_strengths: str = "") -> bool | str:
        from ..corrector.auditing.plan import AuditError, numbers

        try:
            for text in (more_cfg, more_strengths):
                numbers(text or "")  # None if the value comes from another node
        except AuditError as error:
            return str(error)
        return True

    @classmethod
    def execute(
        cls, model: ModelPatcher, clip: CLIP, vae: VAE, axis: Axis, images: int, narrow: float, strength: float,
        steps: int, cfg: float, sampler: str, scheduler: str, width: int, height: int, seed: int, batch: int,
        preference: tuple[Preference, ...] | None = None, clip_vision: Any = None, clip_text: CLIP | None = None,
        target: float = 1.0, more_cfg: str = "", more_strengths: str = "",
    ) -> io.NodeOutput:  # fmt: skip
        from ..corrector.auditing.chart import report_table
        from ..corrector.auditing.plan import Plan, numbers
        from ..corrector.auditing.report_file import verdict

        preferences = tuple(preference or ())
        check_model(model, preferences)
        host = ComfyHost(model.clone(), clip, vae, width, height, sampler, scheduler, batch, steps)
        cfgs = tuple(dict.fromkeys((cfg, *numbers(more_cfg))))
        strengths = tuple(dict.fromkeys((strength, *numbers(more_strengths)))) if preferences else ()
        plan = Plan(axis, images, None, seed, cfgs, strengths, target, steps, narrow)
        second = None if clip_vision is None else (clip_vision, clip if clip_text is None else clip_text)
        report, folder = audited(host, plan, preferences, second)
        text = report_table(report)
        logging.info("RS-Corrector: the audit is in %s\n%s", folder, text)
        grid, chart = (image_of(folder / name) for name in ("grid.png", "chart.png"))
        page = folder / "audit.html"
        result = shown(*verdict(report), picture=chart, report=publish_page(page), cls=cls)
        return io.NodeOutput(grid, chart, f"{page}\n\n{text}", ui=result)


def image_of(path: Path) -> torch.Tensor:
    """A picture's file -> IMAGE [1, H, W, 3]."""
    return torch.from_numpy(np.array(open_picture(path))).float()[None] / 255


class RSCorrectorMap(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RSCorrectorMap",
            display_name="RS-Corrector Map",
            category=MEASURE,
            **found_by("heatmap", "heat map", "where it acted", "difference map", "bias"),
            description="Samples like KSampler, with the correction, and shows on the picture where it acted, and at "
            "which steps.",
            inputs=[
                MODEL,
                io.Vae.Input("vae", tooltip="Decodes the pictures that the map is drawn on."),
                PREFERENCE,
                STRENGTH,
                seed_input("As in KSampler."),
                STEPS,
                CFG,
                *HOST_INPUTS[:2],
                io.Conditioning.Input("positive", tooltip="As in KSampler: what the prompt asks for."),
                io.Conditioning.Input("negative", tooltip="As in KSampler. It has no influence on the correction."),
                io.Latent.Input("latent_image", tooltip="As in KSampler: an empty latent, or one to start from."),
                io.Float.Input(
                    "denoise", default=1.0, min=0.01, max=1.0, step=0.01,
                    tooltip="As in KSampler. At low values neither the picture nor a stereotype changes much.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="map", tooltip="The pictures, with what was changed in orange."),
                io.Image.Output(display_name="steps", tooltip="One tile per step: where that step was corrected."),
                io.Mask.Output(display_name="mask", tooltip="The same as a mask, 1 at the largest change."),
                io.Latent.Output(display_name="latent", tooltip="The sampled latent."),
            ],
            is_output_node=True,  # shows its picture with nothing connected
        )  # fmt: skip

    @classmethod
    def execute(
        cls, model: ModelPatcher, vae: VAE, preference: tuple[Preference, ...], strength: float, seed: int, steps: int,
        cfg: float, sampler: str, scheduler: str, positive: list, negative: list, latent_image: dict[str, Any],
        denoise: float,
    ) -> io.NodeOutput:  # fmt: skip
        acts, model = Acts(), model.clone()
        model.set_model_sampler_post_cfg_function(lambda args: acts.before_correction(args["denoised"]))
        if strength > 0:
            model = corrected(model, preference, Settings(strength=strength), told=remember, replaces=False, vae=vae)
        model.set_model_sampler_post_cfg_function(lambda args: acts.after_correction(args["denoised"]))
        latent = _sampled(model, seed, steps, cfg, sampler, scheduler, positive, negative, latent_image, denoise)
        pictures = vae.decode(latent["samples"]).float().cpu()
        height, width = pictures.shape[1:3]
        mask = comfy.utils.common_upscale(acts.mask[:, None], width, height, "bilinear", "disabled")[:, 0]  # [B, H, W]
        drawn = overlay(pictures, acts.mask)
        return io.NodeOutput(drawn, step_tiles(acts), mask, latent, ui=shown(picture=drawn, cls=cls))


def _sampled(model, seed, steps, cfg, sampler, scheduler, positive, negative, latent, denoise):
    """LATENT as ComfyUI's `common_ksampler` returns it, without its previews, which would hide the node's result."""
    empty = comfy.sample.fix_empty_latent_channels(model, latent["samples"])
    noise, bar = comfy.sample.prepare_noise(empty, seed, latent.get("batch_index")), comfy.utils.ProgressBar(steps)
    samples = comfy.sample.sample(
        model, noise, steps, cfg, sampler, scheduler, positive, negative, empty, denoise=denoise,
        noise_mask=latent.get("noise_mask"), disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED, seed=seed,
        callback=lambda step, denoised, x, total: bar.update_absolute(step + 1, total),
    )  # fmt: skip
    # The size that newer versions note of empty latents is not that of the result.
    entries = {name: value for name, value in latent.items() if not name.startswith("downscale_ratio")}
    return {**entries, "samples": samples}
