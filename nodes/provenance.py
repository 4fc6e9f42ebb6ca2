"""Which corrections made a picture: the samplings of each node, and a walk from the saving node up to them.

What is not certain is not told: nodes that the walk does not know may reorder a batch, so behind them only what holds
for all pictures is said; a node that samples and returns pictures itself may return others, so nothing is said.
"""

import hashlib
import json
import re
from collections import OrderedDict
from dataclasses import dataclass, field

from comfy_execution.graph import NodeNotFoundError
from comfy_execution.graph_utils import is_link
from comfy_execution.progress import get_progress_state
from comfy_execution.utils import get_executing_context

import nodes as host_nodes

from ..corrector.correction.record import corrections_of

KEPT = 256  # number of nodes whose samplings are remembered
# Socket types that no pictures pass through; those of other packs may hold some, as pipes do.
NO_PICTURES = (
    "INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "MODEL", "CLIP", "VAE", "CONDITIONING", "CLIP_VISION",
    "CLIP_VISION_OUTPUT", "CONTROL_NET", "STYLE_MODEL", "UPSCALE_MODEL", "MASK", "NOISE", "GUIDER", "SAMPLER", "SIGMAS",
    "RS_PREFERENCE",
)  # fmt: skip

# Nodes with one input for pictures, whose output has the same number of pictures in the same order.
KEEP_ORDER = {
    "KSampler", "KSamplerAdvanced", "SamplerCustom", "SamplerCustomAdvanced", "RSCorrectorMap", "VAEDecode",
    "VAEDecodeTiled", "VAEEncode", "VAEEncodeTiled", "VAEEncodeForInpaint", "InpaintModelConditioning",
    "SetLatentNoiseMask", "LatentUpscale", "LatentUpscaleBy", "LatentRotate", "LatentFlip", "LatentCrop", "ImageScale",
    "ImageScaleBy", "ImageScaleToTotalPixels", "ImageScaleToMaxDimension", "ImageUpscaleWithModel", "ImageInvert",
    "ImageSharpen", "ImageBlur", "ImageQuantize", "ImageCrop", "ImagePadForOutpaint", "SaveImage", "PreviewImage",
    "SaveImageAdvanced",
}  # fmt: skip
JOIN = {"ImageBatch": ("image1", "image2"), "LatentBatch": ("samples1", "samples2")}
SELECT = {"LatentFromBatch", "ImageFromBatch"}
REPEAT = {"RepeatLatentBatch", "RepeatImageBatch"}


@dataclass(frozen=True)
class Batch:
    """Pictures, and the corrections of each, oldest first."""

    pictures: tuple  # a tuple of corrections for each picture; empty if nothing is known
    ordered: bool = False  # whether they are in the order of the batch; otherwise those that occur in it

    def corrections(self, place=None):
        """The corrections of the picture in a place, or of any picture if all are alike; () if unknown."""
        if self.ordered and place is not None:
            return self.pictures[place] if place < len(self.pictures) else ()
        return self.pictures[0] if len(set(self.pictures)) == 1 else ()


UNKNOWN = Batch(())
PLAIN = Batch(((),))


@dataclass(frozen=True)
class Sampling:
    """What a Run of a correcting node did."""

    corrections: tuple  # a Correction for each picture
    notes: tuple  # from `Run.notes`


@dataclass
class _Executed:
    """What the correcting nodes did in one execution of a node."""

    prompt_id: str
    node: str
    samplings: dict = field(default_factory=dict)  # {id of the correcting node: its Samplings}
    inside: bool = False  # whether a node inside this one sampled


_executed = OrderedDict()  # {signature: _Executed}; the host's cache may outlive the ids of its nodes


def remember(run, corrector=None):
    """Remember what a correcting node did in the executing node.

    Args:
        run: a finished Run, or None if the correcting node itself is executing, and switched off.
        corrector: the id of the correcting node.
    """
    context, state = get_executing_context(), get_progress_state()
    if context is None or context.prompt_id != state.prompt_id:
        return
    graph, node = state.dynprompt, context.node_id
    made = [Sampling(corrections, tuple(run.notes()))] if run and (corrections := corrections_of(run)) else []
    if made or run is None:
        _of_execution(graph, node, context.prompt_id).samplings.setdefault(corrector, []).extend(made)
    while (node := graph.get_parent_node_id(node)) is not None:  # an expanded node, whose outputs may be any of these
        _of_execution(graph, node, context.prompt_id).inside = True


def samplings_of(graph, corrector):
    """What a correcting node did in a graph -> {id of a node: its Samplings}; also from the host's cache."""
    nodes, known = sorted(graph.all_node_ids(), key=_number), {}
    executed = {node: _executed.get(_signature(graph, node, known)) for node in nodes}
    return {node: one.samplings[corrector] for node, one in executed.items() if one and corrector in one.samplings}


def _number(node):
    """The key by which ids are sorted."""
    return [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"[:.]", node)]


def _of_execution(graph, node, prompt_id):
    key = _signature(graph, node)
    if key not in _executed or (_executed[key].prompt_id, _executed[key].node) != (prompt_id, node):
        _executed[key] = _Executed(prompt_id, node)
    _executed.move_to_end(key)
    while len(_executed) > KEPT:
        _executed.popitem(last=False)
    return _executed[key]


def _signature(graph, node, known=None):
    """A hash of a node and all before it, from which its output follows; as in the host's cache, mostly without ids.

    Args:
        known: signatures of other nodes, which are looked up and added to; or None.
    """
    known, waiting = {} if known is None else known, [node]
    while node not in known:
        data = graph.get_node(waiting[-1])
        links = [value[0] for value in data["inputs"].values() if is_link(value)]
        missing = [link for link in links if graph.has_node(link) and link not in known and link not in waiting]
        if missing:
            waiting.append(missing[0])
            continue
        inputs = {
            name: [known.get(value[0]), value[1]] if is_link(value) else value
            for name, value in sorted(data["inputs"].items())
        }
        own_id = waiting[-1] if getattr(_class(data), "NOT_IDEMPOTENT", False) else ""
        text = json.dumps([data["class_type"], own_id, inputs, data.get("is_changed")], default=repr)
        known[waiting.pop()] = hashlib.sha256(text.encode()).hexdigest()
    return known[node]


def pictures_of(graph, node):
    """The Batch of pictures that a saving node receives. Args: the host's DynamicPrompt, the node's id."""
    try:
        return _inputs_of(graph, node, {})
    except (NodeNotFoundError, RecursionError):  # a graph of hundreds of nodes in a row
        return UNKNOWN


def _inputs_of(graph, node, known):
    data = graph.get_node(node)
    links = {name: tuple(value) for name, value in data["inputs"].items() if is_link(value)}
    links = {name: link for name, link in links.items() if _type(graph, *link) not in NO_PICTURES}
    return _combined(data, {name: _output_of(graph, *link, known) for name, link in links.items()})


def _output_of(graph, node, slot, known):
    """The Batch that comes out of a socket."""
    if (node, slot) not in known:
        known[node, slot] = UNKNOWN  # in case of a cycle
        executed, batch = _executed.get(_signature(graph, node, known)), _inputs_of(graph, node, known)
        if executed is not None:
            certain = _type(graph, node, slot) == "LATENT" and not executed.inside
            batch = _after(batch, list(executed.samplings.values())) if certain else UNKNOWN
        known[node, slot] = batch
    return known[node, slot]


def _type(graph, node, slot):
    types = _class(graph.get_node(node)).RETURN_TYPES
    return types[slot] if slot < len(types) else "*"


def _class(data):
    return host_nodes.NODE_CLASS_MAPPINGS[data["class_type"]]


def _combined(data, found):
    """The Batch that a node makes of those in its inputs {name: Batch}."""
    kind, inputs, batches = data["class_type"], data["inputs"], list(found.values())
    if not batches:
        count = inputs.get("batch_size")
        return Batch(((),) * count, True) if kind == "EmptyLatentImage" and isinstance(count, int) else PLAIN
    if UNKNOWN in batches:
        return UNKNOWN
    pictures = tuple(picture for name in JOIN.get(kind, found) for picture in found[name].pictures)
    if all(batch.ordered for batch in batches):
        if kind in JOIN or (kind in KEEP_ORDER and len(batches) == 1):
            return Batch(pictures, True)
        numbers = [inputs.get(name) for name in ("batch_index", "length", "amount")]
        if kind in SELECT and all(isinstance(number, int) for number in numbers[:2]):
            first, length = numbers[:2]
            first = max(0, min(len(pictures) - 1, first + len(pictures) * (first < 0)))
            return Batch(pictures[first : first + length], True)
        if kind in REPEAT and isinstance(numbers[2], int):
            return Batch(pictures * numbers[2], True)
    return Batch(tuple(dict.fromkeys(pictures)))


def _after(batch, samplings):
    """The Batch after a node that sampled it; `samplings` are those of each correcting node."""
    runs = [[sampling.corrections for sampling in own] for own in samplings if own]
    if all(len(own) == 1 for own in runs) and len({len(own[0]) for own in runs}) == 1:
        rows = zip(*(own[0] for own in runs), strict=True)  # each picture's corrections by nodes in a row
        sampled = Batch(tuple(rows), True)
    elif len(runs) == 1:  # a list of batches, or tiles
        sampled = Batch(tuple(dict.fromkeys((correction,) for run in runs[0] for correction in run)))
    else:
        return UNKNOWN
    if len(set(batch.pictures)) == 1:
        return Batch(tuple(batch.pictures[0] + own for own in sampled.pictures), sampled.ordered)
    if batch.ordered and sampled.ordered and len(batch.pictures) == len(sampled.pictures):
        return Batch(tuple(a + b for a, b in zip(batch.pictures, sampled.pictures, strict=True)), True)
    return UNKNOWN
