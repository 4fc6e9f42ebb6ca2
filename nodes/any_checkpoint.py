"""The main way in: one node between loader and sampler that corrects any checkpoint at once, without learning."""

import os

from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP, VAE
from comfy_api.latest import io

from ..corrector.axis.axis import Axis, AxisError, load_axis
from ..corrector.axis.texts import common_words, text_axis
from ..corrector.correction.update import Settings
from .axes import axes_folders, axis_names, axis_path
from .correction import ASKING, CORRECTED_MODEL, MODEL, STRENGTH, correct_and_tell
from .preferences import file_fingerprint, missing_file, validated
from .search import CORRECT, SEARCH_WORDS, found_by
from .text import text_preference

FIRST_AXIS = "african-house-poverty.json"  # that a new node shows


def _about() -> str:
    """What each axis is about, a line each."""
    lines = []
    for name in axis_names():
        try:
            lines.append(f"{name.removesuffix('.json')}: {load_axis(axis_path(name)).title}")
        except AxisError:
            continue  # the node says what is wrong with it when it is chosen
    return "\n".join(lines)


class RSCorrectorAnyCheckpoint(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        names = axis_names()
        return io.Schema(
            node_id="RSCorrectorAnyCheckpoint",
            display_name="RS-Corrector (any checkpoint)",
            category=CORRECT,
            **found_by(*SEARCH_WORDS, "any checkpoint"),
            description="Corrects a stereotype with the checkpoint that you have loaded, at once and without learning. "
            "It asks the model what it would draw for your own prompt with the other side. Pictures that show that "
            "side anyway, and prompts that ask for either side or name nobody of the groups, are left alone. A run of "
            "20 steps takes about half as long again.",
            inputs=[
                MODEL,
                io.Clip.Input("clip", tooltip="The CLIP that encodes your prompt."),
                io.Combo.Input(
                    "axis",
                    options=names,
                    default=FIRST_AXIS if FIRST_AXIS in names else None,
                    tooltip=f"The stereotype to correct.\n{_about()}",
                ),
                STRENGTH,
                io.String.Input(
                    "stereotype",
                    default="",
                    optional=True,
                    tooltip="In place of the axis: a phrase that names the group, with what the model shows too often, "
                    "such as: an African man in a village.",
                ),
                io.String.Input(
                    "counter",
                    default="",
                    optional=True,
                    tooltip="The same phrase with what it should show instead, such as: an African man in a city.",
                ),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip="Keeps the skin tone more exactly; without the VAE, it is kept by approximate colours.",
                ),
                *ASKING,
            ],
            outputs=[CORRECTED_MODEL],
            hidden=[io.Hidden.unique_id],
            not_idempotent=True,  # each node shows its own outcome, so the host's cache must not share its model
        )

    @classmethod
    def validate_inputs(cls, axis: str, stereotype: str | None = "", counter: str | None = "") -> bool | str:
        if stereotype or counter:
            return validated(_axis, axis, stereotype, counter)
        if not os.path.isfile(axis_path(axis)):
            return missing_file(f'The axis file "{axis}"', "models/rs_corrector/axes", axes_folders())
        return validated(load_axis, axis_path(axis))

    @classmethod
    def fingerprint_inputs(cls, axis: str, **others: object) -> object:
        return file_fingerprint(axis_path(axis))

    @classmethod
    def execute(
        cls, model: ModelPatcher, clip: CLIP, axis: str, strength: float, stereotype: str = "", counter: str = "",
        vae: VAE | None = None, verdict: bool = True, thrifty: bool = False,
    ) -> io.NodeOutput:  # fmt: skip
        settings = Settings(strength, verdict=verdict, thrifty=thrifty)
        preferences = () if settings.off else (text_preference(_axis(axis, stereotype, counter), clip, vae),)
        return correct_and_tell(cls, model, preferences, settings)


def _axis(name: str, stereotype: str | None, counter: str | None) -> Axis:
    """The axis of two phrases, or of a file if there are none. Raises AxisError."""
    stereotype, counter = (stereotype or "").strip(), (counter or "").strip()
    if not stereotype and not counter:
        return load_axis(axis_path(name))
    if not (stereotype and counter):
        raise AxisError("There is one phrase only; enter both, with the same group in each, or none to use the axis.")
    return text_axis(common_words(stereotype, counter), stereotype, counter)
