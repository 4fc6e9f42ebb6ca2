"""The walk from a saving node to its samplers, on the host's own graphs and contexts."""

import pytest
import torch
from comfy_execution.graph import DynamicPrompt
from comfy_execution.progress import reset_progress_state
from comfy_execution.utils import CurrentNodeContext
from host import host_nodes, sample
from rs_pack.corrector.correction.update import Settings
from rs_pack.nodes import provenance
from rs_pack.nodes.correction import corrected

CORRECTED, ASKED, UNKNOWN = ("corrected",), ("left alone, the prompt asks for a village",), ()


class Samples:
    """A node of another pack that samples inside and returns latents and pictures."""

    RETURN_TYPES = ("LATENT", "IMAGE")


@pytest.fixture(autouse=True)
def forgets(monkeypatch):
    provenance._executed.clear()
    monkeypatch.setitem(host_nodes.NODE_CLASS_MAPPINGS, "Samples", Samples)


@pytest.fixture
def run_in(model, backdrop, prompts):
    """`run_in(graph, node)` samples two pictures with a corrected model as if this node did."""

    both = [[torch.cat([prompts["person"][0][0], prompts["village"][0][0]]), {}]]  # one for each picture

    def run(graph, node="sampler", prompt_id="a prompt", positive="person"):
        reset_progress_state(prompt_id, graph)
        ours = corrected(model, backdrop, Settings(), told=lambda run: provenance.remember(run, "ours"))
        with CurrentNodeContext(prompt_id, node, 0):
            sample(ours, (prompts | {"both": both})[positive], prompts["empty"], steps=2)

    return run


def made_by(kind, **inputs):
    return {"class_type": kind, "inputs": inputs}


def graph_of(seed=1, kind="KSampler", slot=0, **others):
    """A sampler of two pictures and a node that saves them, or those of another node that is called `last`."""
    nodes = dict(
        empty=made_by("EmptyLatentImage", batch_size=2), sampler=made_by(kind, latent_image=["empty", 0], seed=seed)
    )
    picture = ["last", 0] if "last" in others else ["sampler", slot]
    return DynamicPrompt(nodes | others | dict(save=made_by("SaveImage", images=picture)))


def outcomes(graph, node="save"):
    pictures = provenance.pictures_of(graph, node)
    return [
        tuple(correction["outcome"] for correction in provenance.corrections_in(pictures, place)) for place in (0, 1)
    ]


def test_a_sampler_from_the_cache_has_the_outcome_of_its_own_inputs(run_in):
    run_in(graph_of(seed=1), positive="village")
    run_in(graph_of(seed=1), prompt_id="the next prompt")
    run_in(graph_of(seed=2), prompt_id="the last prompt", positive="village")
    assert outcomes(graph_of(seed=1)) == [CORRECTED] * 2, "what ran again is replaced"
    assert outcomes(graph_of(seed=2)) == [ASKED] * 2
    assert outcomes(graph_of(seed=3)) == [UNKNOWN] * 2


def test_stages_of_a_picture_are_told_in_their_order(run_in):
    stages = dict(
        larger=made_by("LatentUpscaleBy", samples=["sampler", 0]),
        second=made_by("KSamplerAdvanced", latent_image=["larger", 0]),
        last=made_by("VAEDecode", samples=["second", 0]),
    )
    graph = graph_of(**stages)
    run_in(graph)
    assert outcomes(graph) == [CORRECTED] * 2, "the second stage may be of a plain model"
    run_in(graph, "second", positive="village")
    assert outcomes(graph) == [CORRECTED + ASKED] * 2


@pytest.mark.parametrize("kind, wanted", [("VAEDecode", [CORRECTED, ASKED]), ("LatentFromBatch", [UNKNOWN] * 2)])
def test_each_picture_has_its_own_outcome_behind_nodes_that_keep_the_order(run_in, kind, wanted):
    graph = graph_of(last=made_by(kind, samples=["sampler", 0]))
    run_in(graph, positive="both")
    assert outcomes(graph) == wanted
    run_in(graph, prompt_id="the next prompt")
    assert outcomes(graph) == [CORRECTED] * 2, "what holds for all of them is told"


def test_joined_pictures_are_told_if_all_are_alike(run_in):
    def joined(kind):
        other = made_by("KSampler", latent_image=["empty", 0], seed=2)
        return graph_of(other=other, last=made_by(kind, image1=["sampler", 0], image2=["other", 0]))

    graph = joined("ImageBatch")
    run_in(graph)
    assert outcomes(graph) == [UNKNOWN] * 2
    run_in(graph, "other")
    assert outcomes(graph) == [CORRECTED] * 2


def test_pictures_of_a_node_that_samples_inside_are_told_only_as_latents_and_if_all_runs_are_alike(run_in):
    graph = graph_of(kind="Samples")
    graph.add_ephemeral_node("inside", made_by("KSampler", latent_image=["empty", 0]), "sampler", "sampler")
    run_in(graph)
    run_in(graph, "inside")  # an expanded node
    assert outcomes(graph_of(kind="Samples")) == [CORRECTED] * 2
    assert outcomes(graph_of(kind="Samples", slot=1)) == [UNKNOWN] * 2
    run_in(graph, positive="village")
    assert outcomes(graph_of(kind="Samples")) == [UNKNOWN] * 2
