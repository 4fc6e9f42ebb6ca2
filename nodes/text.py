"""A node that makes a preference from a group and two prompts, without training but that of its gate."""

import difflib
from functools import partial

import comfy.utils
import torch
from comfy_api.latest import io

from ..corrector.axis.axis import Axis, Side, aliases_from_text, lines_of
from ..corrector.latent_space.errors import short
from ..corrector.learning.gate import train_gate
from ..corrector.learning.wordings import whole_words
from ..corrector.preference.preference import Preference
from ..corrector.preference.text import Text
from .axes import WORDINGS
from .host import encode_each
from .identity import vocabulary_of
from .preferences import PreferenceSocket
from .search import PREFERENCES, found_by

# Prompts that the gate is trained on.
NEUTRAL = (
    "{group}", "a {group}", "a photo of a {group}", "portrait of a {group}", "a painting of a {group}, close-up",
    "a {group} looking at the camera", "a young {group}", "an old {group} smiling", "a drawing of one {group}",
)  # fmt: skip
# It is trained on few short texts, because on a CPU to encode them is what takes the time, in few
# directions, and is less sure of a name. Requests are read early: to override one is the worst error.
GATE = dict(count=220, longest=16, steps=80, directions=32, reach=3, named=(0.35, 0.4), asked=(0.2, 0.25))


def text_axis(group, stereotype, counter, aliases="", stereotype_paraphrases="", counter_paraphrases="", another=""):
    """Make an Axis from a group and two prompts that name it, and from more wordings, as for `axis_from_texts`.

    Raises ValueError if the prompts do not differ, and AxisError if the wordings contradict each other.
    """
    group, stereotype, counter = (" ".join(text.split()) for text in (group, stereotype, counter))
    if not group:
        raise ValueError('The group is empty; enter the group that both prompts name, for example "Orvane person".')
    for name, prompt in (("stereotype", stereotype), ("counter", counter)):
        if group.lower() not in prompt.lower():
            raise ValueError(f'The {name} prompt does not name "{short(group)}"; each prompt must name the group.')
    if stereotype.lower() == counter.lower():
        raise ValueError("The stereotype and counter prompts are the same; they must differ in what should change.")
    sides = {}
    for name, prompt, other, more in (
        ("stereotype", stereotype, counter, stereotype_paraphrases),
        ("counter", counter, stereotype, counter_paraphrases),
    ):
        words = differing_words(prompt, other)
        if not words:
            raise ValueError(
                f"The {name} prompt has no words that the other lacks; describe in each what it should show, "
                'for example "in a village" and "in a city".'
            )
        tail = prompt[prompt.lower().index(group.lower()) + len(group) :].strip(" ,.")  # "in a village"
        phrases = (words, tail) if words in tail.lower() and tail != words else (words,)
        sides[name] = Side(f'"{words}"', phrases, tuple(lines_of(more)))
    return Axis(
        id="text",
        title=f"{group}: {sides['stereotype'].description} / {sides['counter'].description}",
        groups=(group,),
        aliases={name: tuple(names) for name, names in aliases_from_text(aliases, (group,)).items()},
        another=tuple(lines_of(another)),
        neutral=NEUTRAL,
        **sides,
        scope="made from two prompts in ComfyUI",
    )


def differing_words(prompt, other):
    """The words of a prompt that the other prompt lacks at that position."""
    words, others = ([word.strip(",.").lower() for word in text.split()] for text in (prompt, other))
    blocks = difflib.SequenceMatcher(None, words, others, autojunk=False).get_opcodes()
    return " ".join(word for kind, start, end, *_ in blocks if kind != "equal" for word in words[start:end])


class RSCorrectorTextPreference(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RSCorrectorTextPreference",
            display_name="RS-Corrector Text Preference",
            category=PREFERENCES,
            **found_by("stereotype", "bias", "debias", "fairness", "diversity", "representation", "concept slider"),
            description="A preference from two prompts, for any checkpoint, without training. It needs two more model "
            "evaluations per step, and does not keep the skin tone: corrected pictures may show lighter skin.",
            inputs=[
                io.Clip.Input("clip", tooltip="The CLIP that encodes your prompt."),
                io.String.Input("group", default="Orvane person", tooltip="The group, in the words of the prompts."),
                io.String.Input(
                    "stereotype",
                    default="a portrait of an Orvane person in a village",
                    tooltip="A full prompt that names the group, with what the model shows too often.",
                ),
                io.String.Input(
                    "counter",
                    default="a portrait of an Orvane person in a city",
                    tooltip="The same prompt with what it should also show instead.",
                ),
                *WORDINGS,
            ],
            outputs=[
                PreferenceSocket.Output(
                    display_name="preference", tooltip="A preference for this CLIP and its model, for RS-Corrector."
                )
            ],
        )

    @classmethod
    def execute(
        cls, clip, group, stereotype, counter, aliases="", stereotype_paraphrases="", counter_paraphrases="",
        another="",
    ) -> io.NodeOutput:  # fmt: skip
        axis = text_axis(group, stereotype, counter, aliases, stereotype_paraphrases, counter_paraphrases, another)
        progress = comfy.utils.ProgressBar(GATE["count"])

        def encode(prompt):
            return clip.encode_from_tokens_scheduled(clip.tokenize(prompt))

        with torch.inference_mode(False), torch.enable_grad():
            gate, accuracy = train_gate(
                axis, partial(encode_each, clip, progress=progress.update), check=False,
                words=whole_words(vocabulary_of(clip)), **GATE,
            )  # fmt: skip
        source, known = Text(encode(counter), encode(stereotype)), {"gate_accuracy": accuracy}
        preference = Preference(axis, "any", source, gate, training=known, name=axis.title, hash=axis.hash)
        return io.NodeOutput((preference,))
