"""Nodes that create an axis: from a file, or from text boxes."""

import os
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io

from ..corrector.axis.axis import SCHEMA, load_axis, save_axis
from ..corrector.axis.texts import axis_from_texts
from ..corrector.files.folders import AXES
from .preferences import FOLDER, file_fingerprint, missing_file, validated
from .results import shown
from .search import LEARN, found_by

AxisSocket = io.Custom("RS_AXIS")  # carries a corrector.axis.Axis
AXIS = AxisSocket.Output(display_name="axis", tooltip="For RS-Corrector Learn Preference and RS-Corrector Audit.")


def _text(name: str, tooltip: str, default: str = "", **options: bool) -> io.String.Input:
    return io.String.Input(name, default=default, tooltip=tooltip, **options)


WORDINGS = tuple(
    _text(name, tooltip, multiline=True, optional=True)
    for name, tooltip in (
        ("aliases", "Other words for the groups, a line a group, such as Orvane: Orvanese, from Orvania. Prompts that "
         "use them are in scope too."),
        ("stereotype_paraphrases", "Other ways to ask for the stereotype, one per line, such as villager. Such prompts "
         "are left alone."),
        ("counter_paraphrases", "Other ways to ask for what to show instead, one per line, such as skyline."),
        ("another", "Ways to ask for something else of the same kind, one per line, such as on a beach. Such prompts "
         "are left alone too."),
    )
)  # fmt: skip


def axes_folders() -> list[Path]:
    """The `axes` folder in each of the user's `models/rs_corrector` folders; axes are saved in the first."""
    return [Path(folder) / "axes" for folder in folder_paths.get_folder_paths(FOLDER)]


def axis_names() -> list[str]:
    """Names of the files in the user's folders, then of the shipped ones."""
    names = [path.name for folder in (*axes_folders(), AXES) for path in sorted(folder.glob("*.json"))]
    return [name for name in dict.fromkeys(names) if name != SCHEMA.name]


def axis_path(name: str) -> Path:
    """The user's file of this name, else the path of the shipped one; never outside these folders."""
    paths = [folder / Path(name).name for folder in (*axes_folders(), AXES)]
    return next((path for path in paths if os.path.isfile(path)), paths[-1])  # False for names that no file can have


class RSCorrectorLoadAxis(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RSCorrectorLoadAxis",
            display_name="RS-Corrector Load Axis",
            category=LEARN,
            **found_by("stereotype", "bias", "load stereotype"),
            description="Loads a stereotype axis (a JSON file) from models/rs_corrector/axes, or one that ships with "
            "RS-Corrector.",
            inputs=[
                io.Combo.Input(
                    "file",
                    options=axis_names(),
                    tooltip="Axes named miniature-* are about the invented peoples of the RS-Corrector Miniature.",
                )
            ],
            outputs=[AXIS],
        )

    @classmethod
    def validate_inputs(cls, file: str) -> bool | str:
        if file not in axis_names():
            return missing_file(f'The axis file "{file}"', "models/rs_corrector/axes", axes_folders())
        return validated(load_axis, axis_path(file))

    @classmethod
    def fingerprint_inputs(cls, file: str) -> object:
        return file_fingerprint(axis_path(file))

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        return io.NodeOutput(load_axis(axis_path(file)))


class RSCorrectorAxis(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RSCorrectorAxis",
            display_name="RS-Corrector Axis",
            category=LEARN,
            **found_by("stereotype", "bias", "define stereotype"),
            description="A stereotype axis from text boxes: the groups, what the model shows too often, and what it "
            "should also show. It adds no words to your prompts.",
            inputs=[
                _text("title", "A short name for reports.", "Village backdrop"),
                _text("groups", "The groups, as prompts name them, separated by commas, such as Kenyan, Maasai."),
                _text("neutral", "Prompts with the group in braces, as in the example, that name neither side. One per "
                      "line; ten or more are best.", "a portrait of a {group} person\na photo of a {group} man\n"
                      "a picture of a {group} woman", multiline=True),
                _text("stereotype", "What the model shows too often: phrases that can follow these prompts, one per "
                      "line.", "in a village\nin front of a village", multiline=True),
                _text("counter", "What it should also show: phrases of the same form, one per line.",
                      "in a city\nin front of a city", multiline=True),
                _text("stereotype_description", 'For example "a village"; the first phrase if empty.'),
                _text("counter_description", 'For example "a city"; the first phrase if empty.'),
                _text("save_as", "File name to save the axis in models/rs_corrector/axes; not saved if empty."),
                *WORDINGS,
            ],
            outputs=[AXIS],
            is_output_node=True,  # runs, and saves the axis, with nothing connected
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, save_as: str = "", **texts: Any) -> bool | str:
        if None in texts.values():  # texts from other nodes are not known yet
            return True
        return validated(axis_from_texts, **texts)

    @classmethod
    def execute(cls, save_as: str = "", **texts: str) -> io.NodeOutput:
        axis = axis_from_texts(**texts)
        outcome = f"{axis.title}: {len(axis.groups)} groups, not saved"
        if save_as.strip():
            outcome = f"Saved as {save_axis(axis, axes_folders()[0], save_as.strip())}"
        return io.NodeOutput(axis, ui=shown(("said", outcome)))
