"""Record in the metadata of saved pictures what a run did: preference, hash, strength, target, result per picture.

ComfyUI writes a prompt's `extra_pnginfo` into every picture that it saves. The result is known only after sampling,
when the node that patched the model may have come from the cache. So each prompt gets an empty note when it is queued,
and the run fills it in under the id of its sampler node.
"""

import uuid
from collections import OrderedDict

from comfy_execution.utils import get_executing_context
from server import PromptServer

KEY = "rs_corrector"
NODES = ("RSCorrector", "RSCorrectorAdvanced")
KEPT = 256  # maximum number of notes in memory

_notes = OrderedDict()


def watch_prompts():
    """Attach a note to every prompt that is queued from now on."""
    if getattr(PromptServer, "instance", None) is not None:
        PromptServer.instance.add_on_prompt_handler(_add_note)


def _add_note(json_data):
    picture_info = json_data.get("extra_data", {}).get("extra_pnginfo")
    nodes = json_data.get("prompt", {}).values()
    if isinstance(picture_info, dict) and any(str(n.get("class_type")) in NODES for n in nodes):
        note = {"id": uuid.uuid4().hex}
        picture_info[KEY] = _notes[note["id"]] = note
        while len(_notes) > KEPT:
            _notes.popitem(last=False)
    return json_data


def record(entries):
    """Add a run's entries, one JSON object per preference, under the id of the sampler that is executing."""
    context = get_executing_context()
    if context is None or getattr(PromptServer, "instance", None) is None:
        return
    for _, prompt_id, _, extra_data, *_ in list(PromptServer.instance.prompt_queue.currently_running.values()):
        copied = (extra_data.get("extra_pnginfo") or {}).get(KEY, {})  # the queue holds a copy of the running prompt
        if prompt_id == context.prompt_id and copied.get("id") in _notes:
            _notes[copied["id"]].setdefault(f"sampler {context.node_id}", []).extend(entries)
