"""Nodes that show what a checkpoint draws and what a correction does: the audit, and the map of where it acted."""

import logging
import uuid
from pathlib import Path

import comfy.model_management
import comfy.utils
import folder_paths
import torch
from comfy_api.latest import io, ui

import nodes as host_nodes  # ComfyUI's own module of that name, not this folder

from ..corrector.audit_map import Acts, overlay, step_tiles
from ..corrector.correction import Settings
from ..corrector.pairs import make_pairs
from .axes import AxisSocket
from .correction import STRENGTH, check_model, corrected, network_of
from .host import ComfyHost
from .learning import BATCH, CFG, HOST_INPUTS, STEPS, Progress, digest, seed_input
from .miniature import WEIGHTS
from .preferences import PreferenceSocket


def judges_of(host, axis, preferences, clip, clip_vision, folder, seed, cfg, progress):
    """Who judges: the preference's own judge of this axis or one that is trained here; CLIP; the miniature's reader."""
    from ..corrector.audit_judges import JUDGE_PAIRS, ClipJudge, ReaderJudge, latent_judge, trained_judge

    own = next((p for p in preferences if p.axis.id == axis.id and p.judge is not None), None)
    if own:
        judges = [latent_judge(own, [p.hash for p in preferences])]
    else:
        seed += 1_000_003  # other pictures than any that are audited
        total = 2 * JUDGE_PAIRS * len(axis.groups)
        pairs = make_pairs(
            host, axis, JUDGE_PAIRS, seed, cfg, host.steps, folder=folder / "judge-pairs", batch=host.batch,
            progress=lambda latents: progress.drawn(len(latents), total, host.preview(latents)),
        )  # fmt: skip
        with torch.enable_grad():
            judges = [trained_judge(pairs, seed)]
    if clip_vision is not None:
        pictures, texts = clip_embeddings(clip, clip_vision)
        judges.append(ClipJudge(pictures, texts, axis, "the CLIP vision and text models of this graph"))
    readable = host.space == "miniature" and host.shape[1:] == (16, 16)
    if readable and axis.id in ("miniature-backdrop", "miniature-attire"):
        from ..corrector.miniature.reader import load_reader

        judges.append(ReaderJudge(load_reader(WEIGHTS), axis))
    return judges


def clip_embeddings(clip, clip_vision):
    """-> functions of pictures [N, 3, H, W] in -1..1 and of texts, to vectors [N, E] of the host's own CLIP."""

    @torch.inference_mode()
    def pictures(some):
        seen = clip_vision.encode_image(((some + 1) / 2).movedim(1, -1))
        return seen["image_embeds"].float().cpu().clone()

    @torch.inference_mode()
    def texts(some):
        found = [clip.encode_from_tokens(clip.tokenize(text), return_pooled=True)[1] for text in some]
        return torch.cat(found).float().cpu().clone()

    from ..corrector.audit_plan import AuditError

    widths = pictures(torch.zeros(1, 3, 64, 64)).shape[-1], texts([""]).shape[-1]
    if widths[0] != widths[1]:
        raise AuditError(
            f"The CLIP vision model's vectors have {widths[0]} numbers and those of the text encoder {widths[1]}: they "
            "are not of one CLIP. Load the vision model that belongs to this text encoder, or leave it out."
        )
    return pictures, texts


def audited(host, plan, preferences, clip, clip_vision):
    """-> (report, thumbnails, folder) of an audit that is kept in the host's output folder as it goes."""
    # Here, as SciPy takes long to load and the host starts with this module.
    from ..corrector.audit_page import publish
    from ..corrector.audit_plan import AuditError
    from ..corrector.audit_run import Audit
    from ..corrector.blind import write_blind_page

    text = next((p.name for p in preferences if p.source.kind == "text"), None)
    if text is not None:
        raise AuditError(
            f'The preference "{text}" is a text preference, which needs the sampler of the graph; audit a learned one '
            "(RS-Corrector Learn Preference)."
        )
    known = (
        [[p.name, p.hash] for p in preferences],
        plan.settings,
        plan.axis.hash,
        host.identity,
        clip_vision is not None,
    )
    folder = Path(folder_paths.get_output_directory()) / "rs_corrector" / "audits" / f"{plan.axis.id}-{digest(known)}"
    folder.mkdir(parents=True, exist_ok=True)
    progress = Progress()
    with torch.inference_mode(False), torch.no_grad():
        if preferences:
            networks = [network_of(preference) for preference in preferences]
            host.model.set_additional_models(f"rs_corrector-{uuid.uuid4().hex}", networks)  # loaded with the UNet
            comfy.model_management.load_models_gpu(networks)
        judges = judges_of(host, plan.axis, preferences, clip, clip_vision, folder, plan.seed, plan.cfgs[0], progress)

        def drawn(done, total, latents):
            comfy.model_management.throw_exception_if_processing_interrupted()
            progress.bar.update_absolute(done, total, None if latents is None else host.preview(latents))

        run = Audit(host, plan, judges, list(preferences))
        report, thumbnails = publish(run, run.run(folder / "pictures", progress=drawn), folder)
        if preferences:
            write_blind_page(report, thumbnails, folder)
    return report, thumbnails, folder


class RSCorrectorAudit(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RSCorrectorAudit",
            display_name="RS-Corrector Audit",
            category="RS-Corrector",
            description="Shows what your checkpoint draws for the groups of an axis and, with a preference, the same "
            "seeds corrected: rates with intervals, skin tones, variety, what got worse. Writes a report and a page. "
            "Stop it at any time: the next run goes on from there.",
            inputs=[
                io.Model.Input("model"),
                io.Clip.Input("clip"),
                io.Vae.Input("vae", tooltip="Pictures are measured and shown as it draws them."),
                AxisSocket.Input("axis", tooltip="From RS-Corrector Load Axis or RS-Corrector Axis."),
                io.Int.Input("images", default=40, min=2, max=4096, tooltip="Pictures a group, at most."),
                io.Float.Input(
                    "narrow", default=0.1, min=0.0, max=0.49, step=0.01,
                    tooltip="Stop a group as soon as half of each 95 % interval is this or less; 0 samples all.",
                ),
                STRENGTH,
                STEPS,
                CFG,
                *HOST_INPUTS,
                seed_input("The same seed audits the same pictures."),
                BATCH,
                PreferenceSocket.Input("preference", optional=True, tooltip="What corrects; none: the plain model."),
                io.ClipVision.Input("clip_vision", optional=True, tooltip="A second judge, by words."),
            ],
            outputs=[
                io.Image.Output(display_name="pictures"),
                io.Image.Output(display_name="chart"),
                io.String.Output(display_name="report"),
            ],
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def execute(
        cls, model, clip, vae, axis, images, narrow, strength, steps, cfg, sampler, scheduler, width, height, seed,
        batch, preference=None, clip_vision=None,
    ) -> io.NodeOutput:  # fmt: skip
        from ..corrector.audit_chart import draw_chart, draw_grid, report_table
        from ..corrector.audit_plan import Plan

        preferences = tuple(preference or ())
        check_model(model, preferences)
        host = ComfyHost(model.clone(), clip, vae, width, height, sampler, scheduler, batch, steps)
        strengths = (strength,) if preferences else ()
        plan = Plan(axis, images, None, seed, (cfg,), strengths, steps=steps, narrow=narrow)
        report, thumbnails, folder = audited(host, plan, preferences, clip, clip_vision)
        text = report_table(report)
        logging.info("RS-Corrector: the audit is in %s\n%s", folder, text)
        chart, grid = (as_image(drawn) for drawn in (draw_chart(report), draw_grid(report, thumbnails)))
        said = f"{folder / 'audit.html'}\n\n{text}"
        return io.NodeOutput(grid, chart, said, ui=ui.PreviewImage(chart, cls=cls))


def as_image(picture):
    """uint8 [H, W, 3] -> IMAGE [1, H, W, 3]."""
    return torch.from_numpy(picture.copy()).float()[None] / 255


class RSCorrectorMap(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RSCorrectorMap",
            display_name="RS-Corrector Map",
            category="RS-Corrector",
            description="Samples with the correction, as KSampler does, and shows where it acted on top of the "
            "picture, and at which steps.",
            inputs=[
                io.Model.Input("model"),
                io.Vae.Input("vae"),
                PreferenceSocket.Input("preference", tooltip="From one of the RS-Corrector preference nodes."),
                STRENGTH,
                seed_input("As in KSampler."),
                STEPS,
                CFG,
                *HOST_INPUTS[:2],
                io.Conditioning.Input("positive"),
                io.Conditioning.Input("negative"),
                io.Latent.Input("latent_image"),
                io.Float.Input("denoise", default=1.0, min=0.01, max=1.0, step=0.01),
            ],
            outputs=[
                io.Image.Output(display_name="map"),
                io.Image.Output(display_name="steps"),
                io.Mask.Output(display_name="mask"),
                io.Latent.Output(display_name="latent"),
            ],
        )

    @classmethod
    def execute(
        cls, model, vae, preference, strength, seed, steps, cfg, sampler, scheduler, positive, negative, latent_image,
        denoise,
    ) -> io.NodeOutput:  # fmt: skip
        acts, model = Acts(), model.clone()

        def before(args):
            acts.seen(args["denoised"])
            return args["denoised"]

        def after(args):
            acts.acted(args["denoised"], args["sigma"])
            return args["denoised"]

        model.set_model_sampler_post_cfg_function(before)
        if strength > 0:
            model = corrected(model, preference, Settings(strength=strength))
        model.set_model_sampler_post_cfg_function(after)
        (latent,) = host_nodes.common_ksampler(
            model, seed, steps, cfg, sampler, scheduler, positive, negative, latent_image, denoise=denoise
        )
        pictures = vae.decode(latent["samples"]).float().cpu()
        return io.NodeOutput(overlay(pictures, acts.mask), step_tiles(acts), pixel_mask(acts.mask, pictures), latent)


def pixel_mask(mask, pictures):
    """A mask of latent cells [B, h, w] -> MASK at the size of the pictures [B, H, W]."""
    return comfy.utils.common_upscale(mask[:, None], pictures.shape[2], pictures.shape[1], "bilinear", "disabled")[:, 0]
