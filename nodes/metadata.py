"""Write into saved pictures what the correction did to each of them; docs/metadata.md describes the format.

ComfyUI copies the entries of a prompt's `extra_pnginfo` into the pictures that it saves. Only the saving node and the
picture at hand tell which entry is right, so `extra_pnginfo` becomes a dict that looks this up whenever it is read.
"""

from typing import Any

from comfy_execution.progress import get_progress_state
from comfy_execution.utils import get_executing_context
from server import PromptServer

from ..corrector.correction.record import RECORD_KEY, record_of
from .provenance import corrections_in, pictures_of

CORRECTING_NODES = ("RSCorrectorAnyCheckpoint", "RSCorrector", "RSCorrectorAdvanced", "RSCorrectorMap")
READ_FOR_EACH_PICTURE = ("SaveImage", "PreviewImage", "SaveImageAdvanced")  # in the order of the batch


def watch_prompts() -> None:
    """Replace `extra_pnginfo` of every prompt with our nodes that is queued from now on."""
    if getattr(PromptServer, "instance", None) is not None:
        PromptServer.instance.add_on_prompt_handler(_replace_picture_info)


def _replace_picture_info(json_data):
    extra_data = json_data.get("extra_data", {})
    kinds = {str(node.get("class_type")) for node in json_data.get("prompt", {}).values()}
    if isinstance(extra_data.get("extra_pnginfo"), dict) and kinds.intersection(CORRECTING_NODES):
        extra_data["extra_pnginfo"] = PictureInfo(extra_data["extra_pnginfo"])
    return json_data


class PictureInfo(dict):
    """`extra_pnginfo` with our entry for the next picture that the executing node saves, if it was corrected."""

    def __init__(self, entries: dict):
        super().__init__(entries)
        self._batches = {}  # {executing context: [what is known of its pictures, number of pictures saved]}

    def __iter__(self):
        self._update()
        return iter(list(super().__iter__()))  # a copy: a nested loop may update the entries

    def keys(self) -> list[str]:  # pyright: ignore[reportIncompatibleMethodOverride]  # a list, for loops that read entries
        return list(self)

    def items(self) -> list[tuple[str, Any]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return [(key, self[key]) for key in self]

    def _update(self):
        self.pop(RECORD_KEY, None)
        context, state = get_executing_context(), get_progress_state()
        if context is None or context.prompt_id != state.prompt_id:
            return
        if context not in self._batches:
            self._batches[context] = [pictures_of(state.dynprompt, context.node_id), 0]
        pictures, saved = self._batches[context]
        one_by_one = state.dynprompt.get_node(context.node_id)["class_type"] in READ_FOR_EACH_PICTURE
        corrections = corrections_in(pictures, saved if one_by_one else None)
        self._batches[context][1] += 1
        if corrections:
            self[RECORD_KEY] = record_of(corrections)
