"""What a correcting node shows after its samplings, on the host's own graphs and contexts."""

import comfy.sample
import comfy.samplers
import pytest
import torch
from comfy_execution.graph import DynamicPrompt
from comfy_execution.progress import reset_progress_state
from comfy_execution.utils import CurrentNodeContext
from comfy_extras import nodes_custom_sampler
from host import NODES, host_nodes, node, sample
from rs_pack.corrector.files.errors import RSCorrectorError
from rs_pack.nodes import outcome, provenance

ASKS = "the prompt asks for a village"
NOBODY = "the prompt names nobody of Orvane, Tavelu, Quilmari"
NO_STEPS = ("corrected 0 of 4 · left alone 4: the window contains none of this run's steps", False)
NEVER_ASKED = (
    "this model reached no sampler, or its sampler never asked it; connect it to the sampler's model", False
)  # fmt: skip
ADVANCED = dict(strength=1.0, target=1.0, start_percent=0.0, end_percent=1.0, thinning_seed=0, cap=0.0, gate=True)


@pytest.fixture
def shown(model, backdrop, prompts, monkeypatch):
    """`shown(positives, **settings)` samples four pictures of each positive in KSamplers -> the lines of the node."""
    monkeypatch.setattr(outcome, "workflow_of", lambda prompt_id: None)
    monkeypatch.setitem(host_nodes.NODE_CLASS_MAPPINGS, "RSCorrectorAdvanced", NODES["RSCorrectorAdvanced"])

    def run(*positives, preference=backdrop, model=model, runs=1, draw=sample, **settings):
        provenance._executed.clear()
        samplers = {str(i): {"class_type": "KSampler", "inputs": {"seed": i}} for i, _ in enumerate(positives)}
        ours = {"class_type": "RSCorrectorAdvanced", "inputs": {}}
        reset_progress_state("a prompt", DynamicPrompt(samplers | {"ours": ours}))
        hidden = type("Hidden", (), {"unique_id": "ours"})
        corrected = type("Clone", (NODES["RSCorrectorAdvanced"],), {"hidden": hidden})
        with CurrentNodeContext("a prompt", "ours", 0):
            (ours,) = corrected.execute(model, preference, **(ADVANCED | settings)).result
        for name, positive in zip(samplers, positives, strict=True):
            positive = prompts[positive] if isinstance(positive, str) else positive
            with CurrentNodeContext("a prompt", name, 0):
                for _ in range(runs):
                    draw(ours, positive, prompts["empty"], batch=4, steps=2)
        return [(line["text"], line["corrected"]) for line in outcome._message("ours", "a prompt")["lines"]]

    return run


@pytest.mark.parametrize(
    "positive, settings, line",
    [
        ("person", {}, ("corrected 4 of 4", True)),
        ("village", {}, (f"corrected 0 of 4 · left alone 4: {ASKS}", False)),
        ("cat", {}, (f"corrected 0 of 4 · left alone 4: {NOBODY}", False)),
        ("both", {}, (f"corrected 2 of 4 · left alone 2: {ASKS}", True)),
        ("person", dict(strength=0.0), ("off: the strength is 0", False)),
        ("person", dict(start_percent=0.001, end_percent=0.002), NO_STEPS),
        ("person", dict(runs=3), ("corrected 12 of 12", True)),  # tiles of one sampler
    ],
    ids=str,
)
def test_each_outcome_has_its_line(shown, prompts, positive, settings, line):
    both = [[torch.cat([prompts["person"][0][0], prompts["village"][0][0]]), {}]]
    assert shown(both if positive == "both" else positive, **settings) == [line]


def test_a_target_that_the_model_already_meets(shown):
    ((text, corrected),) = shown("person", target=0.01)
    assert not corrected and text.startswith("corrected 0 of 4 · left alone 4: the model already draws ")


def test_two_preferences_have_a_line_each(shown, backdrop, attire):
    assert shown("village", preference=(*backdrop, *attire)) == [
        (f"miniature-backdrop: corrected 0 of 4 · left alone 4: {ASKS}", False),
        ("miniature-attire: corrected 4 of 4", True),
    ]


def test_two_samplers_have_a_line_each_only_if_they_differ(shown):
    assert shown("person", "person") == [("corrected 4 of 4", True)]
    assert shown("person", "village") == [
        ("KSampler: corrected 4 of 4", True),
        (f"KSampler: corrected 0 of 4 · left alone 4: {ASKS}", False),
    ]


@pytest.mark.parametrize(
    ("cfg", "line"), ((1.0, NEVER_ASKED), (2.0, ("corrected 2 of 2", True))), ids=("CFG 1", "CFG 2")
)
def test_a_guider_of_two_models_that_never_asks_at_cfg_1_is_told_on_the_node(shown, model, prompts, cfg, line):
    def guided(corrected, positive, *_, **__):
        (guider,) = nodes_custom_sampler.DualModelGuider.execute(
            corrected, positive, cfg, model, prompts["empty"]
        ).result
        latent, sigmas = torch.zeros(2, 4, 16, 16), torch.tensor([14.6, 5.0, 0.0])
        noise = comfy.sample.prepare_noise(latent, 3)
        guider.sample(noise, latent, comfy.samplers.sampler_object("euler"), sigmas, seed=3)

    assert shown("person", draw=guided) == [line]


def test_a_wrong_model_is_an_error(shown, sd15):
    with pytest.raises(RSCorrectorError, match="was made for"):
        shown("person", model=sd15[0])


def test_outside_a_graph_the_node_corrects_all_the_same(model, backdrop, prompts):
    plain = sample(model, prompts["person"], prompts["empty"])
    assert not torch.equal(
        plain, sample(node("RSCorrector", model, backdrop, 1.0), prompts["person"], prompts["empty"])
    )
