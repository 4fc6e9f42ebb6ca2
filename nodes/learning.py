"""Nodes that learn a preference from the loaded checkpoint's own pictures, and that calibrate one."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import comfy.samplers
import folder_paths
import torch
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP
from comfy.sd import VAE as ComfyVAE
from comfy_api.latest import io

from ..corrector.axis.axis import Axis
from ..corrector.files.folders import AXES, WEIGHTS
from ..corrector.files.whole_files import at_work
from ..corrector.gate.texts import gate_others
from ..corrector.latents.host import default_cfg
from ..corrector.learning.calibrate import calibrate, pictures_needed, scales
from ..corrector.learning.cost import cost_of
from ..corrector.learning.learn import learn
from ..corrector.learning.pairs import Pairs, make_pairs, steps_of
from ..corrector.learning.store import check_room, digest, store_name
from ..corrector.learning.thumbnail import thumbnail
from ..corrector.preference.file import check_writable, save_preference
from ..corrector.preference.preference import Preference
from ..corrector.preference.updated_file import latest, update_preference
from .axes import AxisSocket
from .host import ComfyHost
from .models import check_model, name_of
from .preferences import PreferenceSocket, preference_file, preferences_in, validated
from .progress import Progress
from .reports import publish
from .results import shown
from .search import LEARN, found_by

REACHABLE_TARGET = 0.95  # the text says whether this target share is within reach


def output_folder(kind: str, name: str = "") -> Path:
    """A folder of RS-Corrector in the host's output folder, which is made."""
    folder = Path(folder_paths.get_output_directory()) / "rs_corrector" / kind / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _pairs(
    host: ComfyHost, axis: Axis, count: int, seed: int, cfg: float, steps: int, progress: Progress
) -> tuple[Pairs, Path]:
    """Sample pairs, or go on from those in the host's output folder -> (Pairs, that folder). Raises PairError if there
    is no room for them.
    """
    folder = output_folder("pairs", store_name(axis, seed, cfg, steps, host.identity))
    room = (size / 2**20 for size in check_room(folder, axis, count, host.shape))
    logging.info("RS-Corrector: %d pairs per group take %.1f MB of %.0f MB free in %s", count, *room, folder)
    total = 2 * count * len(axis.groups)
    progress.at("drawing pairs", 0, total)

    def drawn(latents):
        progress.drawn("drawing pairs", len(latents), total, host.preview(latents))

    return make_pairs(host, axis, count, seed, cfg, steps, progress=drawn, folder=folder, batch=host.batch), folder


HOST_INPUTS = (
    io.Combo.Input(
        "sampler", options=comfy.samplers.KSampler.SAMPLERS, default="euler",
        tooltip="The sampler that you generate with.",
    ),
    io.Combo.Input(
        "scheduler", options=comfy.samplers.KSampler.SCHEDULERS, default="karras",
        tooltip="The scheduler that you generate with.",
    ),
    io.Int.Input(
        "width", default=512, min=64, max=4096, step=8,
        tooltip="The size that the checkpoint was trained for: 512 for SD1.5, 1024 for SDXL, 128 for the miniature.",
    ),
    io.Int.Input(
        "height", default=512, min=64, max=4096, step=8,
        tooltip="As width: the size that the checkpoint was trained for.",
    ),
)  # fmt: skip
CHECKPOINT = io.Model.Input("model", tooltip="Your checkpoint, with its LoRAs. Its weights are not changed.")
ENCODER = io.Clip.Input("clip", tooltip="The CLIP of that checkpoint.")
STEPS = io.Int.Input("steps", default=20, min=1, max=200, tooltip="Sampling steps per picture.")
CFG = io.Float.Input(
    "cfg", default=default_cfg("sd15"), min=1.0, max=30.0, step=0.1, tooltip="The CFG that you generate with."
)
BATCH = io.Int.Input("batch", default=8, min=1, max=64, tooltip="Pictures per batch; fewer need less memory.")
VAE = io.Vae.Input(
    "vae", optional=True, tooltip="Decodes pictures to measure skin tones; without it, approximate colours are used."
)


def seed_input(tooltip: str) -> io.Int.Input:
    # Otherwise the page would change the seed after each run, which would learn everything again.
    return io.Int.Input("seed", default=0, min=0, max=2**31 - 1, control_after_generate=False, tooltip=tooltip)


class RSCorrectorLearnPreference(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RSCorrectorLearnPreference",
            display_name="RS-Corrector Learn Preference",
            category=LEARN,
            **found_by("stereotype", "bias", "debias", "train correction"),
            description="Learns a preference for your checkpoint from its own pictures of both sides of an axis. You "
            "can stop it at any time; the next run resumes. The model is not changed.",
            inputs=[
                CHECKPOINT,
                ENCODER,
                AxisSocket.Input("axis", tooltip="From RS-Corrector Load Axis or RS-Corrector Axis."),
                io.Int.Input(
                    "pairs", default=16, min=2, max=4096,
                    tooltip="Pictures per side and group, from which learning starts: 16 with three groups makes 96.",
                ),
                STEPS,
                CFG,
                *HOST_INPUTS,
                seed_input("The same seed gives the same pairs and, on the same machine, the same preference."),
                BATCH,
                io.String.Input(
                    "name", default="my-preference",
                    tooltip="File name in models/rs_corrector; replaces a file of this name.",
                ),
                io.Int.Input(
                    "points", default=1000, min=20, max=100000,
                    tooltip="How often your checkpoint is asked while it draws. More are better and slower; after 384 "
                    "a first preference is saved, which serves if you stop.",
                ),
                VAE,
            ],
            outputs=[
                PreferenceSocket.Output(display_name="preference", tooltip="Calibrate it next."),
                io.Image.Output(display_name="report", tooltip="How good the preference is, and some pairs."),
            ],
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, name: str | None = None) -> bool | str:
        return name is None or validated(preference_file, name)

    @classmethod
    def execute(
        cls, model: ModelPatcher, clip: CLIP, axis: Axis, pairs: int, steps: int, cfg: float, sampler: str,
        scheduler: str, width: int, height: int, seed: int, batch: int, name: str, points: int,
        vae: ComfyVAE | None = None,
    ) -> io.NodeOutput:  # fmt: skip
        # Imported here because SciPy is slow to load and ComfyUI imports this module when it starts.
        from ..corrector.learning.report import MOST_COLUMNS, draw_report, verdict, write_report_page

        path = preference_file(name)
        check_writable(path)
        host = ComfyHost(model, clip, vae, width, height, sampler, scheduler, batch, steps)
        if not host.space:
            raise ValueError(
                f"{name_of(model)} has latents of a kind for which no preference can be saved; use RS-Corrector (any "
                "checkpoint), which needs none."
            )
        others: dict[str, Any] = gate_others(axis, AXES, host.space)
        working = at_work(path, "a preference")
        with working, Progress() as progress, torch.inference_mode(False), torch.enable_grad():
            progress.at("timing a step")
            logging.info("RS-Corrector: learning takes %s", cost_of(host, axis, host.shape, pairs, points, cfg))
            drawn, folder = _pairs(host, axis, pairs, seed, cfg, steps_of(host), progress)

            def keep(preference: Preference) -> None:
                preference.name = path.stem
                save_preference(preference, path)
                progress.kept = f"{path.name} is saved, from {preference.training['points']} points"
                if preference.training["points"] < points:  # more are to come
                    progress.picture = thumbnail(host, preference)

            preference = learn(
                host, axis, count=pairs, seed=seed, cfg=cfg, points=points, pairs=drawn, progress=progress,
                folder=folder, saved=keep, **others,
            )  # fmt: skip
            keep(preference)  # before anything else can fail
            saved = preferences_in(path)
            first = drawn.latents[:, :, : max(1, MOST_COLUMNS // len(axis.groups))]
            pictures = host.decode(first.flatten(0, 2)).unflatten(0, first.shape[:3])
            picture = draw_report(preference, drawn, pictures=pictures)
        logging.info("RS-Corrector: the preference is in %s", path)
        for sentence in preference.weaknesses:
            logging.warning("RS-Corrector: %s is weak: %s", path.name, sentence)
        page = output_folder("reports") / f"{path.stem}.html"
        write_report_page(preference, picture, page)
        report = torch.from_numpy(picture).float()[None] / 255  # [1, H, W, 3]
        weak_gate = [("note", sentence) for sentence in preference.weaknesses if sentence not in verdict(preference)[1]]
        lines = [verdict(preference), *weak_gate, ("note", f"saved as {path.name}")]
        return io.NodeOutput(saved, report, ui=shown(*lines, picture=report, report=publish(page), cls=cls))


def _calibrated(host: ComfyHost, preference: Preference, images: int, cfg: float, seed: int) -> Preference:
    """Calibrate a learned preference, unless its file has the result, and update the file."""
    if not preference.source.has_weights:
        raise ValueError(
            f'The preference "{preference.name}" asks the model at each step, so there is nothing to calibrate; use '
            "one that was learned with RS-Corrector Learn Preference."
        )
    path = preference.path
    target = preference_file(path.name) if path and path.parent == WEIGHTS else path  # shipped files are not changed
    if target:
        preference = replace(latest(preference, target), path=target)
    cfgs, marks = scales(cfg), preference.training.get("calibrated", {})
    settings = digest([host.identity, host.steps, images, seed, cfgs])
    if all(marks.get(f"{cfg:g}") == settings for cfg in cfgs):
        return preference
    if target:
        check_writable(target)
    total = pictures_needed(len(preference.axis.groups), images, cfgs)
    folder = output_folder("calibrations", f"{preference.axis.id}-{digest([settings, preference.hash])}")
    logging.info(
        "RS-Corrector: calibration at CFG %s draws at most %d pictures, kept in %s if it is stopped",
        " and ".join(f"{cfg:g}" for cfg in cfgs), total, folder,
    )  # fmt: skip
    with Progress() as progress, torch.inference_mode(False):
        preference = calibrate(
            host, preference, images, cfgs, seed,
            progress=lambda count: progress.drawn(progress.stage, count, total), folder=folder,
            measuring=lambda group: progress.at(f"measuring {group}"),
        )  # fmt: skip
    current = {f"{calibration.cfg:g}" for calibration in preference.calibrations}  # without those of other checkpoints
    marks = {at: mark for at, mark in marks.items() if at in current} | {f"{cfg:g}": settings for cfg in cfgs}
    preference = replace(preference, training={**preference.training, "calibrated": marks})
    if target is None:
        return preference
    preference = update_preference(preference, target, cfgs)
    logging.info("RS-Corrector: the calibration is in %s", target)
    return replace(preference, path=target)


def _described(preference: Preference, cfg: float) -> str:
    """The calibrations for a CFG scale as text."""
    lines = [f"{preference.name} ({preference.hash}), measured on {preference.space} latents"]
    for calibration in (c for c in preference.calibrations if c.cfg in scales(cfg)):
        lines += calibration.sentences(preference.axis.counter.description, REACHABLE_TARGET)
    return "\n".join(lines)


class RSCorrectorCalibrate(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RSCorrectorCalibrate",
            display_name="RS-Corrector Calibrate",
            category=LEARN,
            **found_by("base rate", "bias", "debias"),
            description="Measures how often your checkpoint's pictures are free of the stereotype, with and without "
            "correction, and adjusts the correction to it. If the preference is from a file, the result is "
            "saved there.",
            inputs=[
                CHECKPOINT,
                ENCODER,
                PreferenceSocket.Input("preference", tooltip="A learned preference."),
                io.Int.Input(
                    "images", default=20, min=16, max=4096,
                    tooltip="Plain pictures per group and CFG scale, and as many corrected. It measures at two scales: "
                    "yours and a distant one.",
                ),
                CFG,
                STEPS,
                seed_input("The same seed gives the same pictures."),
                *HOST_INPUTS,
                BATCH,
                VAE,
            ],
            outputs=[
                PreferenceSocket.Output(display_name="preference", tooltip="The same preference, calibrated."),
                io.String.Output(display_name="text", tooltip="Rates, drift of the skin tone, and warnings, by group."),
            ],
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def execute(
        cls, model: ModelPatcher, clip: CLIP, preference: tuple[Preference, ...], images: int, cfg: float, steps: int,
        seed: int, sampler: str, scheduler: str, width: int, height: int, batch: int, vae: ComfyVAE | None = None,
    ) -> io.NodeOutput:  # fmt: skip
        check_model(model, preference)
        host = ComfyHost(model, clip, vae, width, height, sampler, scheduler, batch, steps)
        calibrated = tuple(_calibrated(host, each, images, cfg, seed) for each in preference)
        text = "\n\n".join(_described(each, cfg) for each in calibrated)
        logging.info("RS-Corrector: %s", text)
        harms = [("failure", f"Beware: {c.harm}") for each in calibrated for c in each.calibrations if c.harm]
        return io.NodeOutput(calibrated, text, ui=shown(*harms, ("said", text), text=text))
