"""Axes: readable JSON files, and a sentence that names the field for each that cannot be used."""

import json
from pathlib import Path

import pytest

from corrector.axis import Axis, AxisError, axis_from_dict, load_axis

AXES = sorted((Path(__file__).resolve().parents[1] / "axes").glob("*.json"))


@pytest.fixture
def data(axis):
    return json.loads(json.dumps(axis.to_dict()))


def test_an_axis_survives_json(axis, data):
    assert axis_from_dict(data) == axis


@pytest.mark.parametrize("path", AXES, ids=lambda path: path.stem)
def test_every_axis_that_ships_loads_and_says_who_wrote_it_and_what_it_rests_on(path):
    axis = load_axis(path)
    assert axis.id == path.stem and axis.author and axis.scope and axis.sources and axis.licence


@pytest.mark.parametrize("path", AXES, ids=lambda path: path.stem)
def test_neutral_prompts_that_ship_name_neither_side(path):
    axis = load_axis(path)
    for group in axis.groups:
        for prompt in axis.prompts(group):
            assert group in prompt
            assert not any(phrase in prompt for phrase in axis.stereotype.phrases + axis.counter.phrases)


def test_prompts_of_a_side_are_each_neutral_prompt_with_each_phrase(axis):
    prompts = axis.prompts("Tavelu", "counter")
    assert len(prompts) == len(axis.neutral) * len(axis.counter.phrases)
    assert "a portrait of a Tavelu person in a city" in prompts


def test_a_group_that_the_axis_lacks_is_answered_with_those_it_has(axis):
    with pytest.raises(AxisError, match='does not know the group "Zendoli"; it has Orvane, Tavelu'):
        axis.prompts("Zendoli")


def test_the_hash_changes_with_any_word(data):
    before = axis_from_dict(data).hash
    data["counter"]["phrases"][0] += " today"
    assert axis_from_dict(data).hash != before and len(before) == 10


@pytest.mark.parametrize("field", ["id", "groups", "neutral", "stereotype", "counter"])
def test_a_missing_field_is_named(data, field):
    del data[field]
    with pytest.raises(AxisError, match=f'"{field}" is missing; add it'):
        axis_from_dict(data, "my.json")


def test_an_unknown_field_is_named_with_the_known_ones(data):
    data["gruops"] = []
    with pytest.raises(AxisError, match=r'unknown field "gruops"; known are .*groups'):
        axis_from_dict(data)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("groups", [], '"groups" is empty'),
        ("groups", [" "], '"groups" is empty'),
        ("neutral", [], '"neutral" must contain {group}'),
        ("neutral", ["a portrait"], '"neutral" must contain {group}'),
        ("stereotype", {"phrases": []}, '"stereotype.phrases" has an empty prompt'),
        ("counter", {"phrases": [""]}, '"counter.phrases" has an empty prompt'),
        ("counter", {"phrases": ["in a village"]}, "the two sides must differ"),
        ("counter", ["in a city"], '"counter" must be an object'),
        ("format", 2, "format 2 is newer"),
    ],
)
def test_a_field_that_cannot_be_used_is_named(data, field, value, words):
    data[field] = value
    with pytest.raises(AxisError, match=words):
        axis_from_dict(data)


@pytest.mark.parametrize(
    ("field", "value"),
    [("groups", "Orvane"), ("neutral", "a {group}"), ("groups", [1]), ("stereotype", {"phrases": "in a village"})],
)
def test_text_where_a_list_belongs_is_refused_and_not_read_letter_by_letter(data, field, value):
    data[field] = value
    with pytest.raises(AxisError, match=f'"{field}.*list of texts'):
        axis_from_dict(data)


def test_braces_other_than_group_are_refused_before_they_break_a_run(data):
    data["neutral"] = ["a {group} person, {mood}"]
    with pytest.raises(AxisError, match=r"\{mood\}.*braces other than \{group\}"):
        axis_from_dict(data)


def test_a_file_that_is_missing_or_not_json_is_named(tmp_path):
    with pytest.raises(AxisError, match=r"mine\.json: no such axis file"):
        load_axis(tmp_path / "mine.json")
    (tmp_path / "mine.json").write_text('{"id": "x",\n oops}')
    with pytest.raises(AxisError, match=r"mine\.json: not valid JSON \(line 2\)"):
        load_axis(tmp_path / "mine.json")
    (tmp_path / "mine.json").write_text("[1, 2]")
    with pytest.raises(AxisError, match=r"mine\.json: expected a JSON object.*found list"):
        load_axis(tmp_path / "mine.json")


def test_an_axis_cannot_be_made_without_its_two_sides():
    with pytest.raises(TypeError):
        Axis(id="x", title="x", groups=("a",), neutral=("{group}",))
