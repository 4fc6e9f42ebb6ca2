"""The gate on the prompt, with a toy text encoder: a fixed random vector per word."""

import hashlib
import re
from pathlib import Path

import pytest
import torch

from corrector.axis.axis import load_axis
from corrector.learning.gate import train_gate
from corrector.learning.gate_texts import NOBODY, SOMEBODY, gate_texts
from corrector.miniature.prompts import (
    HELD_OUT_BACKDROP,
    HELD_OUT_NEUTRAL,
    HELD_OUT_NO_GROUP,
    HELD_OUT_NO_PERSON,
)
from corrector.preference.prompt_gate import OUT_OF_SCOPE, GateError, PromptGate, PromptReading

WIDTH, LENGTH = 128, 24


def encode(prompts):
    """Prompts -> conditioning [N, 24, 128]: word vectors, padded with zeros."""
    conditioning = torch.zeros(len(prompts), LENGTH, WIDTH)
    for row, prompt in zip(conditioning, prompts, strict=True):
        for place, word in enumerate(re.findall(r"\w+", prompt.lower())[:LENGTH]):
            seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:6], "big")
            row[place] = torch.randn(WIDTH, generator=torch.Generator().manual_seed(seed))
    return conditioning


@pytest.fixture(scope="module")
def backdrop():
    return load_axis(Path(__file__).resolve().parents[1] / "axes" / "miniature-backdrop.json")


@pytest.fixture(scope="module")
def trained(backdrop, one_thread):
    return train_gate(backdrop, encode, seed=1, other_groups=("Zendoli",))


@pytest.fixture(scope="module")
def gate(trained):
    return trained[0]


def read(gate, *prompts):
    return gate.read([encode([prompt]) for prompt in prompts])


def test_the_gate_reports_its_accuracy_on_held_out_texts(trained):
    accuracy = trained[1]
    assert accuracy["n"] == 400 and accuracy["group"] > 0.97 and accuracy["explicit"] > 0.97


def test_the_group_is_found_in_held_out_templates(gate, backdrop):
    for index, group in enumerate(backdrop.groups):
        for template in HELD_OUT_NEUTRAL:
            assert read(gate, template.format(group=group)) == PromptReading(index, "neither")


@pytest.mark.parametrize(("side", "scene"), [("stereotype", "village"), ("counter", "city")])
def test_a_prompt_that_asks_for_a_side_is_explicit_also_in_held_out_wordings(gate, backdrop, side, scene):
    prompts = [t.format(group=group) for group in backdrop.groups for t in HELD_OUT_BACKDROP[scene]]
    said = [read(gate, prompt) for prompt in prompts]
    assert sum(reading.explicit == side for reading in said) >= 0.8 * len(said)
    assert sum(reading.open for reading in said) <= 0.2 * len(said)


def test_prompts_without_a_group_of_the_axis_close_the_gate(gate):
    prompts = HELD_OUT_NO_GROUP + HELD_OUT_NO_PERSON + tuple(t.format(group="Zendoli") for t in HELD_OUT_NEUTRAL)
    # To the toy encoder an unknown word looks like any other; benchmarks/gate.py measures the real encoder.
    assert sum(read(gate, prompt).group == OUT_OF_SCOPE for prompt in prompts) >= 0.7 * len(prompts)
    assert read(gate, "").group == OUT_OF_SCOPE


def test_one_region_that_asks_for_a_side_closes_the_gate(gate):
    assert read(gate, "a portrait of a Tavelu person").open
    together = read(gate, "a portrait of a Tavelu person", "some huts in a village")
    assert together == PromptReading(1, "stereotype") and not together.open
    assert read(gate, "some huts in a village", "a portrait of a Tavelu person") == together


def test_the_first_named_group_counts_in_any_region(gate):
    assert read(gate, "clouds", "a portrait of a Quilmari man").group == 2


def test_an_uncertain_group_is_out_of_scope():
    gate = PromptGate(width=4, groups=2)
    with torch.no_grad():
        for layer in (gate.queries, gate.group_probe, gate.explicit_probe):
            layer.weight.zero_()
            layer.bias.zero_()
        gate.explicit_probe.bias[0] = 9.0
        for lead, group in ((1.0, OUT_OF_SCOPE), (9.0, 0)):
            gate.group_probe.bias[0] = lead
            assert gate.read([torch.zeros(1, 3, 4)]) == PromptReading(group, "neither")


def test_padding_and_half_precision_change_nothing(gate):
    conditioning = encode(["a photo of a Orvane man"])
    assert gate.read([conditioning.half()]) == gate.read([conditioning.bfloat16()]) == gate.read([conditioning])


def test_the_conditioning_of_another_text_encoder_is_refused_with_both_widths(gate):
    with pytest.raises(GateError, match=r"768 wide.*width 128; use a preference made for this model"):
        gate.read([torch.zeros(1, 77, 768)])


@pytest.mark.parametrize("pooling", ["attention", "mean", "last"])
def test_each_pooling_gives_logits_for_groups_and_sides(pooling):
    group, explicit = PromptGate(width=8, groups=3, pooling=pooling)(torch.randn(5, 7, 8))
    assert group.shape == (5, 4) and explicit.shape == (5, 3)


def test_training_is_reproducible_and_leaves_the_global_generator_alone(backdrop):
    torch.manual_seed(5)
    first, _ = train_gate(backdrop, encode, seed=3, count=200, steps=5)
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), drawn)
    second, _ = train_gate(backdrop, encode, seed=3, count=200, steps=5)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_training_texts_have_correct_labels(backdrop):
    for text, group, explicit in gate_texts(backdrop, 500, seed=0, other_groups=("Zendoli",)):
        named = [index for index, name in enumerate(backdrop.groups) if name.lower() in text.lower()]
        assert named == ([] if group == OUT_OF_SCOPE else [group])
        sides = [[p.lower() for p in side.phrases] for side in (backdrop.stereotype, backdrop.counter)]
        if explicit:  # a phrase, or its last word
            assert any(phrase.split()[-1] in text.lower() for phrase in sides.pop(explicit - 1))
        assert not any(phrase in text.lower() for side in sides for phrase in side)


def test_training_texts_exclude_the_held_out_wordings(backdrop):
    texts = {text.lower() for text, _, _ in gate_texts(backdrop, 20000, seed=0, other_groups=("Zendoli",))}
    held_out = [prompt.lower() for prompt in HELD_OUT_NO_GROUP + HELD_OUT_NO_PERSON]
    held_out += [t.format(group=g).lower() for g in backdrop.groups for t in HELD_OUT_NEUTRAL]
    assert not texts & set(held_out)
    subjects = {text.split(",")[0] for text in held_out}
    assert not subjects & {text.lower() for text in NOBODY + SOMEBODY}
