"""Axes: readable JSON files, and a sentence that names the field for each that cannot be used."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from corrector.axis.axis import SCHEMA, Axis, AxisError, axis_from_dict, axis_schema, load_axis, save_axis
from corrector.axis.texts import axis_from_texts

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


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"stereotype": {"phrases": ["a", "b", ""]}}, '"stereotype.phrases[2]" is empty; write what that side shows.'),
        ({"counter": {"phrases": "in a city"}}, '"counter.phrases" must be a list of texts, such as ["in a village", '),
        ({"counter": {"phrases": ["a"] * 201}}, '"counter.phrases" has 201 entries; keep 200 at most.'),
        ({"counter": {"prases": ["a"]}}, 'the field "counter.phrases" is missing; add it.'),
        ({"counter": {"phrases": ["a"], "x": 1}}, 'unknown field "counter.x"; known are description, paraphrases,'),
        ({"counter": ["in a city"]}, '"counter" must be an object with "description" and "phrases".'),
        ({"counter": {"phrases": [" In a  VILLAGE"]}}, 'share "in a village"; the two sides must differ.'),
        ({"groups": []}, '"groups" is empty; name at least one group.'),
        ({"groups": ["Orvane", " "]}, '"groups[1]" is empty; write something or remove it.'),
        ({"groups": ["Orvane", 1]}, '"groups[1]" must be text.'),
        ({"groups": ["Orvane", "orvane "]}, '"groups" has "orvane " twice; remove one.'),
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
        ({"aliases": {"Orvane": ["x", "x"]}}, '"aliases.Orvane" has "x" twice; remove one.'),
        (
            {"counter": {"phrases": ["a"], "paraphrases": ["In a village"]}},
            '"stereotype.phrases" and "counter.paraphrases" share "in a village"; the two sides must differ.',
        ),
        ({"another": ["In a village"]}, '"stereotype.phrases" and "another" share "in a village"; remove one.'),
        (
            {"neutral": ["a {group} in a swamp"], "another": ["in a swamp"]},
            '"neutral[0]" already says "in a swamp" of "another"; neutral prompts',
        ),
        ({"neutral": ["a portrait"]}, '"neutral[0]" must contain {group}; write it where'),
        ({"neutral": ["{group}, {mood}"]}, '"neutral[0]" has braces other than {group}; remove them.'),
        ({"neutral": ["{group}" * 50]}, '"neutral[0]" has 350 characters; shorten it to 300 at most.'),
        (
            {"neutral": ["{group}", "a {group} IN a  city, at noon"]},
            '"neutral[1]" already says "in a city" of "counter.',
        ),
        ({"neutral": ["{group:>1500000000} {group}"]}, '"neutral[0]" has braces other than {group}; remove them.'),
        ({"neutral": ["{group} {{x}}"]}, '"neutral[0]" has braces other than {group}; remove them.'),
        ({"format": 2}, "format 2 is newer than this RS-Corrector; update the extension."),
        ({"id": "My Axis"}, '"id" may hold small letters a to z, digits and hyphens only, such as my-axis.'),
        ({"id": ""}, '"id" is empty; write a short name such as my-axis.'),
        ({"format": True}, '"format" must be the number 1.'),
        ({"skin_region": [0, 0, 1]}, '"skin_region" must be four numbers: left, top, right, bottom.'),
        ({"skin_region": [0, 0, 1, 1.5]}, '"skin_region[3]" is above 1; write shares of the picture between 0 and 1.'),
        ({"skin_region": [0.6, 0.2, 0.4, 0.5]}, '"skin_region" is empty; write left, top, right, bottom, such as'),
        ({"scope": "\ud800"}, "it holds half of a character (a lone surrogate); write that text again"),
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


@pytest.mark.parametrize("path", AXES, ids=lambda path: path.stem)
def test_a_saved_axis_reads_the_same(path, tmp_path):
    axis = load_axis(path)
    saved = save_axis(axis, tmp_path / "new folder")
    assert saved == tmp_path / "new folder" / path.name and list(saved.parent.iterdir()) == [saved]
    assert load_axis(saved) == axis and load_axis(saved).hash == axis.hash
    assert "$schema" not in saved.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "a/b", "a\\b", "..", "", "C:x", "x\n", "X", "../x.json"])
def test_an_axis_is_never_saved_outside_its_folder(axis, tmp_path, name):
    with pytest.raises(AxisError, match="cannot name an axis file; use small letters, digits and hyphens"):
        save_axis(axis, tmp_path / "axes", name)
    assert not list(tmp_path.iterdir())


def test_an_axis_can_be_saved_under_another_name_over_an_old_file(axis, tmp_path):
    (tmp_path / "mine.json").write_text("old")
    assert load_axis(save_axis(axis, tmp_path, "mine.json")) == axis
    assert [path.name for path in tmp_path.iterdir()] == ["mine.json"]


def test_an_axis_that_could_not_be_read_back_is_not_saved_over_an_old_file(axis, tmp_path):
    (tmp_path / "test.json").write_text("old")
    wrong = replace(axis, neutral=(*axis.neutral, "a {group} person in a city"))
    with pytest.raises(AxisError, match=r'test\.json: "neutral\[3\]" already says "in a city"'):
        save_axis(wrong, tmp_path)
    assert (tmp_path / "test.json").read_text() == "old"


def test_a_folder_that_cannot_be_written_to_is_named_and_nothing_is_left(axis, tmp_path):
    (tmp_path / "test.json").mkdir()
    with pytest.raises(AxisError, match=r"test\.json: cannot be written: .*; choose another place"):
        save_axis(axis, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["test.json"]


TEXTS = {
    "title": "Village  backdrop, Été!",
    "groups": "Orvane, Tavelu\nQuilmari,",
    "neutral": "a photo of one {group} person\n\n  {group}, close-up  ",
    "stereotype": "in a village\nnear huts, at noon",
    "counter": "in a city",
}


def test_an_axis_from_text_boxes_loads_back_the_same(tmp_path):
    axis = axis_from_texts(**TEXTS, counter_description="a big city")
    assert axis.id == "village-backdrop-ete" and axis.title == "Village backdrop, Été!"
    assert axis.groups == ("Orvane", "Tavelu", "Quilmari")
    assert axis.neutral == ("a photo of one {group} person", "{group}, close-up")
    assert axis.stereotype.phrases == ("in a village", "near huts, at noon")
    assert (axis.stereotype.description, axis.counter.description) == ("in a village", "a big city")
    assert load_axis(save_axis(axis, tmp_path)) == axis


def test_aliases_paraphrases_and_another_value_have_boxes_of_their_own(tmp_path):
    axis = axis_from_texts(
        **TEXTS,
        aliases="Orvane: Orvanese, from Orvania\nTavelu:Tavelian",
        stereotype_paraphrases="villager\n\noutside a hut",
        another="on a beach\n in a forest ",
    )
    assert axis.aliases == {"Orvane": ("Orvanese", "from Orvania"), "Tavelu": ("Tavelian",)}
    assert axis.stereotype.paraphrases == ("villager", "outside a hut") and axis.counter.paraphrases == ()
    assert axis.another == ("on a beach", "in a forest")
    assert load_axis(save_axis(axis, tmp_path)) == axis
    alone = axis_from_texts(**TEXTS | {"groups": "Orvane"}, aliases="Orvanese, from Orvania")
    assert alone.aliases == {"Orvane": ("Orvanese", "from Orvania")}


def test_titles_in_other_scripts_give_ids_of_their_own():
    first, second = (axis_from_texts(**TEXTS | {"title": title}).id for title in ("村庄", "城市"))
    assert first != second and re.fullmatch("axis-[0-9a-f]{10}", first)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"title": " "}, '"title" is empty; write something'),
        ({"title": "\ud800"}, "a text holds half of a character; write it again."),
        ({"groups": " ,\n"}, '"groups" is empty; name at least one group'),
        ({"neutral": ""}, '"neutral" is empty; write at least one prompt with {group}'),
        ({"stereotype": "\n"}, '"stereotype.phrases" is empty; write what that side shows'),
        ({"counter": "In a village"}, "the two sides must differ"),
        ({"counter": "in a  Village."}, 'share "in a village"; the two sides must differ'),
        ({"aliases": "Orvanese"}, 'The line "Orvanese" of the aliases names no group; write "Orvane: Orvanese".'),
        ({"aliases": "Nobody: x"}, '"aliases" names the group "Nobody", which "groups" does not have'),
    ],
)
def test_a_text_box_that_cannot_be_used_is_named(change, words):
    with pytest.raises(AxisError, match=re.escape(words)):
        axis_from_texts(**TEXTS | change)
