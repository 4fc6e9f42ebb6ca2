"""Axes: readable JSON files, and a sentence that names the field for each that cannot be used."""

import json
import math
import re
from pathlib import Path

import jsonschema
import pytest

from corrector.axis.axis import SCHEMA, Axis, AxisError, axis_from_dict, axis_schema, load_axis

ROOT = Path(__file__).resolve().parents[1]
AXES = [path for path in sorted((ROOT / "axes").glob("*.json")) if path != SCHEMA]


@pytest.fixture
def data(axis):
    return json.loads(json.dumps(axis.to_dict()))


@pytest.fixture
def write(tmp_path):
    """-> a function that writes the data of an axis to mine.json and gives its path."""

    def write(data):
        (tmp_path / "mine.json").write_text(json.dumps(data))
        return tmp_path / "mine.json"

    return write


def test_an_axis_survives_json(axis, data):
    assert axis_from_dict(data) == axis


def test_the_schema_is_itself_a_valid_one():
    jsonschema.Draft202012Validator.check_schema(axis_schema())


def test_the_schema_says_what_each_field_of_an_axis_is():
    described = axis_schema()["properties"]
    assert set(described) == set(Axis.__dataclass_fields__) | {"$schema", "format"}
    assert all(field["title"] and field["description"] for field in described.values())


def test_prompts_of_a_side_are_each_neutral_prompt_with_each_phrase(axis):
    prompts = axis.prompts("Tavelu", "counter")
    assert len(prompts) == len(axis.neutral) * len(axis.counter.phrases)
    assert "a portrait of a Tavelu person in a city" in prompts


def test_a_group_that_the_axis_lacks_is_answered_with_those_it_has(axis):
    with pytest.raises(AxisError, match='has no group "Zendoli"; it has Orvane, Tavelu'):
        axis.prompts("Zendoli")


def test_what_only_the_gate_learns_changes_the_hash_but_not_that_of_the_pictures(data):
    for part in (data, data["stereotype"], data["counter"]):
        part.pop("aliases", None)
        part.pop("paraphrases", None)
    bare = axis_from_dict(data)
    assert bare.hash == axis_from_dict(data | {"aliases": {}}).hash
    assert not {"aliases", "another"} & set(bare.to_dict()) and "paraphrases" not in bare.to_dict()["counter"]
    named = axis_from_dict(data | {"aliases": {bare.groups[0]: ["Highlander"]}})
    asked = axis_from_dict(data | {"counter": data["counter"] | {"paraphrases": ["townsperson"]}})
    other = axis_from_dict(data | {"another": ["in a swamp"]})
    assert len({bare.hash, named.hash, asked.hash, other.hash}) == 4
    assert {bare.hash} == {one.hash_of_pictures for one in (bare, named, asked, other)}  # pairs are not made again
    assert named.to_dict()["aliases"] == {bare.groups[0]: ["Highlander"]}
    assert other.to_dict()["another"] == ["in a swamp"]


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
        ("groups", [" "], r'"groups\[0\]" is empty'),
        ("neutral", [], '"neutral" is empty; write at least one prompt with {group}'),
        ("neutral", ["a portrait"], r'"neutral\[0\]" must contain {group}'),
        ("stereotype", {"phrases": []}, '"stereotype.phrases" is empty'),
        ("counter", {"phrases": [""]}, r'"counter.phrases\[0\]" is empty'),
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
    [("groups", "Orvane"), ("neutral", "a {group}"), ("stereotype", {"phrases": "in a village"})],
)
def test_text_where_a_list_belongs_is_refused_and_not_read_letter_by_letter(data, field, value):
    data[field] = value
    with pytest.raises(AxisError, match=f'"{field}.*list of texts'):
        axis_from_dict(data)


@pytest.mark.parametrize(
    "template", ["a {group} person, {mood}", "{group:>1500000000} {group}", "{group.foo} {group}", "{group} {{x}}"]
)
def test_templates_know_group_only_and_other_braces_are_refused(data, template):
    data["neutral"] = [template]
    with pytest.raises(AxisError, match=r"braces other than \{group\}"):
        axis_from_dict(data)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"stereotype": {"phrases": ["a", "b", ""]}}, '"stereotype.phrases[2]" is empty; write what that side shows.'),
        ({"counter": {"phrases": ["  "]}}, '"counter.phrases[0]" is empty; write what that side shows.'),
        ({"counter": {"phrases": []}}, '"counter.phrases" is empty; write what that side shows.'),
        ({"counter": {"phrases": "in a city"}}, '"counter.phrases" must be a list of texts, such as ["in a village", '),
        ({"counter": {"phrases": ["a"] * 201}}, '"counter.phrases" has 201 entries; keep 200 at most.'),
        ({"counter": {"prases": ["a"]}}, 'the field "counter.phrases" is missing; add it.'),
        ({"counter": {"phrases": ["a"], "x": 1}}, 'unknown field "counter.x"; known are description, paraphrases,'),
        ({"counter": ["in a city"]}, '"counter" must be an object with "description" and "phrases".'),
        ({"counter": {"phrases": [" In a  VILLAGE"]}}, 'share "in a village"; the two sides must differ.'),
        ({"groups": []}, '"groups" is empty; name at least one group.'),
        ({"groups": ["Orvane", " "]}, '"groups[1]" is empty; write something or remove it.'),
        ({"groups": ["Orvane", 1]}, '"groups[1]" must be text.'),
        ({"groups": ["Orvane", "Tavelu", "Orvane"]}, '"groups" has "Orvane" twice; remove one.'),
        ({"groups": ["Orvane", "orvane "]}, '"groups" has "orvane " twice; remove one.'),
        ({"groups": [f"group {n}" for n in range(10_000)]}, '"groups" has 10000 entries; keep 64 at most.'),
        ({"aliases": ["Orvanese"]}, '"aliases" must be an object of lists, such as {"Orvane": ["Orvanese"]}.'),
        ({"aliases": {"Nobody": ["x"]}}, '"aliases" names the group "Nobody", which "groups" does not have; add it'),
        (
            {"aliases": {"Orvane": ["tavelu "]}},
            '"aliases.Orvane" has "tavelu ", which names Tavelu already; remove one.',
        ),
        (
            {"aliases": {"Orvane": ["highlander"], "Tavelu": ["Highlander"]}},
            '"aliases.Tavelu" has "Highlander", which names Orvane already; remove one.',
        ),
        ({"aliases": {"Orvane": [f"a{n}" for n in range(10_000)]}}, '"aliases.Orvane" has 10000 entries; keep 500'),
        ({"aliases": {"Orvane": ["x", "x"]}}, '"aliases.Orvane" has "x" twice; remove one.'),
        (
            {"aliases": {"Orvane": ""}},
            '"aliases.Orvane" must be a list of texts, such as ["Orvanese", "from Orvania"].',
        ),
        (
            {"counter": {"phrases": ["a"], "paraphrases": ["In a village"]}},
            '"stereotype.phrases" and "counter.paraphrases" share "in a village"; the two sides must differ.',
        ),
        ({"counter": {"phrases": ["a"], "paraphrases": "b"}}, '"counter.paraphrases" must be a list of texts, such as'),
        (
            {"counter": {"phrases": ["a"], "paraphrases": ["b"] * 501}},
            '"counter.paraphrases" has 501 entries; keep 500',
        ),
        (
            {"another": "in a swamp"},
            '"another" must be a list of texts, such as ["working as a cook", "in a kitchen"].',
        ),
        ({"another": ["a", "a"]}, '"another" has "a" twice; remove one.'),
        ({"another": ["In a village"]}, '"stereotype.phrases" and "another" share "in a village"; remove one.'),
        (
            {"neutral": ["a {group} in a swamp"], "another": ["in a swamp"]},
            '"neutral[0]" already says "in a swamp" of "another"; neutral prompts',
        ),
        ({"neutral": []}, '"neutral" is empty; write at least one prompt with {group}.'),
        ({"neutral": ["a portrait"]}, '"neutral[0]" must contain {group}; write it where'),
        ({"neutral": ["{group}, {mood}"]}, '"neutral[0]" has braces other than {group}; remove them.'),
        ({"neutral": ["{group!r} and {group}"]}, '"neutral[0]" has braces other than {group}; remove them.'),
        ({"neutral": ["{group}" * 50]}, '"neutral[0]" has 350 characters; shorten it to 300 at most.'),
        ({"neutral": ["{group}"] * 201}, '"neutral" has 201 entries; keep 200 at most.'),
        (
            {"neutral": ["{group}", "a {group} IN a  city, at noon"]},
            '"neutral[1]" already says "in a city" of "counter.',
        ),
        ({"id": "My Axis"}, '"id" may hold small letters a to z, digits and hyphens only, such as my-axis.'),
        ({"id": ""}, '"id" is empty; write a short name such as my-axis.'),
        ({"title": 7}, '"title" must be text.'),
        ({"format": True}, '"format" must be the number 1.'),
        ({"skin_region": [0, 0, 1]}, '"skin_region" must be four numbers: left, top, right, bottom.'),
        ({"skin_region": [0, 0, 1, 1.5]}, '"skin_region[3]" is above 1; write shares of the picture between 0 and 1.'),
        ({"skin_region": [0.6, 0.2, 0.4, 0.5]}, '"skin_region" is empty; write left, top, right, bottom, such as'),
        ({"skin_region": [0, 0, math.nan, 1]}, 'it has the number "NaN", and only finite numbers are expected'),
        ({"id": "con"}, '"id" is "con", which Windows cannot have as the name of a file; choose another.'),
        ({"id": "a\n"}, '"id" may hold small letters a to z, digits and hyphens only, such as my-axis.'),
        ({"scope": "\ud800"}, "it holds half of a character (a lone surrogate); write that text again"),
        ({"protected": "skin tone"}, '"protected" must be a list of texts, such as ["group", "skin tone"].'),
        ({"sources": ["arXiv"]}, '"sources[0]" must be an object.'),
        ({"sources": [{"title": "A study"}]}, 'the field "sources[0].identifier" is missing; add it.'),
        ({"sources": [{"title": "a", "identifier": "b", "year": "2023"}]}, '"sources[0].year" must be a whole number.'),
        ({"gruops": []}, 'unknown field "gruops"; known are $schema, aliases, another, author, '),
    ],
)
def test_a_file_with_a_mistake_is_refused_in_a_sentence_that_names_file_field_and_fix(data, write, change, words):
    with pytest.raises(AxisError, match=re.escape(words)) as caught:
        load_axis(write(data | change))
    sentence = str(caught.value)
    assert sentence.startswith("mine.json: ") and sentence.endswith(".") and "\n" not in sentence


def test_a_phrase_inside_a_word_of_a_template_is_no_phrase(data):
    data["counter"]["phrases"] = ["art"]
    assert "a portrait" in data["neutral"][0] and axis_from_dict(data)


def test_whatever_the_schema_can_refuse_has_words():
    """Each rule's failure is put in words by the schema itself, or in general by the loader."""
    general = {"type", "maxItems", "maxProperties", "maxLength", "uniqueItems", "required", "additionalProperties"}
    rules = general | {"const", "minItems", "minLength", "pattern", "minimum", "maximum"}

    def parts(schema):
        yield schema
        for name in ("properties", "$defs"):
            for part in schema.get(name, {}).values():
                yield from parts(part)
        for part in [
            *schema.get("allOf", []),
            *(schema[name] for name in ("items", "additionalProperties") if schema.get(name)),
        ]:
            yield from parts(part)

    for part in parts(axis_schema()):
        assert set(part) & rules <= general | set(part.get("errorMessage", {}))


def test_the_path_of_the_schema_is_accepted_and_no_part_of_the_axis(axis, data, write):
    data["$schema"] = SCHEMA.name
    assert load_axis(write(data)) == axis_from_dict(data) == axis


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "mine.json"
    for content, words in (
        (None, "no such axis file in"),
        (b'{"id": "x",\n oops}', r"not valid JSON \(line 2\)"),
        (b"[1, 2]", "expected a JSON object with the fields of an axis, found list"),
        ("{'id': 'Mül'}".encode("latin-1"), "not a text file in UTF-8; save it in that encoding"),
        (b"[" * 100_000, "nested too deeply"),
    ):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(AxisError, match=rf"mine\.json: .*{words}"):
            load_axis(path)
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(AxisError, match=r"folder\.json: it is a folder, not a file; pick an axis file"):
        load_axis(tmp_path / "folder.json")


def test_a_file_with_the_mark_that_windows_puts_before_utf8_loads(axis, data, tmp_path):
    (tmp_path / "mine.json").write_text(json.dumps(data), encoding="utf-8-sig")
    assert load_axis(tmp_path / "mine.json") == axis


def test_an_axis_cannot_be_made_without_its_two_sides():
    with pytest.raises(TypeError):
        Axis(id="x", title="x", groups=("a",), neutral=("{group}",))
