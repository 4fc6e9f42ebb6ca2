"""Show on a correcting node what the last run did, through web/outcome.js; the page may ask again after a reload."""

from collections import OrderedDict

from aiohttp import web
from comfy_execution.progress import get_progress_state
from comfy_execution.utils import get_executing_context
from server import PromptServer

from ..corrector.correction.decision import counts
from .provenance import remember

EVENT = "rs_corrector.outcome"
ROUTE = "/rs_corrector/outcomes/{workflow}"
KEPT = 64  # number of workflows whose outcomes are kept

_shown = OrderedDict()  # {id of a workflow: {id of a node: the last message about it}}


def add_route():
    """Answer the page's question for the outcomes of a workflow. Called once, before the server starts."""
    if getattr(PromptServer, "instance", None) is not None:
        PromptServer.instance.routes.get(ROUTE)(_answer)


async def _answer(request):
    return web.json_response(list(_shown.get(request.match_info["workflow"], {}).values()))


class Outcome:
    """What the runs of a correcting node did in the current prompt.

    Args:
        node: the id of the correcting node, or None outside a graph.
    """

    def __init__(self, node):
        self.node, self.prompt_id = node, None
        self.samplers, self.notes = {}, []  # {id of a sampler: {name of a preference: reasons of all pictures}}

    def tell(self, run):
        """A sampling ended: remember its Run for the metadata of pictures, and show it."""
        remember(run, self.node)
        context = get_executing_context()
        if context is None:
            return
        if context.prompt_id != self.prompt_id:
            self.prompt_id, self.samplers, self.notes = context.prompt_id, {}, []
        reasons = self.samplers.setdefault(context.node_id, {})  # a sampler may run several times, for tiles
        for preference, own in zip(run.preferences, run.reasons, strict=False):
            reasons.setdefault(preference.name or preference.axis.title, []).extend(own)
        self.notes += [note for note in run.notes() if note not in self.notes]
        lines = [line for sampler in self.samplers for line in self._lines(sampler)]
        self._show(list({str(line): line for line in lines}.values()), self.notes)

    def _lines(self, sampler):
        titles = [_title(sampler)] if len({str(own) for own in self.samplers.values()}) > 1 else []
        for name, reasons in self.samplers[sampler].items():
            names = [*titles, *([name] if len(self.samplers[sampler]) > 1 else [])]
            text = " · ".join(counts(reasons))
            yield {"text": ": ".join([*names, text]), "corrected": "" in reasons}

    def say(self, text):
        """Show why the node corrects nothing."""
        self._show([{"text": text, "corrected": False}])

    def _show(self, lines, notes=()):
        context, server = get_executing_context(), getattr(PromptServer, "instance", None)
        if context is None or server is None or self.node is None:
            return
        node, workflow = get_progress_state().dynprompt.get_display_node_id(self.node), _workflow(context.prompt_id)
        message = {"node": node, "workflow": workflow, "lines": lines, "notes": list(notes)}
        if workflow:
            _shown.setdefault(workflow, {})[node] = message
            _shown.move_to_end(workflow)
            while len(_shown) > KEPT:
                _shown.popitem(last=False)
        server.send_sync(EVENT, message, server.client_id)


def _title(node):
    """The title of a node on the page."""
    graph = get_progress_state().dynprompt
    data = graph.get_node(graph.get_display_node_id(node))
    return data.get("_meta", {}).get("title") or data["class_type"]


def _workflow(prompt_id):
    """The id of the workflow of a running prompt on the page, or None."""
    for _, running, _, extra_data, *_ in list(PromptServer.instance.prompt_queue.currently_running.values()):
        if running == prompt_id:
            return ((extra_data.get("extra_pnginfo") or {}).get("workflow") or {}).get("id")
    return None
