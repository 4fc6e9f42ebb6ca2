"""Show on each correcting node what it did, through web/results.js.

A message goes out when a sampling begins, with what was read in its prompts, and one when it ends. The page asks again
when a prompt ends, because nothing runs when all comes from the host's cache, and after a reload.
"""

from collections import OrderedDict

from aiohttp import web
from comfy_execution.progress import get_progress_state
from comfy_execution.utils import get_executing_context
from server import PromptServer

from ..corrector.correction.decision import counts
from ..corrector.correction.heard import readings_of_run
from ..corrector.correction.run import Run
from ..corrector.gate.prompt_gate import LEFT_ALONE
from . import provenance

CORRECTING_NODES = ("RSCorrectorAnyCheckpoint", "RSCorrector", "RSCorrectorAdvanced")
OUTCOME_EVENT = "rs_corrector.outcome"
SHOWN_WORKFLOWS = 64  # whose outcomes are kept

_shown = OrderedDict()  # {id of a workflow: {id of a node: the last message about it}}


def add_routes() -> None:
    """Answer the page's questions for outcomes. Called once, before the server starts."""
    if getattr(PromptServer, "instance", None) is not None:
        PromptServer.instance.routes.get("/rs_corrector/outcomes/prompt/{id}")(_of_prompt)
        PromptServer.instance.routes.get("/rs_corrector/outcomes/workflow/{id}")(_of_workflow)


async def _of_prompt(request):
    """The outcomes of the prompt that just ended."""
    state, prompt_id = get_progress_state(), request.match_info["id"]
    graph = state.dynprompt
    nodes = [node for node in graph.all_node_ids() if graph.get_node(node)["class_type"] in CORRECTING_NODES]
    return web.json_response([_message(node, prompt_id) for node in nodes] if state.prompt_id == prompt_id else [])


async def _of_workflow(request):
    return web.json_response(list(_shown.get(request.match_info["id"], {}).values()))


def tell(node: str | None, run: Run | None = None) -> None:
    """Remember and show what a correcting node did.

    Args:
        node: its id, or None outside a graph.
        run: a finished Run of the executing node, or None if the node is switched off.
    """
    provenance.remember(run, node)
    _send(node, lambda prompt_id: _message(node, prompt_id))


def tell_reading(node: str | None, run: Run) -> None:
    """Show on a correcting node what a Run that begins has read in its prompts."""
    read = readings_of_run(run)
    said = {"lines": [], "notes": [], "read": list(read), "why": list(read.values())}
    _send(node, lambda prompt_id: _address(node, prompt_id) | said)


def _send(node, message_of):
    """Send the page a message about a node in a graph: `message_of(id of the prompt)`."""
    context, server = get_executing_context(), getattr(PromptServer, "instance", None)
    if context is not None and server is not None and node is not None:
        server.send_sync(OUTCOME_EVENT, message_of(context.prompt_id), server.client_id)


def _address(node, prompt_id):
    """The node of a message as the page knows it."""
    graph = get_progress_state().dynprompt
    return {"node": graph.get_display_node_id(node), "workflow": workflow_of(prompt_id)}


def _message(node, prompt_id):
    """What the page shows on a node: what was read, lines {text, corrected}, notes, and why for a report."""
    graph, address = get_progress_state().dynprompt, _address(node, prompt_id)
    lines, results, notes, read = {}, {}, {}, {}  # {text: whether it is as wished}, the same, {text: None}, readings
    by_sampler = {}  # {id of a sampler: {a preference: for each picture why it was left alone}}
    for sampler, samplings in provenance.samplings_of(graph, node).items():
        reasons = by_sampler[sampler] = {}
        for sampling in samplings:  # of a list of batches, or of tiles
            read |= sampling.read
            notes |= dict.fromkeys(sampling.notes)
            results |= dict(sampling.results)
            for correction in sampling.corrections:
                for preference in correction["preferences"]:
                    reasons.setdefault((preference["name"], preference["hash"]), []).append(preference["reason"])
    alike = all(reasons == next(iter(by_sampler.values())) for reasons in by_sampler.values())
    if not by_sampler:
        lines["this model reached no sampler, or its sampler never asked it; connect it to the sampler's model"] = False
    for sampler, reasons in by_sampler.items():
        if not reasons:
            lines["off: the strength is 0"] = False
        for (name, _), each in reasons.items():
            names = [*([] if alike else [_title(graph, sampler)]), *([name] if len(reasons) > 1 else [])]
            lines[": ".join([*names, " · ".join(counts(each))])] = "" in each
    lines |= results
    message = address | {
        "lines": [{"text": text, "corrected": corrected} for text, corrected in lines.items()],
        "notes": list(notes),
        "read": [text for text in read if not text.endswith(LEFT_ALONE)],  # that is in the lines
        "why": list(read.values()),
    }
    if workflow := address["workflow"]:
        _shown.setdefault(workflow, {})[node] = message
        _shown.move_to_end(workflow)
        while len(_shown) > SHOWN_WORKFLOWS:
            _shown.popitem(last=False)
    return message


def _title(graph, node):
    """The title of a node on the page."""
    data = graph.get_node(graph.get_display_node_id(node))
    return data.get("_meta", {}).get("title") or data["class_type"]


def workflow_of(prompt_id: str) -> str | None:
    """The id of the page's workflow from which a running or finished prompt was queued, or None."""
    queue = PromptServer.instance.prompt_queue
    prompts = [*queue.currently_running.values(), *(past["prompt"] for past in queue.get_history(prompt_id).values())]
    for _, prompt, _, extra_data, *_ in prompts:
        if prompt == prompt_id:
            return ((extra_data.get("extra_pnginfo") or {}).get("workflow") or {}).get("id")
    return None
