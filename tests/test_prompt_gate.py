"""The gate on the prompt, with a toy text encoder: a fixed random vector per word."""

import hashlib
import re
from functools import cache

import pytest
import torch

from corrector.axis.axis import load_axis
from corrector.files.folders import AXES, WEIGHTS
from corrector.gate.data import checks, vocabulary
from corrector.gate.prompt_gate import OUT_OF_SCOPE, GateError, PromptGate, PromptReading
from corrector.gate.train import THRESHOLDS, train_gate
from corrector.gate.wordings import noun_of, words_in, words_of
from corrector.miniature.host import Miniature
from corrector.miniature.prompts import (
    HELD_OUT_ATTIRE,
    HELD_OUT_BACKDROP,
    HELD_OUT_NEUTRAL,
    HELD_OUT_NO_GROUP,
    HELD_OUT_NO_PERSON,
)  # fmt: skip
from corrector.miniature.world import GROUPS
from corrector.preference.file import load_preference

WIDTH, LENGTH = 128, 24


@cache
def vector(word):
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:6], "big")
    return torch.randn(WIDTH, generator=torch.Generator().manual_seed(seed))


def encode(prompts):
    """Prompts -> conditioning [N, 24 k, 128]: word vectors, padded with zeros to whole chunks."""
    words = [re.findall(r"\w+", prompt.lower()) for prompt in prompts]
    conditioning = torch.zeros(len(prompts), LENGTH * max(1, -(-max(map(len, words)) // LENGTH)), WIDTH)
    for row, own in zip(conditioning, words, strict=True):
        for place, word in enumerate(own):
            row[place] = vector(word)
    return conditioning


def encode_each(prompts):
    return (encode([prompt])[0] for prompt in prompts)


@pytest.fixture(scope="module")
def backdrop():
    return load_axis(AXES / "miniature-backdrop.json")


@pytest.fixture(scope="module")
def trained(backdrop, one_thread):
    return train_gate(backdrop, encode_each, seed=1, count=1200, steps=250, other_groups=("Zendoli",))


@pytest.fixture(scope="module")
def host():
    return Miniature()


@pytest.fixture(scope="module")
def gate(host):
    """`gate(*regions)` -> what the gate that ships reads with the miniature's own text encoder."""
    shipped = load_preference(WEIGHTS / "miniature-backdrop.safetensors").gate
    return lambda *prompts: shipped.read([host.encode([prompt]) for prompt in prompts])


def test_training_says_what_the_thresholds_cost_on_held_out_and_on_hand_written_texts(trained):
    gate, figures = trained
    assert figures["n"] == 150 and figures["group"] > 0.7 and figures["explicit"] > 0.6
    assert figures["false activation"] < 0.25 and figures["overridden"] < 0.5
    assert list(figures["by_hand"]) == list(checks()) and max(figures["by_hand"].values()) == 1
    assert all(THRESHOLDS[0] <= gate.config[name] <= THRESHOLDS[1] for name in ("in_scope", "asked"))


@pytest.mark.parametrize("attribute", ["backdrop", "attire"])
def test_the_shipped_gates_read_held_out_wordings(host, attribute):
    preference = load_preference(WEIGHTS / f"miniature-{attribute}.safetensors")
    groups, asking = preference.axis.groups, {"backdrop": HELD_OUT_BACKDROP, "attire": HELD_OUT_ATTIRE}[attribute]

    def read(prompts):
        return [preference.gate.read([host.encode([prompt])]) for prompt in prompts]

    for index, group in enumerate(groups):
        named = read(text.format(group=group) for text in HELD_OUT_NEUTRAL)
        assert named == [PromptReading(index, "neither")] * len(named)
    for side, texts in zip(("stereotype", "counter"), asking.values(), strict=True):
        readings = read(text.format(group=group) for group in groups for text in texts)
        assert not any(reading.open for reading in readings)
        assert sum(reading.explicit == side for reading in readings) >= 0.8 * len(readings)
    others = [text.format(group=group) for group in GROUPS if group not in groups for text in HELD_OUT_NEUTRAL]
    prompts = ["", *HELD_OUT_NO_GROUP, *HELD_OUT_NO_PERSON, *others]
    assert not [prompt for prompt, reading in zip(prompts, read(prompts), strict=True) if reading.group != OUT_OF_SCOPE]


def test_the_first_named_group_of_all_regions_counts_and_one_region_that_asks_for_a_side_closes_the_gate(gate):
    assert gate("a portrait of a Tavelu person").open
    together = gate("a portrait of a Tavelu person", "some huts in a village")
    assert together == PromptReading(1, "stereotype") and not together.open
    assert gate("some huts in a village", "a portrait of a Tavelu person") == together
    assert gate("clouds", "a portrait of a Quilmari man").group == 2


def test_a_long_prompt_is_read_in_its_chunks(gate):
    more = ", ".join(["soft light", "highly detailed", "sharp focus", "warm colours", "oil on canvas"] * 6)
    for prompt in (f"a portrait of a Tavelu person, {more}", f"{more}, a portrait of a Tavelu person"):
        assert gate(prompt).group == 1


def encoder_that_reads(word_for):
    """An `encode_each` of texts in which each word is replaced by what `word_for` gives for it."""
    return lambda texts: encode_each(re.sub(r"\w+", lambda word: word_for(word[0].lower()), text) for text in texts)


def test_an_axis_whose_groups_the_text_encoder_does_not_know_are_not_everybody_and_it_is_said(backdrop):
    known = words_in(*vocabulary()) - words_in("other_people", "other_place")
    known |= {
        word for side in (backdrop.stereotype, backdrop.counter) for text in side.wordings for word in words_of(text)
    }
    encoder = encoder_that_reads(lambda word: word if word in known else "unknown")
    _, figures = train_gate(backdrop, encoder, count=800, steps=80, check=False)
    said = f"sees nobody in {figures['left out']:.0%} of held-out prompts that name a group"
    assert figures["left out"] > 0.4 and figures["false activation"] < 0.3 and said in figures["weak"]


def test_groups_that_the_text_encoder_does_not_tell_apart_are_said_to_be_mixed_up(backdrop):
    groups = {group.lower() for group in backdrop.groups}
    encoder = encoder_that_reads(lambda word: "orvane" if word in groups else word)
    _, figures = train_gate(backdrop, encoder, count=800, steps=80, check=False, other_groups=("Zendoli",))
    assert f"takes one group for another in {figures['wrong group']:.0%} of held-out prompts" in figures["weak"]


def constant_gate(*, group, asked, **options):
    """A gate for two groups that answers the same to every prompt: leads of the first group and of the stereotype."""
    gate = PromptGate(width=4, groups=2, hidden=3, **options).eval()
    with torch.no_grad():
        for parameter in gate.parameters():
            parameter.zero_()
        gate.group_probe.bias[0], gate.explicit_probe.bias[1], gate.explicit_probe.bias[2:] = group, asked, -9.0
    return gate


def test_an_uncertain_group_is_out_of_scope_and_almost_said(backdrop):
    for lead, group in ((1.0, OUT_OF_SCOPE), (9.0, 0)):
        gate = constant_gate(group=lead, asked=-9.0)
        assert gate.read([torch.zeros(1, 3, 4)]) == PromptReading(group, "neither")
    reading = constant_gate(group=1.0, asked=-9.0, in_scope=0.9).read([torch.zeros(1, 3, 4)])
    assert reading.reason(backdrop) == "the prompt names nobody of Orvane, Tavelu, Quilmari (almost: Orvane 0.8)"


def test_a_gate_has_thresholds_of_its_own():
    doubtful = constant_gate(group=9.0, asked=0.5, in_scope=0.8)
    assert doubtful.read([torch.zeros(1, 3, 4)]).explicit == "stereotype"
    doubtful.config["asked"] = 0.99
    assert doubtful.read([torch.zeros(1, 3, 4)]).explicit == "neither"


@pytest.mark.parametrize("reach", [1, 5])
def test_padding_is_not_read_in_training(reach):
    gate = PromptGate(width=8, groups=3, hidden=5, reach=reach, members=2).eval()
    tokens, padding = torch.randn(2, 7, 8), torch.zeros(2, 7, dtype=torch.bool)
    padding[:, 4:] = True
    for padded, short in zip(gate(tokens, padding), gate(tokens[:, :4]), strict=True):
        torch.testing.assert_close(padded, short)


def test_what_cannot_be_read_is_out_of_scope_or_refused_and_half_precision_changes_nothing(trained):
    read, conditioning = trained[0].read, encode(["a photo of a Orvane man"])
    assert read([conditioning.half()]) == read([conditioning.bfloat16()]) == read([conditioning])
    assert read([]).group == read([torch.zeros(1, 0, WIDTH)]).group == OUT_OF_SCOPE
    with pytest.raises(GateError, match="without token vectors"):
        read([torch.zeros(WIDTH)])
    with pytest.raises(GateError, match=r"768 wide.*width 128; use a preference made for this model"):
        read([torch.zeros(1, 77, 768)])


def test_training_is_reproducible_encodes_each_text_once_and_leaves_the_global_generator_alone(backdrop):
    encoded = []

    def counted(texts):
        encoded.extend(texts)
        return encode_each(texts)

    torch.manual_seed(5)
    first, _ = train_gate(backdrop, counted, seed=3, count=200, steps=5, check=False)
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), drawn) and len(encoded) == 200
    second, _ = train_gate(backdrop, encode_each, seed=3, count=200, steps=5)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_a_denial_is_told_from_a_wish_by_a_text_encoder_without_context(trained, backdrop):
    """Each word has one vector here, whatever stands beside it."""
    gate, _ = trained

    def asked(text):
        return gate.read([encode([f"a portrait of an Orvane person, {text}"])]).asked

    named = [noun_of(phrase) for phrase in backdrop.stereotype.phrases]
    assert sum(asked(f"no {noun}") for noun in named) < 0.6 * sum(map(asked, named))
