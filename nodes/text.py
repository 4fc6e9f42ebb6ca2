"""A node that makes a preference from a group and two prompts, without training but that of its gate."""

from functools import partial

import comfy.utils
import torch
from comfy.sd import CLIP
from comfy_api.latest import io

from ..corrector.axis.texts import text_axis
from ..corrector.gate.train import QUICK, train_gate
from ..corrector.gate.wordings import whole_words
from ..corrector.preference.preference import Preference
from ..corrector.preference.text import Text
from .axes import WORDINGS
from .host import encode_each, vocabulary_of
from .preferences import PreferenceSocket
from .search import PREFERENCE_CATEGORY, SEARCH_WORDS, found_by


class RSCorrectorTextPreference(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RSCorrectorTextPreference",
            display_name="RS-Corrector Text Preference",
            category=PREFERENCE_CATEGORY,
            **found_by(*SEARCH_WORDS, "concept slider"),
            description="A preference from two prompts, for any checkpoint, without training. It needs two more model "
            "evaluations per step, and does not keep the skin tone: corrected pictures may show lighter skin.",
            inputs=[
                io.Clip.Input("clip", tooltip="The CLIP that encodes your prompt."),
                io.String.Input(
                    "group", default="", tooltip="The group, in the words of the prompts, such as Kenyan woman."
                ),
                io.String.Input(
                    "stereotype",
                    default="",
                    tooltip="A full prompt that names the group, with what the model shows too often, such as a photo "
                    "of a Kenyan woman in a village.",
                ),
                io.String.Input(
                    "counter",
                    default="",
                    tooltip="The same prompt with what it should also show instead, such as a photo of a Kenyan woman "
                    "in a city.",
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
        cls, clip: CLIP, group: str, stereotype: str, counter: str, aliases: str = "", stereotype_paraphrases: str = "",
        counter_paraphrases: str = "", another: str = "",
    ) -> io.NodeOutput:  # fmt: skip
        axis = text_axis(group, stereotype, counter, aliases, stereotype_paraphrases, counter_paraphrases, another)
        progress = comfy.utils.ProgressBar(QUICK["count"])

        def encode(prompt):
            return clip.encode_from_tokens_scheduled(clip.tokenize(prompt))

        with torch.inference_mode(False), torch.enable_grad():
            gate, accuracy = train_gate(
                axis, partial(encode_each, clip, progress=progress.update),
                words=whole_words(vocabulary_of(clip)), **QUICK,
            )  # fmt: skip
        source = Text(encode(counter), encode(stereotype))
        training = {"gate_accuracy": accuracy}
        preference = Preference(axis, "any", source, gate, training=training, name=axis.title, hash=axis.hash)
        return io.NodeOutput((preference,))
