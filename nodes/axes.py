"""Nodes that create an axis: from a file, or from text boxes."""

import os
from pathlib import Path

import folder_paths
from comfy_api.latest import io

from ..corrector.axis.axis import load_axis, save_axis
from ..corrector.axis.texts import axis_from_texts
from ..corrector.files.errors import printable
from ..corrector.files.folders import AXES
from ..corrector.preference.file import file_hash
from .preferences import FOLDER, validated
from .results import shown
from .search import LEARN, found_by

AxisSocket = io.Custom("RS_AXIS")  # carries a corrector.axis.Axis
AXIS = AxisSocket.Output(display_name="axis", tooltip="For RS-Corrector Learn Preference and RS-Corrector Audit.")
SCHEMA = "axis.schema.json"
WORDINGS = (
    io.String.Input(
        "aliases", default="", multiline=True, optional=True,
        tooltip="Other words for the groups, a line a group, such as Orvane: Orvanese, from Orvania. Prompts that use "
        "them are in scope too.",
    ),
    io.String.Input(
        "stereotype_paraphrases", default="", multiline=True, optional=True,
        tooltip="Other ways to ask for the stereotype, one per line, such as villager. Such prompts are left alone.",
    ),
    io.String.Input(
        "counter_paraphrases", default="", multiline=True, optional=True,
        tooltip="Other ways to ask for the counter side, one per line, such as skyline.",
    ),
    io.String.Input(
        "another", default="", multiline=True, optional=True,
        tooltip="Ways to ask for something else of the same kind, one per line, such as on a beach. Such prompts are "
        "left alone too.",
    ),
)  # fmt: skip


def axes_folders():
    """The `axes` folder in each of the user's `models/rs_corrector` folders; axes are saved in the first."""
    return [Path(folder) / "axes" for folder in folder_paths.get_folder_paths(FOLDER)]


def axis_names():
    """Names of the files in the user's folders, then of the shipped ones."""
    names = [path.name for folder in axes_folders() for path in sorted(folder.glob("*.json"))]
    names += sorted(path.name for path in AXES.glob("*.json"))
    return [name for name in dict.fromkeys(names) if name != SCHEMA]


def axis_path(name):
    """The user's file of this name, else the path of the shipped one; never outside these folders."""
    found = [folder / Path(name).name for folder in (*axes_folders(), AXES)]
    return next((path for path in found if os.path.isfile(path)), found[-1])  # False for names that no file can have


class RSCorrectorLoadAxis(io.ComfyNode):
    @classmethod
    def define_schema(cls):
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
    def validate_inputs(cls, file):
        if file not in axis_names():
            folders = ", ".join(map(str, axes_folders()))
            return printable(
                f'The axis file "{file}" is not in models/rs_corrector/axes (looked in {folders}); put it back there, '
                "or select another file."
            )
        return validated(load_axis, axis_path(file))

    @classmethod
    def fingerprint_inputs(cls, file):
        path = axis_path(file)
        return file_hash(path) if os.path.isfile(path) else ""

    @classmethod
    def execute(cls, file) -> io.NodeOutput:
        return io.NodeOutput(load_axis(axis_path(file)))


class RSCorrectorAxis(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RSCorrectorAxis",
            display_name="RS-Corrector Axis",
            category=LEARN,
            **found_by("stereotype", "bias", "define stereotype"),
            description="A stereotype axis from text boxes: the groups, what the model shows too often, and what it "
            "should also show. It adds no words to your prompts.",
            inputs=[
                io.String.Input("title", default="Village backdrop", tooltip="A short name for reports."),
                io.String.Input(
                    "groups", default="Orvane, Tavelu", tooltip="The groups, as prompts name them, separated by commas."
                ),
                io.String.Input(
                    "neutral", multiline=True,
                    default="a portrait of a {group} person\na photo of a {group} man\na picture of a {group} woman",
                    tooltip="Prompts with the group in braces, as in the example, that name neither side. One per "
                    "line; ten or more are best.",
                ),
                io.String.Input(
                    "stereotype", multiline=True, default="in a village\nin front of a village",
                    tooltip="What the model shows too often: phrases that can follow these prompts, one per line.",
                ),
                io.String.Input(
                    "counter", multiline=True, default="in a city\nin front of a city",
                    tooltip="What it should also show: phrases of the same form, one per line.",
                ),
                io.String.Input(
                    "stereotype_description", default="", tooltip='For example "a village"; the first phrase if empty.'
                ),
                io.String.Input(
                    "counter_description", default="", tooltip='For example "a city"; the first phrase if empty.'
                ),
                io.String.Input(
                    "save_as", default="",
                    tooltip="File name to save the axis in models/rs_corrector/axes; not saved if empty.",
                ),
                *WORDINGS,
            ],
            outputs=[AXIS],
            is_output_node=True,  # runs, and saves the axis, with nothing connected
        )  # fmt: skip

    @classmethod
    def validate_inputs(
        cls, title=None, groups=None, neutral=None, stereotype=None, counter=None, stereotype_description=None,
        counter_description=None, aliases="", stereotype_paraphrases="", counter_paraphrases="", another="",
    ):  # fmt: skip
        texts = (
            title, groups, neutral, stereotype, counter, stereotype_description, counter_description, aliases,
            stereotype_paraphrases, counter_paraphrases, another,
        )  # fmt: skip
        if None in texts:  # texts from other nodes are not known yet
            return True
        return validated(axis_from_texts, *texts)

    @classmethod
    def execute(
        cls, title, groups, neutral, stereotype, counter, stereotype_description="", counter_description="",
        save_as="", aliases="", stereotype_paraphrases="", counter_paraphrases="", another="",
    ) -> io.NodeOutput:  # fmt: skip
        axis = axis_from_texts(
            title, groups, neutral, stereotype, counter, stereotype_description, counter_description, aliases,
            stereotype_paraphrases, counter_paraphrases, another,
        )  # fmt: skip
        said = f"{axis.title}: {len(axis.groups)} groups, not saved"
        if save_as.strip():
            said = f"Saved as {save_axis(axis, axes_folders()[0], save_as.strip())}"
        return io.NodeOutput(axis, ui=shown(("said", said)))
