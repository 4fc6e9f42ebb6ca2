"""Nodes that establish a preference for the loaded checkpoint, from its own pictures, and that calibrate one."""

import logging
import shutil
from dataclasses import replace
from pathlib import Path

import comfy.model_management
import comfy.samplers
import comfy.utils
import folder_paths
import torch
from comfy_api.latest import io, ui

from ..corrector.latent_space.spaces import LATENT_SPACES
from ..corrector.learning.calibrate import calibrate, of_other_models
from ..corrector.learning.gate_texts import gate_others
from ..corrector.learning.learn import learn
from ..corrector.learning.pairs import make_pairs
from ..corrector.learning.store import digest, disk_use, store_name
from ..corrector.preference.file import load_preferences, save_preference, update_preference
from .axes import SHIPPED as SHIPPED_AXES
from .axes import AxisSocket
from .correction import check_model
from .host import ComfyHost
from .preferences import SHIPPED, PreferenceSocket, names_a_file, preference_file, preferences_in

TRIALS = 160  # most pictures a group for a trial of gains, as `calibrate` has it
TARGET = 0.95  # share of the counter side of which the text says whether it is within reach


class Progress:
    """The node's progress bar; asks at every step whether the artist has stopped the run."""

    def __init__(self):
        self.bar, self.stage, self.pictures = comfy.utils.ProgressBar(1), None, 0

    def drawn(self, count, total, preview=None):
        """`count` pictures more of `total`."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        self.pictures += count
        self.bar.update_absolute(self.pictures, total, preview)

    def __call__(self, stage, done, total):
        """`done` of `total` steps of a stage of training; each stage fills the bar anew."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        if stage != self.stage:
            self.stage = stage
            logging.info("RS-Corrector: learning, %s", stage)
        self.bar.update_absolute(done, total)


def pairs_of(host, axis, count, seed, cfg, steps, progress):
    """Pairs from the host, kept in its output folder as they come; what is there already is not made again."""
    name = store_name(axis, count, seed, cfg, steps, host.batch, host.identity)
    folder = Path(folder_paths.get_output_directory()) / "rs_corrector" / "pairs" / name
    folder.mkdir(parents=True, exist_ok=True)
    size, free = disk_use(axis, count, host.shape), shutil.disk_usage(folder).free
    room = size / 2**20, free / 2**20
    logging.info("RS-Corrector: %d pairs a group take %.1f MB of %.0f MB that are free, in %s", count, *room, folder)
    total = 2 * count * len(axis.groups)

    def drawn(latents):
        progress.drawn(len(latents), total, host.preview(latents))

    return make_pairs(host, axis, count, seed, cfg, steps, progress=drawn, folder=folder, batch=host.batch)


def learned(host, axis, pairs, steps, cfg, seed, training_steps, path):
    """-> (the preference as its file has it, its report as a picture [1, H, W, 3])."""
    # Here, as SciPy takes long to load and the host starts with this module.
    from ..corrector.learning.report import MOST_COLUMNS, draw_report

    progress = Progress()
    # ComfyUI runs nodes under inference mode, where nothing can be trained.
    with torch.inference_mode(False), torch.enable_grad():
        made = pairs_of(host, axis, pairs, seed, cfg, steps, progress)
        preference, _ = learn(
            host, axis, count=pairs, seed=seed, cfg=cfg, steps=training_steps, pairs=made, progress=progress,
            **gate_others(axis, SHIPPED_AXES, host.space),
        )  # fmt: skip
        preference.name = path.stem
        preference.training["host"] = {**host.identity, "steps": steps}
        shown = made.latents[:, :, : max(1, MOST_COLUMNS // len(axis.groups))]
        pictures = host.decode(shown.flatten(0, 2)).unflatten(0, shown.shape[:3])
        report = draw_report(preference, made, pictures=pictures)
        save_preference(preference, path)
        (preference,) = preferences_in(path)
    logging.info("RS-Corrector: the preference is in %s", path)
    if weak := preference.training.get("weak"):
        logging.warning("RS-Corrector: %s is weak: %s", path.name, weak)
    return preference, torch.from_numpy(report).float()[None] / 255


HOST_INPUTS = (
    io.Combo.Input("sampler", options=comfy.samplers.KSampler.SAMPLERS, default="euler"),
    io.Combo.Input("scheduler", options=comfy.samplers.KSampler.SCHEDULERS, default="karras"),
    io.Int.Input(
        "width", default=512, min=64, max=4096, step=8,
        tooltip="The size that the checkpoint was made for: 512 for SD1.5, 1024 for SDXL, 128 for the miniature.",
    ),
    io.Int.Input("height", default=512, min=64, max=4096, step=8),
)  # fmt: skip
STEPS = io.Int.Input("steps", default=20, min=1, max=200, tooltip="Sampling steps of each picture.")
CFG = io.Float.Input("cfg", default=7.0, min=1.0, max=30.0, step=0.1, tooltip="The CFG that you sample with.")
BATCH = io.Int.Input("batch", default=8, min=1, max=64, tooltip="Pictures at once; fewer need less memory.")
VAE = io.Vae.Input(
    "vae", optional=True, tooltip="Skin tones are measured in its pictures; without it, in rough colours."
)


def seed_input(tooltip):
    # Said explicitly: the page would else draw another seed after each run, and learn everything again.
    return io.Int.Input("seed", default=0, min=0, max=2**31 - 1, control_after_generate=False, tooltip=tooltip)


class RSCorrectorLearnPreference(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RSCorrectorLearnPreference",
            display_name="RS-Corrector Learn Preference",
            category="RS-Corrector",
            description="Makes a preference for your checkpoint from its own pictures of an axis' two sides. Stop it "
            "at any time: the pictures are kept, and the next run goes on from there. The model is not changed.",
            inputs=[
                io.Model.Input("model"),
                io.Clip.Input("clip"),
                AxisSocket.Input("axis", tooltip="From RS-Corrector Load Axis or RS-Corrector Axis."),
                io.Int.Input(
                    "pairs", default=128, min=16, max=4096,
                    tooltip="Pictures a side and group. More are better and slower: 128 with three groups are 768.",
                ),
                STEPS,
                CFG,
                *HOST_INPUTS,
                seed_input("The same seed gives the same pairs and, on the same machine, the same preference."),
                BATCH,
                io.String.Input(
                    "name", default="my-preference",
                    tooltip="The file in models/rs_corrector. One of the same name is replaced.",
                ),
                io.Int.Input(
                    "training_steps", default=2500, min=20, max=20000,
                    tooltip="Of the small network, not of the model. Fewer are faster and make a weaker preference.",
                ),
                VAE,
            ],
            outputs=[PreferenceSocket.Output(display_name="preference"), io.Image.Output(display_name="report")],
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, name=None):
        return names_a_file(name)

    @classmethod
    def execute(
        cls, model, clip, axis, pairs, steps, cfg, sampler, scheduler, width, height, seed, batch, name,
        training_steps, vae=None,
    ) -> io.NodeOutput:  # fmt: skip
        path = preference_file(name)
        host = ComfyHost(model, clip, vae, width, height, sampler, scheduler, batch, steps)
        if LATENT_SPACES[host.space].flow:
            raise ValueError(
                f"The model has {host.space} latents, for which preferences cannot be learned yet, only for SD1.5, SD2 "
                "and SDXL; use RS-Corrector Text Preference."
            )
        preference, report = learned(host, axis, pairs, steps, cfg, seed, training_steps, path)
        return io.NodeOutput((preference,), report, ui=ui.PreviewImage(report, cls=cls))


def calibrated(host, preference, images, cfg, seed, narrow):
    """A learned preference -> the same with what was measured of it on this host, kept in its file where it has one.

    What its file says of this host already, at the same settings, is not measured again.
    """
    if preference.source.kind == "text" or preference.judge is None:
        raise ValueError(
            f'The preference "{preference.name}" has no judge of pictures to calibrate with; learn it again with '
            "RS-Corrector Learn Preference."
        )
    path = preference.path
    if path and path.is_file():
        preference = latest(preference, path)
    settings = digest([host.identity, host.steps, images, seed, narrow])
    marks = preference.training.get("calibrated", {})
    if marks.get(f"{cfg:g}") == settings:
        return preference
    # About: it depends on what the trials say.
    if of_other_models(preference, host):
        logging.warning(
            "RS-Corrector: %s was calibrated on another checkpoint, whose figures are replaced; to keep both, save the "
            "preference under another name first (RS-Corrector Save Preference).", preference.name,
        )  # fmt: skip
    progress, total = Progress(), len(preference.axis.groups) * (2 * images + 5 * min(TRIALS, images))
    with torch.inference_mode(False):
        preference = calibrate(
            host, preference, preference.judge, images, cfg, seed,
            progress=lambda count: progress.drawn(count, total), narrow=narrow,
        )  # fmt: skip
    kept = {f"{known.cfg:g}" for known in preference.calibrations}  # others were another checkpoint's
    marks = {at: mark for at, mark in marks.items() if at in kept} | {f"{cfg:g}": settings}
    preference = replace(preference, training={**preference.training, "calibrated": marks})
    if path is None:
        return preference
    if path.parent == SHIPPED:  # the extension's own files stay as they came
        path = preference_file(path.name)
    update_preference(preference, path)
    logging.info("RS-Corrector: the calibration is in %s", path)
    return next(found for found in preferences_in(path) if found.axis.id == preference.axis.id)


def latest(preference, path):
    """What the file has of this preference by now: it may have been calibrated since it was loaded."""
    own = preference.source.state_dict()
    for found in load_preferences(path):
        same = found.source.state_dict()
        if own.keys() == same.keys() and all(torch.equal(own[name].cpu(), same[name]) for name in own):
            return found
    return preference


def described(preference, cfg):
    """What was measured at a CFG scale, a few lines a group."""
    lines = [f"{preference.name} ({preference.hash}), measured on {preference.space} latents"]
    for found in (c for c in preference.calibrations if c.cfg == cfg):
        intervals = [f"[{low:.3f}, {high:.3f}]" for low, high in (found.base_interval, found.full_interval)]
        lines += [
            f"{found.group}, CFG {found.cfg:g}: {preference.axis.counter.description} in {found.base_rate:.3f} "
            f"{intervals[0]} of {found.base_n} plain pictures, {found.full_rate:.3f} {intervals[1]} of {found.full_n} "
            f"corrected ones; skin lightness moves by {found.tone_drift:+.2f} L*",
            found.reach(TARGET),
        ]
    return "\n".join(lines)


class RSCorrectorCalibrate(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RSCorrectorCalibrate",
            display_name="RS-Corrector Calibrate",
            category="RS-Corrector",
            description="Measures on your checkpoint how often it draws the counter side by itself and when corrected, "
            "and sets the strength of the correction by it. A preference from a file keeps that in its file.",
            inputs=[
                io.Model.Input("model"),
                io.Clip.Input("clip"),
                PreferenceSocket.Input("preference", tooltip="A learned one."),
                io.Int.Input(
                    "images", default=400, min=16, max=4096, tooltip="Pictures a group, plain and as many corrected."
                ),
                CFG,
                STEPS,
                seed_input("The same seed measures on the same pictures."),
                *HOST_INPUTS,
                BATCH,
                VAE,
                io.Float.Input(
                    "narrow", default=0.03, min=0.0, max=0.49, step=0.01, optional=True,
                    tooltip="Stops at 200 pictures or more where the base rate is known within this; 0 draws all.",
                ),
            ],
            outputs=[PreferenceSocket.Output(display_name="preference"), io.String.Output(display_name="text")],
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def execute(
        cls, model, clip, preference, images, cfg, steps, seed, sampler, scheduler, width, height, batch, vae=None,
        narrow=0.03,
    ) -> io.NodeOutput:  # fmt: skip
        check_model(model, preference)
        host = ComfyHost(model, clip, vae, width, height, sampler, scheduler, batch, steps)
        done = [calibrated(host, one, images, cfg, seed, narrow) for one in preference]
        text = "\n\n".join(described(one, cfg) for one in done)
        logging.info("RS-Corrector: %s", text)
        return io.NodeOutput(tuple(done), text, ui=ui.PreviewText(text))
