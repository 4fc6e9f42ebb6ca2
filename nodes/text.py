"""A node that makes a preference from a group and two prompts, without training but that of its gate."""

from functools import partial
from pathlib import Path

import comfy.utils
import folder_paths
from comfy.sd import CLIP, VAE
from comfy_api.latest import io

from ..corrector.axis.axis import Axis
from ..corrector.axis.texts import text_axis
from ..corrector.preference.asking import asking_preference
from ..corrector.preference.preference import Preference
from .asking import text_source
from .axes import WORDINGS
from .host import encode_each, vocabulary_of
from .identity import identity_of_text_encoder
from .preferences import PreferenceSocket
from .search import PREFERENCE_CATEGORY, SEARCH_WORDS, found_by


def gates_folder() -> Path:
    """Where gates are kept: in ComfyUI's user folder, of which its API serves nothing that begins with "__"."""
    return Path(folder_paths.get_user_directory(), "__rs_corrector", "gates")


def text_preference(axis: Axis, clip: CLIP, vae: VAE | None = None) -> Preference:
    """A preference that asks the model, with a gate that is trained once for an axis and a CLIP."""
    progress = comfy.utils.ProgressBar(1)
    encode, encoder = partial(encode_each, clip), identity_of_text_encoder(clip)
    return asking_preference(
        axis, text_source(clip, vae), encode, vocabulary_of(clip), encoder, gates_folder(), progress.update_absolute
    )


class RSCorrectorTextPreference(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RSCorrectorTextPreference",
            display_name="RS-Corrector Text Preference",
            category=PREFERENCE_CATEGORY,
            **found_by(*SEARCH_WORDS, "concept slider"),
            description="A preference from two prompts, for any checkpoint, without training. The model is asked "
            "what it would draw with the other side: a run of 20 steps takes about half as long again.",
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
        return io.NodeOutput((text_preference(axis, clip),))
