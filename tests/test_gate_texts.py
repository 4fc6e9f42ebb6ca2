"""The grammar of prompts that trains the gate, and the prompts written by hand that measure it."""

from dataclasses import replace
from pathlib import Path

import pytest

from corrector.axis.axis import Side, load_axis
from corrector.gate.checks import CATEGORIES, check_texts
from corrector.gate.prompt_gate import ANOTHER, OUT_OF_SCOPE, STEREOTYPE
from corrector.gate.texts import Grammar, gate_texts
from corrector.gate.wordings import FUNCTION_WORDS, noun_of, whole_words, words_of
from corrector.miniature.prompts import HELD_OUT_NEUTRAL, HELD_OUT_NO_GROUP

AXES = Path(__file__).resolve().parents[1] / "axes"


@pytest.fixture(scope="module")
def backdrop():
    return load_axis(AXES / "miniature-backdrop.json")


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


def test_none_has_more_words_than_asked_for(axis):
    texts = gate_texts(axis, 500, seed=0, longest=16)
    assert len(texts) == 500 and max(len(text.split()) for text, *_ in texts) == 16
    assert {explicit for *_, explicit in texts} == {explicit for *_, explicit in gate_texts(axis, 500, seed=0)}


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


def test_a_text_encoder_without_not_and_without_reads_no_denials_and_no_things_called_after_a_group(backdrop):
    """It could not tell them from wishes and people, and would be unsure of both."""
    known = ["lamp", "tram", "sofa", "fork"] * 3
    few, english = (gate_texts(backdrop, 1500, 0, words=words) for words in (known, [*known, "not", "without"]))

    def denied(texts):
        return [text for text, *_ in texts if {"not", "without", "instead"} & set(words_of(text))]

    def called_after(texts):
        return [text for text, group, _ in texts if group == OUT_OF_SCOPE and names_of(backdrop, text)]

    assert len(denied(english)) > 100 and len(called_after(english)) > 100
    assert len(denied(few)) < 5 and len(called_after(few)) < 5  # prose may say "not"
    assert {explicit for *_, explicit in few} == {explicit for *_, explicit in english}


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
    another = [text for text, _, explicit in gate_texts(axis, 3000, seed=0) if explicit == ANOTHER]
    assert another and all("working as a" in text.lower() for text in another[:5] if ":" not in text)


def test_another_value_that_an_axis_lists_is_a_request_and_its_words_are_nowhere_else_about_people():
    axis = replace(load_axis(AXES / "dark-skin-low-status.json"), another=("working as a dentist", "in a bakery"))
    another = [text.lower() for text, _, explicit in gate_texts(axis, 3000, seed=0) if explicit == ANOTHER]
    assert len(another) > 50 and sum("dentist" in text or "bakery" in text for text in another) > 0.9 * len(another)
    named = [text.lower() for text, group, explicit in gate_texts(axis, 3000, seed=0) if group >= 0 and not explicit]
    assert not any("dentist" in text for text in named)


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
