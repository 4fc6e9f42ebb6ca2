"""Which corrections made a picture: the samplings of each node, and a walk from the saving node up to them.

What is not certain is not told: behind a node that may mix or reorder pictures only what holds for all of them counts,
and nothing is known of pictures that a node samples and decodes itself.
"""

import json
from collections import OrderedDict
from dataclasses import dataclass
from functools import cache

from comfy_execution.graph import DynamicPrompt
from comfy_execution.graph_utils import is_link
from comfy_execution.progress import get_progress_state
from comfy_execution.utils import get_executing_context

import nodes as host_nodes

from ..corrector.correction.heard import readings_of_run
from ..corrector.correction.record import corrections_of
from ..corrector.correction.run import Run

REMEMBERED_NODES = 256
PICTURE_TYPES = ("LATENT", "IMAGE", "*", "COMFY_MATCHTYPE_V3")  # of sockets that pictures pass through

# Nodes of the host that give out each picture in the place in which it came in.
KEEP_ORDER = {
    "KSampler", "KSamplerAdvanced", "SamplerCustom", "SamplerCustomAdvanced", "RSCorrectorMap", "VAEDecode",
    "VAEDecodeTiled", "VAEEncode", "VAEEncodeTiled", "VAEEncodeForInpaint", "InpaintModelConditioning",
    "SetLatentNoiseMask", "LatentUpscale", "LatentUpscaleBy", "ImageScale", "ImageScaleBy", "ImageScaleToTotalPixels",
    "ImageUpscaleWithModel", "SaveImage", "PreviewImage", "SaveImageAdvanced",
}  # fmt: skip

# The corrections of each picture of a batch, oldest first, from `record.corrections_of`; one item stands for pictures
# that are all alike, and None for pictures of which nothing is known.
Pictures = list[list[dict]] | None


@dataclass(frozen=True)
class Sampling:
    """What a Run of a correcting node did."""

    corrections: list[dict]  # of each picture
    notes: list[str]  # from `Run.notes`
    results: list[tuple[str, bool]]  # from `Run.results`
    read: dict[str, str]  # from `readings_of_run`


# {(id of a node, what its output follows from): (id of the prompt, {id of a correcting node: its Samplings})}. The
# host's cache keeps outputs of earlier prompts, so the id alone would not tell which seed a picture is of.
_executed = OrderedDict()


def remember(run: Run | None, corrector: str | None = None) -> None:
    """Remember what a correcting node did in the executing node.

    Args:
        run: a finished Run, or None if the correcting node itself is executing, and switched off.
        corrector: the id of the correcting node.
    """
    context, state = get_executing_context(), get_progress_state()
    if context is None or context.prompt_id != state.prompt_id:
        return
    corrections = corrections_of(run) if run else []
    if run and not corrections:
        return
    node = state.dynprompt.get_real_node_id(context.node_id)  # of nodes inside an expanded node, that one
    key = node, _signature(state.dynprompt, node)
    prompt_id, samplings = _executed.pop(key, (None, {}))
    if prompt_id != context.prompt_id:
        samplings = {}
    sampling = [Sampling(corrections, run.notes(), run.results(), readings_of_run(run))] if run else []
    samplings.setdefault(corrector, []).extend(sampling)
    _executed[key] = context.prompt_id, samplings
    while len(_executed) > REMEMBERED_NODES:
        _executed.popitem(last=False)


def samplings_of(graph: DynamicPrompt, corrector: str) -> dict[str, list[Sampling]]:
    """What a correcting node did in a graph -> {id of a node: its Samplings}; also from the host's cache."""
    samplings = {
        node: by_corrector[corrector]
        for (node, signature), (_, by_corrector) in _executed.items()
        if corrector in by_corrector and graph.has_node(node) and _signature(graph, node) == signature
    }
    return dict(sorted(samplings.items(), key=lambda item: (len(item[0]), item[0])))


def _signature(graph, node):
    """A hash of a node and all before it, from which its output follows."""
    before = {}
    waiting = [node]
    while waiting:
        if (node := waiting.pop()) not in before and graph.has_node(node):
            data = graph.get_node(node)
            before[node] = [data["class_type"], data["inputs"], data.get("is_changed")]
            waiting += [value[0] for value in data["inputs"].values() if is_link(value)]
    return hash(json.dumps(before, sort_keys=True, default=repr))


def pictures_of(graph: DynamicPrompt, saving_node: str) -> Pictures:
    """The corrections of the pictures that a saving node receives."""

    @cache  # a picture may come by several ways
    def inputs_of(node: str) -> Pictures:
        data = graph.get_node(node)
        links = [tuple(value) for value in data["inputs"].values() if is_link(value)]
        batches = [output_of(*link) for link in links if _type(graph, *link) in PICTURE_TYPES]
        if len(batches) == 1 and data["class_type"] in KEEP_ORDER:
            return batches[0]
        return _alike(batches)

    @cache
    def output_of(node: str, slot: int) -> Pictures:
        pictures = inputs_of(node)
        key = node, _signature(graph, node)
        if key not in _executed:
            return pictures
        runs = [[sampling.corrections for sampling in each] for each in _executed[key][1].values()]
        stages = [_of_runs(each) for each in runs]  # of several correcting nodes in a row
        return _in_a_row(pictures, *stages) if _type(graph, node, slot) == "LATENT" else None

    return inputs_of(saving_node)


def corrections_in(pictures: Pictures, place: int | None) -> list[dict]:
    """The corrections of the picture in a place of its batch, or of any if all are alike; empty if not known."""
    if (alike := _alike([pictures])) is not None:
        return alike[0]
    return pictures[place] if pictures and place is not None and place < len(pictures) else []


def _type(graph, node, slot):
    kinds = host_nodes.NODE_CLASS_MAPPINGS  # pyright: ignore[reportAttributeAccessIssue]  # the host's nodes.py
    types = kinds[graph.get_node(node)["class_type"]].RETURN_TYPES
    return types[slot] if slot < len(types) else ""


def _alike(batches):
    """What is known of each picture of some batches in any order: one item if all are alike, and otherwise None."""
    if None in batches:
        return None
    histories = [history for pictures in batches for history in pictures] or [[]]
    return histories[:1] if all(history == histories[0] for history in histories) else None


def _of_runs(runs):
    """The pictures of one run, or of several: a list of batches, or tiles."""
    each = [[[correction] for correction in corrections] for corrections in runs]
    return each[0] if len(each) == 1 else _alike(each)


def _in_a_row(*stages):
    """Pictures that went through several stages in the same order."""
    if None in stages:
        return None
    count = max(map(len, stages))
    if any(len(stage) not in (1, count) for stage in stages):
        return None
    return [[correction for stage in stages for correction in stage[i % len(stage)]] for i in range(count)]
