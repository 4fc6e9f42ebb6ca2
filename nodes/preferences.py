"""Nodes that load, combine and save preferences, and where their files are."""

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import folder_paths
from comfy_api.latest import io

from ..corrector.files.errors import printable
from ..corrector.files.folders import WEIGHTS
from ..corrector.preference.file import file_hash, load_preferences, save_preferences
from ..corrector.preference.preference import Preference
from .results import shown
from .search import PREFERENCE_CATEGORY, found_by

PreferenceSocket = io.Custom("RS_PREFERENCE")  # carries a tuple of corrector.preference.Preference
FOLDER = "rs_corrector"

folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER))
# Without extensions, ComfyUI would list every file.
folder_paths.folder_names_and_paths[FOLDER] = (folder_paths.folder_names_and_paths[FOLDER][0], {".safetensors"})


def preference_names() -> list[str]:
    """Names of the files in the user's `models/rs_corrector` folders, then of the shipped ones."""
    shipped = sorted(path.name for path in WEIGHTS.glob("*.safetensors"))
    return list(dict.fromkeys([*folder_paths.get_filename_list(FOLDER), *shipped]))


def preference_path(name: str) -> Path:
    """The user's file of this name, else the path of the shipped one; it may be missing."""
    return Path(folder_paths.get_full_path(FOLDER, name) or WEIGHTS / Path(name).name)


def preferences_in(path: Path) -> tuple[Preference, ...]:
    """Load the preferences of a file and set their `path`, so that calibration can update it."""
    return tuple(replace(preference, path=Path(path)) for preference in load_preferences(path))


def preference_file(name: str) -> Path:
    """The path to save a preference under a name. Raises ValueError if the name is not a plain file name."""
    name = name.strip().removesuffix(".safetensors")
    if not re.fullmatch(r"\w[\w .()+-]{0,99}", name) or name.endswith((".", " ")):
        raise ValueError(
            f'"{name[:90]}" cannot name a preference file; use letters, digits, spaces, hyphens and dots; no folder.'
        )
    return Path(folder_paths.get_folder_paths(FOLDER)[0]) / f"{name}.safetensors"


def file_fingerprint(path: Path) -> str:
    """A hash of a file's content; "" if it is missing, or has a name that no file can have."""
    return file_hash(path) if os.path.isfile(path) else ""


def missing_file(subject: str, place: str, folders: Iterable[Path | str]) -> str:
    """The answer of `validate_inputs` about a missing file."""
    looked_in = ", ".join(map(str, folders))
    return printable(f"{subject} is not in {place} (looked in {looked_in}); put it back there, or select another file.")


def validated(check: Callable, *args, **options) -> bool | str:
    """The answer of `validate_inputs`: True, or the message of the ValueError that `check(*args, **options)` raises."""
    try:
        check(*args, **options)
    except ValueError as error:
        return printable(str(error))
    return True


def _output(tooltip: str):
    return PreferenceSocket.Output(display_name="preference", tooltip=tooltip)


class RSCorrectorLoadPreference(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RSCorrectorLoadPreference",
            display_name="RS-Corrector Load Preference",
            category=PREFERENCE_CATEGORY,
            **found_by("stereotype", "bias", "debias", "load correction"),
            description="Loads a learned preference from models/rs_corrector, or one that ships with RS-Corrector.",
            inputs=[
                io.Combo.Input(
                    "file",
                    options=preference_names(),
                    tooltip="Fits one type of model; files named miniature-* are for the RS-Corrector Miniature.",
                )
            ],
            outputs=[_output("All preferences of the file, for RS-Corrector.")],
        )

    @classmethod
    def validate_inputs(cls, file: str) -> bool | str:
        if os.path.isfile(preference_path(file)):
            return True
        folders = folder_paths.get_folder_paths(FOLDER)
        return missing_file(f'The preference file "{file}"', "models/rs_corrector", folders)

    @classmethod
    def fingerprint_inputs(cls, file: str) -> object:
        return file_fingerprint(preference_path(file))

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        return io.NodeOutput(preferences_in(preference_path(file)))


class RSCorrectorCombinePreferences(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        sockets = [
            PreferenceSocket.Input(f"preference_{number}", optional=True, tooltip="One stereotype to correct.")
            for number in range(1, 5)
        ]
        return io.Schema(
            node_id="RSCorrectorCombinePreferences",
            display_name="RS-Corrector Combine Preferences",
            category=PREFERENCE_CATEGORY,
            **found_by("several stereotypes", "bias", "intersectional"),
            description="Corrects up to four stereotypes at once; each is applied to the pictures that it concerns.",
            inputs=sockets,
            outputs=[_output("All of them, for RS-Corrector or RS-Corrector Save Preference.")],
        )

    @classmethod
    def execute(cls, **sockets: tuple[Preference, ...] | None) -> io.NodeOutput:
        # In the order of the sockets; a preference that is connected twice is applied once.
        preferences = {p.hash: p for _, socket in sorted(sockets.items()) for p in socket or ()}
        if not preferences:
            raise ValueError("No preference is connected; connect one to four RS-Corrector preferences.")
        return io.NodeOutput(tuple(preferences.values()))


class RSCorrectorSavePreference(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RSCorrectorSavePreference",
            display_name="RS-Corrector Save Preference",
            category=PREFERENCE_CATEGORY,
            **found_by("save correction", "bias"),
            description="Saves learned preferences, one per axis, in one file in models/rs_corrector.",
            inputs=[
                PreferenceSocket.Input("preference", tooltip="One, or several from RS-Corrector Combine Preferences."),
                io.String.Input("name", default="my-preferences", tooltip="File name; replaces a file of this name."),
            ],
            outputs=[_output("The preferences as the file now has them.")],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, name: str | None = None) -> bool | str:
        return name is None or validated(preference_file, name)  # None: the name comes from another node

    @classmethod
    def execute(cls, preference: tuple[Preference, ...], name: str) -> io.NodeOutput:
        path = preference_file(name)
        save_preferences([replace(p) for p in preference], path)  # copies, because saving sets their hash
        return io.NodeOutput(preferences_in(path), ui=shown(("said", f"Saved as {path}")))
