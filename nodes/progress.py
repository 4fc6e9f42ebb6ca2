"""Show on a node how far its long work is, through web/results.js, and what is kept when it is stopped.

Previews go the same way. Those of ComfyUI's progress bar would stay on the node and hide its result: the page never
ends them.
"""

import io
import logging
import time
from collections import deque

import comfy.model_management
import comfy.utils
from comfy_execution.progress import get_progress_state
from comfy_execution.utils import get_executing_context
from PIL.Image import Image
from server import PromptServer

from ..corrector.pages.templates import data_uri
from .outcome import workflow_of

STAGE_EVENT = "rs_corrector.stage"
MESSAGE_INTERVAL = 0.3  # seconds between two messages of a stage
FEWEST_UPDATES = 3  # from which the time that is left is estimated,
MOST_UPDATES = 9  # and of how many: shards of an earlier run pass at once
PREVIEW_SIDE = 96  # pixels, longest side
STAGES = {  # what `learn` calls its stages
    "verdict": "asking the model which side the pairs show",
    "points": "asking the model while it draws",
    "preference": "learning the preference",
    "gate": "learning which prompts it concerns",
}


class Progress:
    """The node's progress bar, and its stage in words; stops if the user has interrupted the run.

    As a context manager it says on the node what is kept if the run is stopped or fails.
    """

    def __init__(self):
        self.bar = comfy.utils.ProgressBar(1)
        self.stage = ""
        self.updates = deque(maxlen=MOST_UPDATES)  # (time, done)
        self.sent = 0.0  # time of the last message
        self.pictures = self.total = 0  # drawn so far, of how many
        self.kept = ""  # what is of use already if it is stopped, in words
        self.picture = ""  # and what it does, as a data: URI, which stays where nothing else is shown
        context = get_executing_context()
        self.address = context and getattr(PromptServer, "instance", None) and {
            "node": get_progress_state().dynprompt.get_display_node_id(context.node_id),
            "workflow": workflow_of(context.prompt_id),
        }  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            return
        if not issubclass(kind, comfy.model_management.InterruptProcessingException):
            self._send("failed: what was drawn is kept as far as it is usable")
        elif self.kept:
            self._send(f"stopped: {self.kept}; run again to go on from there")
        elif self.pictures:
            self._send(f"stopped: {self.pictures} of {self.total} pictures are kept; run again to go on from there")
        else:
            self._send("stopped: nothing was drawn yet")

    def drawn(self, stage: str, count: int, total: int, preview: Image | None = None) -> None:
        """`count` more pictures of `total` are sampled; `preview` shows one of them."""
        self.pictures += count
        self.total = total
        self.at(stage, self.pictures, total, preview)

    def __call__(self, stage: str, done: int, total: int) -> None:
        """`done` of `total` steps of a training stage of `learn` are done; each stage starts a new bar."""
        self.at(STAGES.get(stage, stage), done, total)

    def at(self, stage: str, done: int = 0, total: int = 0, preview: Image | None = None) -> None:
        """A stage in words, and how much of it is done."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        now, begins = time.monotonic(), stage != self.stage
        if begins:
            self.stage = stage
            self.updates.clear()
            logging.info("RS-Corrector: %s", stage)
        self.updates.append((now, done))
        if total:
            self.bar.update_absolute(done, total)
        if begins or now - self.sent >= MESSAGE_INTERVAL:
            self.sent = now
            counted = f"{stage} {done} of {total}" if total > 1 else stage
            self._send(" · ".join(filter(None, (counted, self._time_left(total)))), preview)

    def _time_left(self, total):
        """About how long the stage still takes, or "" if that is not known yet."""
        (first, before), (last, done) = self.updates[0], self.updates[-1]
        if len(self.updates) < FEWEST_UPDATES or done <= before or done >= total:
            return ""
        minutes = (last - first) / (done - before) * (total - done) / 60
        if minutes < 1:
            return "less than a minute left"
        return f"about {minutes:.0f} min left" if minutes < 90 else f"about {minutes / 60:.0f} h left"

    def _send(self, text, preview=None):
        if self.address:
            picture = _small(preview) if preview else self.picture
            message = {"lines": [{"text": text, "kind": "note"}], "preview": picture}
            server = PromptServer.instance
            server.send_sync(STAGE_EVENT, {**self.address, **message}, server.client_id)


def _small(picture: Image) -> str:
    """A small picture as a data: URI."""
    picture, file = picture.copy(), io.BytesIO()
    picture.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    picture.save(file, "JPEG", quality=80)
    return data_uri(file.getvalue())
