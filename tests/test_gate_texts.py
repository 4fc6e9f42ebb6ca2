"""The grammar of prompts that trains the gate, and the prompts written by hand that measure it."""

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from corrector.axis.axis import Side, load_axis
from corrector.files.folders import AXES
from corrector.files.json_files import UnreadableError, complaint
from corrector.gate import data
from corrector.gate.checks import check_texts
from corrector.gate.prompt_gate import ANOTHER, NEITHER, OUT_OF_SCOPE
from corrector.gate.texts import Grammar, gate_texts
from corrector.gate.wordings import noun_of, spaced, whole_words, words_in, words_of
from corrector.miniature.prompts import HELD_OUT_NEUTRAL, HELD_OUT_NO_GROUP


@pytest.fixture(scope="module")
def backdrop():
    return load_axis(AXES / "miniature-backdrop.json")


@pytest.fixture(scope="module", params=["miniature-backdrop", "african-house-poverty", "worn-places"])
def axis(request):
    return load_axis(AXES / f"{request.param}.json")


def names_of(axis, text):
    """The groups that a text names by their own name or an alias."""
    words = f" {' '.join(words_of(text))} "
    names = [(group, *axis.aliases.get(group, ())) for group in axis.groups]
    return {index for index, own in enumerate(names) if any(f" {' '.join(words_of(n))} " in words for n in own)}


@pytest.mark.parametrize("name", ["vocabulary", "grammar", "checks"])
def test_the_gates_data_follow_their_schemas(name):
    content, schema = (json.loads((data.DATA_FOLDER / f"{name}{end}").read_text()) for end in (".json", ".schema.json"))
    jsonschema.Draft202012Validator(schema).validate(content)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert complaint(content, schema) is None
    for rule in content.get("rules", {}).values():
        assert sum(production["share"] for production in rule if "when" not in production) <= 1 + 1e-9


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("grammar", lambda content: content["chances"].update(alias=7), r'"chances.alias" is 7; it must be at most 1'),
        (
            "grammar",
            lambda content: content["rules"]["detail"][0].update(text="{colours}"),
            "a list of vocabulary.json",
        ),
        ("vocabulary", lambda content: content.pop("creature"), 'the field "creature" is missing; add it'),
        ("checks", lambda content: content["nobody"].update(error="wrong"), "needs {} in one place"),
    ],
)
def test_an_error_in_the_gates_data_is_said_with_file_and_field(tmp_path, monkeypatch, name, change, words):
    for ending in (".json", ".schema.json"):
        (tmp_path / f"{name}{ending}").write_bytes((data.DATA_FOLDER / f"{name}{ending}").read_bytes())
    content = json.loads((tmp_path / f"{name}.json").read_text())
    change(content)
    (tmp_path / f"{name}.json").write_text(json.dumps(content))
    monkeypatch.setattr(data, "DATA_FOLDER", Path(tmp_path))
    with pytest.raises(UnreadableError, match=rf"{name}\.json: .*{words}"):
        getattr(data, name).__wrapped__()


def test_words_of_a_tokenizer_are_text_about_nothing(backdrop):
    tokens = ["<|endoftext|>", "lamp</w>", "la", "mp", "ok</w>", "orvane</w>", "villages</w>", "tram</w>", "été</w>"]
    assert whole_words(tokens) == ["lamp", "orvane", "tram", "villages"]
    assert whole_words(["[CLS]", "##ing", "tram"]) == ["tram"]
    known = [f"{kind}{thing}" for kind in ("far", "near", "old", "odd") for thing in ("lamp", "tram", "sofa", "fork")]
    grammars = [Grammar(backdrop, 0, held, words=[*known, "orvane", "villages"]) for held in (False, True)]
    used = [
        {word for _ in range(400) for word in words_of(grammar.texts()[0].text)} & set(known) for grammar in grammars
    ]
    assert used[0] and used[1] and not used[0] & used[1] and used[0] | used[1] == set(known)
    assert not any({"orvane", "villages"} & set(grammar.words.words) for grammar in grammars)


def test_a_text_encoder_without_not_and_without_reads_no_denials_and_no_things_called_after_a_group(backdrop):
    """It could not tell them from wishes and people, and would be unsure of both."""
    known = ["lamp", "tram", "sofa", "fork"] * 3
    few, english = (gate_texts(backdrop, 1500, 0, words=words) for words in (known, [*known, "not", "without"]))
    for texts, there in ((few, False), (english, True)):
        denied = [text for text, *_ in texts if {"not", "without", "instead"} & set(words_of(text))]
        called_after = [text for text, group, _ in texts if group == OUT_OF_SCOPE and names_of(backdrop, text)]
        for found in (denied, called_after):
            assert len(found) > 100 if there else len(found) < 5  # prose may say "not"
    assert {text.explicit for text in few} == {text.explicit for text in english}


def test_training_texts_are_labelled_with_the_group_that_they_name_and_are_of_all_lengths(axis):
    """Things that are called after a group are out of scope and may hold its name; texts in scope must hold it."""
    texts = gate_texts(axis, 1500, seed=0)
    inside = [(text, group) for text, group, _ in texts if group != OUT_OF_SCOPE]
    outside = [text for text, group, _ in texts if group == OUT_OF_SCOPE]
    assert 0.35 < len(inside) / len(texts) < 0.55
    assert sum(group in names_of(axis, text) for text, group in inside) > 0.94 * len(inside)  # others are misspelt
    assert 0.1 < sum(bool(names_of(axis, text)) for text in outside) / len(outside) < 0.45
    for counts in ([len(text.split()) for text, _ in inside], [len(text.split()) for text in outside]):
        assert min(counts) <= 4 and sum(count > 25 for count in counts) > 0.15 * len(counts) and max(counts) > 90
    short = gate_texts(axis, 500, seed=0, longest=16)
    assert len(short) == 500 and max(len(text.split()) for text, *_ in short) == 16
    assert {text.explicit for text in short} == {text.explicit for text in texts}


def test_training_texts_ask_for_what_their_label_says(axis):
    sides = [axis.stereotype.wordings, axis.counter.wordings]
    words = {word for side in sides for phrase in side for word in words_of(phrase)} - words_in("function_word")
    misspelt = []
    for text, _, explicit in gate_texts(axis, 1500, seed=1):
        asked = [any(noun_of(phrase).lower() in text.lower() for phrase in side) for side in sides]
        if explicit in (1, 2) and not any(asked) and not set(words_of(text)) & words:  # some are denials, or endings
            misspelt.append(text)
    assert len(misspelt) <= 5, misspelt


def test_some_training_texts_come_twice_with_the_wish_and_without_it(axis):
    grammar = Grammar(axis, 0)
    twins = [two for two in (grammar.texts() for _ in range(2000)) if len(two) == 2]
    assert len(twins) > 100
    alike = []
    for (text, group, wish), (other, same_group, without) in twins:
        assert same_group == group != OUT_OF_SCOPE and wish in (1, 2) and without != 1 and text != other
        alike.append(len(set(words_of(text)) & set(words_of(other))) / len(set(words_of(text))))
    assert sum(alike) / len(alike) > 0.7  # what differs is the wish


@pytest.mark.parametrize("phrases", [("in",), ("a", "the", "of", "on", "with"), ("\\1 $x {y} [z] <w>",), ("🙂", "كوخ")])
def test_an_axis_of_any_words_has_prompts(backdrop, phrases):
    axis = replace(backdrop, groups=("\\g<0> [x]",), stereotype=Side("odd", phrases), aliases={})
    assert len(gate_texts(axis, 200, seed=0)) == 200 and len(gate_texts(axis, 200, seed=0, held_out=True)) == 200
    assert len(check_texts(axis)) >= 100


def test_another_value_of_the_attribute_is_a_request_and_its_words_are_nowhere_else_about_people():
    axis = replace(load_axis("dark-skin-low-status"), another=())  # a side is "working as a manager"
    eras = {spaced(era) for era in data.vocabulary()["era"]}

    def requests(axis):
        """Of another value, but for those that name another time."""
        texts = [text.lower() for text, _, explicit in gate_texts(axis, 3000, seed=0) if explicit == ANOTHER]
        timeless = [text for text in texts if not any(era in spaced(text) for era in eras)]
        assert len(texts) > len(timeless) > 30
        return timeless

    guessed, clear = requests(axis), lambda text: ":" not in text and "_" not in text
    guessed = [text for text in guessed if clear(text)]
    assert sum("working as a" in text for text in guessed) > 0.9 * len(guessed)  # one may be misspelt
    axis = replace(axis, another=("working as a dentist", "in a bakery"))
    texts = [(text.lower(), group, explicit) for text, group, explicit in gate_texts(axis, 3000, seed=0)]
    listed = requests(axis)
    assert sum("dentist" in text or "bakery" in text for text in listed) > 0.9 * len(listed)
    assert not [text for text, group, explicit in texts if group >= 0 and explicit == NEITHER and "dentist" in text]


def test_hand_written_texts_are_a_hundred_or_more_and_in_no_training(axis):
    texts = check_texts(axis)
    assert len(texts) >= 100 and {text.category for text in texts} == set(data.checks())
    assert not any("[" in text or "{" in text for text, *_ in texts)
    trained = {text.lower() for text, *_ in gate_texts(axis, 4000, seed=0)} - {""}
    assert not trained & {text.lower() for text, *_ in texts}


def test_training_texts_exclude_the_held_out_wordings(backdrop):
    texts = {text.lower() for text, *_ in gate_texts(backdrop, 8000, seed=0, other_groups=("Zendoli",))}
    held_out = [t.format(group=g).lower() for g in backdrop.groups for t in HELD_OUT_NEUTRAL]
    assert not texts & {text.lower() for text in (*held_out, *HELD_OUT_NO_GROUP)}
