"""The gate on the prompt, with a toy text encoder: a fixed random vector per word."""

import hashlib
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from corrector.axis.axis import Side, load_axis
from corrector.latent_space.folders import WEIGHTS
from corrector.learning.gate import train_gate
from corrector.learning.gate_checks import CATEGORIES, check_texts
from corrector.learning.gate_texts import Grammar, gate_texts
from corrector.learning.wordings import FUNCTION_WORDS, noun_of, whole_words, words_of
from corrector.miniature.host import Miniature
from corrector.miniature.prompts import (
    HELD_OUT_BACKDROP,
    HELD_OUT_NEUTRAL,
    HELD_OUT_NO_GROUP,
    HELD_OUT_NO_PERSON,
)
from corrector.preference.file import load_preference
from corrector.preference.prompt_gate import OUT_OF_SCOPE, STEREOTYPE, GateError, PromptGate, PromptReading

AXES = Path(__file__).resolve().parents[1] / "axes"
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
def gate():
    """`gate(*regions)` -> what the gate that ships reads with the miniature's own text encoder."""
    own, host = load_preference(WEIGHTS / "miniature-backdrop.safetensors").gate, Miniature()
    return lambda *prompts: own.read([host.encode([prompt]) for prompt in prompts])


def test_training_says_what_the_thresholds_cost_on_held_out_and_on_hand_written_texts(trained):
    gate, figures = trained
    assert figures["n"] == 150 and figures["group"] > 0.7 and figures["explicit"] > 0.6
    assert figures["false activation"] < 0.25 and figures["overridden"] < 0.5
    assert list(figures["by_hand"]) == list(CATEGORIES) and max(figures["by_hand"].values()) == 1
    assert 0.45 <= gate.config["in_scope"] <= 0.95 and 0.4 <= gate.config["asked"] <= 0.7


def test_the_group_is_found_in_held_out_templates(gate, backdrop):
    for index, group in enumerate(backdrop.groups):
        for template in HELD_OUT_NEUTRAL:
            assert gate(template.format(group=group)) == PromptReading(index, "neither")


@pytest.mark.parametrize(("side", "scene"), [("stereotype", "village"), ("counter", "city")])
def test_a_prompt_that_asks_for_a_side_is_explicit_also_in_held_out_wordings(gate, backdrop, side, scene):
    said = [gate(t.format(group=group)) for group in backdrop.groups for t in HELD_OUT_BACKDROP[scene]]
    assert not any(reading.open for reading in said)
    assert sum(reading.explicit == side for reading in said) >= 0.8 * len(said)


def test_prompts_without_a_group_of_the_axis_close_the_gate(gate):
    prompts = HELD_OUT_NO_GROUP + HELD_OUT_NO_PERSON + tuple(t.format(group="Zendoli") for t in HELD_OUT_NEUTRAL)
    assert not [prompt for prompt in prompts if gate(prompt).group != OUT_OF_SCOPE]
    assert gate("").group == OUT_OF_SCOPE


def test_one_region_that_asks_for_a_side_closes_the_gate(gate):
    assert gate("a portrait of a Tavelu person").open
    together = gate("a portrait of a Tavelu person", "some huts in a village")
    assert together == PromptReading(1, "stereotype") and not together.open
    assert gate("some huts in a village", "a portrait of a Tavelu person") == together


def test_the_first_named_group_counts_in_any_region(gate):
    assert gate("clouds", "a portrait of a Quilmari man").group == 2


def test_a_long_prompt_is_read_in_its_chunks(gate):
    more = ", ".join(["soft light", "highly detailed", "sharp focus", "warm colours", "oil on canvas"] * 6)
    for prompt in (f"a portrait of a Tavelu person, {more}", f"{more}, a portrait of a Tavelu person"):
        assert gate(prompt).group == 1


def constant_gate(*, group, asked, **options):
    """A gate for two groups that answers the same to every prompt: leads of the first group and of the stereotype."""
    gate = PromptGate(width=4, groups=2, pooling="features", hidden=3, sides=4, **options).eval()
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
    assert reading.said(backdrop) == "the prompt names nobody of Orvane, Tavelu, Quilmari (almost: Orvane 0.8)"


def test_a_gate_has_thresholds_of_its_own():
    doubtful = constant_gate(group=9.0, asked=0.5, in_scope=0.8)
    assert doubtful.read([torch.zeros(1, 3, 4)]).explicit == "stereotype"
    doubtful.config["asked"] = 0.99
    assert doubtful.read([torch.zeros(1, 3, 4)]).explicit == "neither"


def test_a_gate_of_version_0_1_reads_as_before():
    """Its configuration has a pooling and no thresholds."""
    gate = PromptGate(width=8, groups=3, pooling="attention")
    assert {name.split(".")[0] for name in gate.state_dict()} == {
        "centre", "spread", "queries", "group_probe", "explicit_probe",
    }  # fmt: skip
    groups, explicit = gate(torch.randn(5, 7, 8))
    assert groups.shape == (5, 4) and explicit.shape == (5, 3)


@pytest.mark.parametrize("reach", [0, 5])
def test_padding_is_not_read_in_training(reach):
    gate = PromptGate(width=8, groups=3, pooling="features", hidden=5, sides=4, reach=reach).eval()
    tokens, padding = torch.randn(2, 7, 8), torch.zeros(2, 7, dtype=torch.bool)
    padding[:, 4:] = True
    for padded, short in zip(gate(tokens, padding), gate(tokens[:, :4]), strict=True):
        torch.testing.assert_close(padded, short)


def test_nothing_to_read_is_out_of_scope(trained):
    read = trained[0].read
    assert read([]).group == read([torch.zeros(1, 0, WIDTH)]).group == OUT_OF_SCOPE
    with pytest.raises(GateError, match="without token vectors"):
        read([torch.zeros(WIDTH)])


def test_half_precision_changes_nothing(trained):
    conditioning = encode(["a photo of a Orvane man"])
    read = trained[0].read
    assert read([conditioning.half()]) == read([conditioning.bfloat16()]) == read([conditioning])


def test_the_conditioning_of_another_text_encoder_is_refused_with_both_widths(trained):
    with pytest.raises(GateError, match=r"768 wide.*width 128; use a preference made for this model"):
        trained[0].read([torch.zeros(1, 77, 768)])


def test_training_is_reproducible_and_leaves_the_global_generator_alone(backdrop):
    torch.manual_seed(5)
    first, _ = train_gate(backdrop, encode_each, seed=3, count=200, steps=5)
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), drawn)
    second, _ = train_gate(backdrop, encode_each, seed=3, count=200, steps=5)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_each_text_is_encoded_once(backdrop):
    seen = []

    def counted(texts):
        seen.extend(texts)
        return encode_each(texts)

    train_gate(backdrop, counted, count=200, steps=2, check=False)
    assert len(seen) == 200


@pytest.fixture(scope="module", params=["miniature-backdrop", "african-house-poverty", "worn-places"])
def axis(request):
    return load_axis(AXES / f"{request.param}.json")


def names_of(axis, text):
    """The groups that a text names by their own name or an alias."""
    said = " ".join(words_of(text))
    return {
        index
        for index, group in enumerate(axis.groups)
        if any(f" {' '.join(words_of(name))} " in f" {said} " for name in (group, *axis.aliases.get(group, ())))
    }


def test_a_denial_is_told_from_a_wish_by_a_text_encoder_without_context(trained, backdrop):
    """Each word has one vector here, whatever stands beside it."""
    gate, _ = trained

    def asked(text):
        return gate.read([encode([f"a portrait of an Orvane person, {text}"])]).asked

    named = [noun_of(phrase) for phrase in backdrop.stereotype.phrases]
    assert sum(asked(f"no {noun}") for noun in named) < 0.6 * sum(map(asked, named))


def test_words_of_a_tokenizer_are_text_about_nothing(backdrop):
    vocabulary = [
        "<|endoftext|>",
        "lamp</w>",
        "la",
        "mp",
        "ok</w>",
        "orvane</w>",
        "villages</w>",
        "tram</w>",
        "été</w>",
    ]
    assert whole_words(vocabulary) == ["lamp", "orvane", "tram", "villages"]
    assert whole_words(["[CLS]", "##ing", "tram"]) == ["tram"]
    known = [f"{kind}{thing}" for kind in ("far", "near", "old", "odd") for thing in ("lamp", "tram", "sofa", "fork")]
    grammars = [Grammar(backdrop, 0, held, words=[*known, "orvane", "villages"]) for held in (False, True)]
    said = [{word for _ in range(400) for word in words_of(grammar.texts()[0][0])} & set(known) for grammar in grammars]
    assert said[0] and said[1] and not said[0] & said[1] and said[0] | said[1] == set(known)
    assert not any({"orvane", "villages"} & set(grammar.words) for grammar in grammars)


def test_training_texts_are_labelled_with_the_group_that_they_name(axis):
    """Things that are called after a group are out of scope and may hold its name; texts in scope must hold it."""
    texts = gate_texts(axis, 1500, seed=0)
    inside = [(text, group) for text, group, _ in texts if group != OUT_OF_SCOPE]
    assert 0.35 < len(inside) / len(texts) < 0.55
    assert sum(group in names_of(axis, text) for text, group in inside) > 0.94 * len(inside)  # others are misspelt
    outside = [text for text, group, _ in texts if group == OUT_OF_SCOPE]
    called_after = sum(bool(names_of(axis, text)) for text in outside)
    assert 0.1 < called_after / len(outside) < 0.45


def test_training_texts_ask_for_what_their_label_says(axis):
    sides = [axis.stereotype.wordings, axis.counter.wordings]
    words = {word for side in sides for phrase in side for word in words_of(phrase)} - FUNCTION_WORDS
    misspelt = []
    for text, _, explicit in gate_texts(axis, 1500, seed=1):
        asked = [any(noun_of(phrase).lower() in text.lower() for phrase in side) for side in sides]
        if explicit in (1, 2) and not any(asked) and not set(words_of(text)) & words:  # some are denials, or endings
            misspelt.append(text)
    assert len(misspelt) <= 5, misspelt


@pytest.mark.parametrize("name", ["african-house-poverty", "indigenous-brazil-past-only", "worn-places"])
def test_no_denial_of_a_side_is_a_wording_of_it(name):
    axis = load_axis(AXES / f"{name}.json")
    grammar = Grammar(axis, 0)
    assert not {grammar.denial(STEREOTYPE) for _ in range(3000)} & set(axis.stereotype.wordings)


def test_some_training_texts_come_twice_with_the_wish_and_without_it(axis):
    grammar = Grammar(axis, 0)
    twins = [two for two in (grammar.texts() for _ in range(2000)) if len(two) == 2]
    assert len(twins) > 100
    alike = []
    for (text, group, wish), (other, same_group, without) in twins:
        assert same_group == group != OUT_OF_SCOPE and wish in (1, 2) and without != 1 and text != other
        alike.append(len(set(words_of(text)) & set(words_of(other))) / len(set(words_of(text))))
    assert sum(alike) / len(alike) > 0.7  # what differs is the wish


def test_training_texts_are_of_all_lengths_also_with_the_group_at_the_end(axis):
    texts = gate_texts(axis, 1500, seed=2)
    counts = [len(text.split()) for text, group, _ in texts if group != OUT_OF_SCOPE]
    assert min(counts) <= 4 and sum(count > 25 for count in counts) > 0.15 * len(counts) and max(counts) > 90
    other = [len(text.split()) for text, group, _ in texts if group == OUT_OF_SCOPE]
    assert sum(count > 25 for count in other) > 0.15 * len(other)  # as long as those in scope


def test_aliases_and_paraphrases_of_an_axis_are_never_its_negatives():
    axis = load_axis(AXES / "african-house-poverty.json")
    grammar = Grammar(axis, 0)
    own = {word for name in (*axis.groups, *axis.aliases["African"]) for word in words_of(name)} - {"people", "south"}
    assert not [name for name in grammar.others if own & set(words_of(name))]
    asked = axis.stereotype.paraphrases + axis.counter.paraphrases
    details = (*grammar.contexts, *grammar.styles, *grammar.details, *grammar.objects, *grammar.prose)
    assert not [text for text in details if any(f" {phrase} " in f" {text} " for phrase in asked)]


@pytest.mark.parametrize("phrases", [("in",), ("a", "the", "of", "on", "with"), ("\\1 $x {y} [z] <w>",), ("🙂", "كوخ")])
def test_an_axis_of_any_words_has_prompts(backdrop, phrases):
    axis = replace(backdrop, groups=("\\g<0> [x]",), stereotype=Side("odd", phrases), aliases={})
    assert len(gate_texts(axis, 200, seed=0)) == 200 and len(gate_texts(axis, 200, seed=0, held_out=True)) == 200
    assert len(check_texts(axis)) >= 100


def test_another_value_of_the_attribute_is_a_request_too():
    axis = load_axis(AXES / "dark-skin-low-status.json")  # "working as a manager"
    another = [text for text, _, explicit in gate_texts(axis, 3000, seed=0) if explicit == 3]
    assert another and all("working as a" in text.lower() for text in another[:5] if ":" not in text)


def test_what_thresholds_are_set_on_is_worded_otherwise_than_what_is_trained_on(axis):
    trained, held = Grammar(axis, 0), Grammar(axis, 0, held_out=True)
    for name in ("openers", "styles", "contexts", "neutral"):
        assert getattr(held, name) and not set(getattr(trained, name)) & set(getattr(held, name))


def test_hand_written_texts_are_of_all_categories_and_of_a_hundred_or_more(axis):
    texts = check_texts(axis)
    assert len(texts) >= 100 and {category for *_, category in texts} == set(CATEGORIES)
    assert not any("[" in text or "{" in text for text, *_ in texts)
    trained = {text.lower() for text, *_ in gate_texts(axis, 4000, seed=0)} - {""}
    assert not trained & {text.lower() for text, *_ in texts}


def test_training_texts_exclude_the_held_out_wordings(backdrop):
    texts = {text.lower() for text, *_ in gate_texts(backdrop, 20000, seed=0, other_groups=("Zendoli",))}
    held_out = [t.format(group=g).lower() for g in backdrop.groups for t in HELD_OUT_NEUTRAL]
    assert not texts & {text.lower() for text in (*held_out, *HELD_OUT_NO_GROUP)}
