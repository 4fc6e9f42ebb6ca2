"""The walk from a saving node to its samplers, on the host's own graphs and contexts."""

import pytest
from comfy_execution.graph import DynamicPrompt
from comfy_execution.progress import reset_progress_state
from comfy_execution.utils import CurrentNodeContext
from host import host_nodes, sample
from rs_pack.corrector.correction.update import Settings
from rs_pack.nodes import provenance
from rs_pack.nodes.correction import corrected

CORRECTED = ("corrected",)


class Samples:
    """A node of another pack that samples inside and returns latents and pictures."""

    RETURN_TYPES = ("LATENT", "IMAGE")


class Number:
    RETURN_TYPES = ("INT",)


@pytest.fixture(autouse=True)
def forgets(monkeypatch):
    monkeypatch.setattr(provenance, "_executed", type(provenance._executed)())
    for kind in (Samples, Number):
        monkeypatch.setitem(host_nodes.NODE_CLASS_MAPPINGS, kind.__name__, kind)


@pytest.fixture
def run_in(model, backdrop, prompts):
    """`run_in(graph, node)` samples with a corrected model as if this node did."""

    def run(graph, node, prompt_id="a prompt", index=0, positive="person", batch=2):
        reset_progress_state(prompt_id, graph)
        ours = corrected(model, backdrop, Settings(), told=lambda run: provenance.remember(run, "ours"))
        with CurrentNodeContext(prompt_id, node, index):
            sample(ours, prompts[positive], prompts["empty"], batch=batch, steps=2)

    return run


def made_by(kind, **inputs):
    return {"class_type": kind, "inputs": inputs}


def graph_of(**nodes):
    return DynamicPrompt(nodes)


def outcomes(graph, node, places=2):
    batch = provenance.pictures_of(graph, node)
    return [tuple(correction.outcome for correction in batch.corrections(place)) for place in range(places)]


def saved(seed=1, sampler="KSampler", slot=0):
    return graph_of(
        empty=made_by("EmptyLatentImage", batch_size=2),
        sampler=made_by(sampler, latent_image=["empty", 0], seed=seed),
        save=made_by("SaveImage", images=["sampler", slot]),
    )


def test_a_sampler_from_the_cache_is_found_in_another_graph_with_other_ids(run_in):
    run_in(saved(), "sampler")
    renamed = graph_of(
        e=made_by("EmptyLatentImage", batch_size=2),
        s=made_by("KSampler", seed=1, latent_image=["e", 0]),
        save=made_by("SaveImage", images=["s", 0]),
    )
    assert outcomes(renamed, "save") == [CORRECTED] * 2


def test_an_earlier_seed_keeps_its_own_outcome(run_in):
    run_in(saved(seed=1), "sampler")
    run_in(saved(seed=2), "sampler", "the next prompt", positive="village")
    assert outcomes(saved(seed=1), "save") == [CORRECTED] * 2
    assert outcomes(saved(seed=2), "save") == [("left alone, the prompt asks for a village",)] * 2
    assert outcomes(saved(seed=3), "save") == [(), ()]


def test_a_sampler_that_runs_again_replaces_its_outcome(run_in):
    run_in(saved(), "sampler", positive="village")
    run_in(saved(), "sampler", "the next prompt")
    assert outcomes(saved(), "save") == [CORRECTED] * 2


def test_pictures_of_a_node_that_samples_inside_are_told_only_as_latents(run_in):
    run_in(saved(sampler="Samples"), "sampler")
    assert outcomes(saved(sampler="Samples"), "save") == [CORRECTED] * 2
    assert outcomes(saved(sampler="Samples", slot=1), "save") == [(), ()]


def test_a_list_of_batches_is_told_if_all_pictures_are_alike(run_in):
    run_in(saved(), "sampler", index=0)
    run_in(saved(), "sampler", index=1)
    assert outcomes(saved(), "save") == [CORRECTED] * 2
    run_in(saved(), "sampler", index=2, positive="village")
    assert outcomes(saved(), "save") == [(), ()]


def test_an_expanded_node_says_nothing_and_what_it_saves_inside_is_right(run_in):
    graph = saved(sampler="Samples")
    graph.add_ephemeral_node("sampler.0.0.1", made_by("KSampler", latent_image=["empty", 0]), "sampler", "sampler")
    graph.add_ephemeral_node("sampler.0.0.2", made_by("SaveImage", images=["sampler.0.0.1", 0]), "sampler", "sampler")
    run_in(graph, "sampler.0.0.1")
    assert outcomes(graph, "sampler.0.0.2") == [CORRECTED] * 2
    assert outcomes(graph, "save") == [(), ()]
    assert outcomes(saved(sampler="Samples"), "save") == [(), ()]  # from the cache, without the nodes inside


def test_a_batch_of_unknown_size_leaves_the_places_behind_it_untold(run_in):
    def joined(count):
        return graph_of(
            count=made_by("Number", value=2),
            plain_empty=made_by("EmptyLatentImage", batch_size=count),
            empty=made_by("EmptyLatentImage", batch_size=2),
            plain=made_by("KSampler", latent_image=["plain_empty", 0], seed=1),
            sampler=made_by("KSampler", latent_image=["empty", 0], seed=2),
            both=made_by("ImageBatch", image1=["plain", 0], image2=["sampler", 0]),
            last=made_by("LatentFromBatch", samples=["both", 0], batch_index=-1, length=1),
            twice=made_by("RepeatLatentBatch", samples=["last", 0], amount=2),
            save=made_by("SaveImage", images=["both", 0]),
            save_twice=made_by("SaveImage", images=["twice", 0]),
        )

    run_in(joined(2), "sampler")
    assert outcomes(joined(2), "save", 5) == [(), (), CORRECTED, CORRECTED, ()]
    assert outcomes(joined(2), "save_twice", 2) == [CORRECTED] * 2
    run_in(joined(["count", 0]), "sampler")
    assert outcomes(joined(["count", 0]), "save", 4) == [()] * 4
