"""Nodes that give a preference: from a file, from two prompts, or several together."""

import difflib
import os
import re
from dataclasses import replace
from pathlib import Path

import comfy.utils
import folder_paths
import torch
from comfy_api.latest import io

from ..corrector.axis.axis import Axis, Side
from ..corrector.learning.gate import train_gate
from ..corrector.learning.gate_texts import OTHER_PEOPLE
from ..corrector.preference.file import file_hash, load_preferences, save_preferences
from ..corrector.preference.preference import Preference
from ..corrector.preference.text import Text

PreferenceSocket = io.Custom("RS_PREFERENCE")  # carries a tuple of corrector.preference.Preference
SHIPPED = Path(__file__).resolve().parents[1] / "weights"
FOLDER = "rs_corrector"

folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER))
# ComfyUI leaves the extensions of a new folder empty, which lists every file.
folder_paths.folder_names_and_paths[FOLDER] = (folder_paths.folder_names_and_paths[FOLDER][0], {".safetensors"})


def preference_names():
    """Files in the user's `models/rs_corrector` folders, then the shipped ones."""
    shipped = sorted(path.name for path in SHIPPED.glob("*.safetensors"))
    return list(dict.fromkeys([*folder_paths.get_filename_list(FOLDER), *shipped]))


def preference_path(name):
    """The user's file of this name, else where the shipped one lies or lay."""
    return Path(folder_paths.get_full_path(FOLDER, name) or SHIPPED / Path(name).name)


def preferences_in(path):
    """The preferences of a file, which remember where that file is: calibrating writes it again."""
    found = load_preferences(path)
    for preference in found:
        preference.path = Path(path)
    return tuple(found)


def preference_file(name):
    """Where a preference of this name is kept. Raises ValueError for all but a plain name."""
    name = name.strip().removesuffix(".safetensors")
    if not re.fullmatch(r"\w[\w .()+-]{0,99}", name) or name.endswith((".", " ")):
        raise ValueError(
            f'"{name}" cannot name a preference file; use letters, digits, spaces, hyphens and dots, and no folder.'
        )
    return Path(folder_paths.get_folder_paths(FOLDER)[0]) / f"{name}.safetensors"


def names_a_file(name):
    """True, or a sentence for the page; a name of None comes from another node and is known later."""
    try:
        preference_file("known later" if name is None else name)
    except ValueError as error:
        return str(error)
    return True


class RSCorrectorLoadPreference(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RSCorrectorLoadPreference",
            display_name="RS-Corrector Load Preference",
            category="RS-Corrector",
            description="Loads a learned preference from models/rs_corrector, or one that ships with RS-Corrector.",
            inputs=[
                io.Combo.Input(
                    "file",
                    options=preference_names(),
                    tooltip="A .safetensors preference. It fits one kind of model; those named miniature-* are for the "
                    "RS-Corrector Miniature.",
                )
            ],
            outputs=[PreferenceSocket.Output(display_name="preference")],
        )

    @classmethod
    def validate_inputs(cls, file):
        if not preference_path(file).is_file():
            return f'The preference file "{file}" is not in models/rs_corrector; put it back, or pick another.'
        return True

    @classmethod
    def fingerprint_inputs(cls, file):
        path = preference_path(file)
        return file_hash(path) if path.is_file() else ""

    @classmethod
    def execute(cls, file) -> io.NodeOutput:
        return io.NodeOutput(preferences_in(preference_path(file)))


class RSCorrectorCombinePreferences(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        sockets = [
            PreferenceSocket.Input(f"preference_{number}", optional=True, tooltip="One stereotype to correct.")
            for number in range(1, 5)
        ]
        return io.Schema(
            node_id="RSCorrectorCombinePreferences",
            display_name="RS-Corrector Combine Preferences",
            category="RS-Corrector",
            description="Corrects up to four stereotypes at once; each decides for itself which pictures it concerns.",
            inputs=sockets,
            outputs=[PreferenceSocket.Output(display_name="preference")],
        )

    @classmethod
    def execute(cls, preference_1=(), preference_2=(), preference_3=(), preference_4=()) -> io.NodeOutput:
        connected = [preference_1, preference_2, preference_3, preference_4]
        # By hash: the same preference over two sockets corrects once.
        preferences = {p.hash: p for socket in connected for p in socket or ()}
        if not preferences:
            raise ValueError("No preference is connected; connect one to four RS-Corrector preferences.")
        return io.NodeOutput(tuple(preferences.values()))


class RSCorrectorSavePreference(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RSCorrectorSavePreference",
            display_name="RS-Corrector Save Preference",
            category="RS-Corrector",
            description="Keeps learned preferences in one file of models/rs_corrector: several axes can share it.",
            inputs=[
                PreferenceSocket.Input("preference", tooltip="One, or several from RS-Corrector Combine Preferences."),
                io.String.Input(
                    "name", default="my-preferences", tooltip="The file. One of the same name is replaced."
                ),
            ],
            outputs=[PreferenceSocket.Output(display_name="preference")],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, name=None):
        return names_a_file(name)

    @classmethod
    def execute(cls, preference, name) -> io.NodeOutput:
        path = preference_file(name)
        save_preferences([replace(one) for one in preference], path)  # copies: their hash is the new file's
        return io.NodeOutput(preferences_in(path))


# Prompts around the group for the gate, and prompts about people whom the axis does not concern.
NEUTRAL = (
    "{group}", "a {group}", "a photo of a {group}", "portrait of a {group}", "a painting of a {group}, close-up",
    "a {group} looking at the camera", "a young {group}", "an old {group} smiling", "a drawing of one {group}",
)  # fmt: skip
GATE_TEXTS = 300
GATE_STEPS = 300


def text_axis(group, stereotype, counter):
    """Two full prompts that name the group -> Axis. Raises ValueError in a sentence when they cannot be told apart."""
    group, stereotype, counter = (" ".join(text.split()) for text in (group, stereotype, counter))
    if not group:
        raise ValueError('The group is empty; write whom the two prompts are about, for instance "Orvane person".')
    for name, prompt in (("stereotype", stereotype), ("counter", counter)):
        if group.lower() not in prompt.lower():
            raise ValueError(f'The {name} prompt does not name "{group}"; each prompt must name the group.')
    if stereotype.lower() == counter.lower():
        raise ValueError("The stereotype and the counter prompt are the same; they must differ in what is to change.")
    sides = {}
    for name, prompt, other in (("stereotype", stereotype, counter), ("counter", counter, stereotype)):
        words = differing_words(prompt, other)
        if not words:
            raise ValueError(
                f"The {name} prompt says nothing that the other does not; name in each what is to be seen, "
                'for instance "in a village" and "in a city".'
            )
        tail = prompt[prompt.lower().index(group.lower()) + len(group) :].strip(" ,.")  # "in a village"
        sides[name] = Side(f'"{words}"', (words, tail) if words in tail.lower() and tail != words else (words,))
    return Axis(
        id="text",
        title=f"{group}: {sides['stereotype'].description} / {sides['counter'].description}",
        groups=(group,),
        neutral=NEUTRAL,
        **sides,
        scope="made from two prompts in ComfyUI",
    )


def differing_words(prompt, other):
    """The words of a prompt, in order, that the other prompt does not have in that place."""
    words, others = ([word.strip(",.").lower() for word in text.split()] for text in (prompt, other))
    blocks = difflib.SequenceMatcher(None, words, others, autojunk=False).get_opcodes()
    return " ".join(word for kind, start, end, *_ in blocks if kind != "equal" for word in words[start:end])


def text_preference(clip, group, stereotype, counter):
    """CLIP and two prompts -> Preference with a gate trained on the spot, from text alone."""
    axis = text_axis(group, stereotype, counter)

    def encode(prompt):
        return clip.encode_from_tokens_scheduled(clip.tokenize(prompt))

    progress = comfy.utils.ProgressBar(GATE_TEXTS)

    def encode_texts(prompts):
        rows = []
        for prompt in prompts:
            rows.append(encode(prompt)[0][0])
            progress.update(1)
        longest = max(row.shape[1] for row in rows)  # some text encoders give as many tokens as the text has
        return torch.cat([torch.nn.functional.pad(row, (0, 0, 0, longest - row.shape[1])) for row in rows])

    named = set(re.findall(r"\w+", group.lower())) - {"person", "man", "woman", "child"}
    others = [other for other in OTHER_PEOPLE if not named & set(other.lower().split())]
    # ComfyUI runs nodes under inference mode, where nothing can be trained.
    with torch.inference_mode(False), torch.enable_grad():
        gate, accuracy = train_gate(axis, encode_texts, count=GATE_TEXTS, steps=GATE_STEPS, other_groups=others)
    return Preference(
        axis=axis,
        space="any",
        source=Text(encode(counter), encode(stereotype)),
        gate=gate,
        training={"gate_accuracy": accuracy},
        name=axis.title,
        hash=axis.hash,
    )


class RSCorrectorTextPreference(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RSCorrectorTextPreference",
            display_name="RS-Corrector Text Preference",
            category="RS-Corrector",
            description="A preference from two prompts, with no training and for any checkpoint. It costs two more "
            "model evaluations a step.",
            inputs=[
                io.Clip.Input("clip", tooltip="The CLIP that also encodes your prompt."),
                io.String.Input(
                    "group", default="Orvane person", tooltip="Whom the prompts are about, in the words of the prompt."
                ),
                io.String.Input(
                    "stereotype",
                    default="a portrait of an Orvane person in a village",
                    tooltip="What the model shows too often. A full prompt that names the group.",
                ),
                io.String.Input(
                    "counter",
                    default="a portrait of an Orvane person in a city",
                    tooltip="What it should also show. The same prompt with only that changed.",
                ),
            ],
            outputs=[PreferenceSocket.Output(display_name="preference")],
        )

    @classmethod
    def execute(cls, clip, group, stereotype, counter) -> io.NodeOutput:
        return io.NodeOutput((text_preference(clip, group, stereotype, counter),))
