"""An axis from the text boxes of a graph."""

import re

import pytest

from corrector.axis.axis import AxisError, load_axis, save_axis
from corrector.axis.texts import axis_from_texts

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
        ({"groups": " ,\n"}, '"groups" is empty; name at least one group'),
        ({"neutral": ""}, '"neutral" is empty; write at least one prompt with {group}'),
        ({"neutral": "a photo"}, '"neutral[0]" must contain {group}'),
        ({"stereotype": "\n"}, '"stereotype.phrases" is empty; write what that side shows'),
        ({"counter": "In a village"}, "the two sides must differ"),
        ({"aliases": "Orvanese"}, 'The line "Orvanese" of the aliases names no group; write "Orvane: Orvanese".'),
        ({"aliases": "Nobody: x"}, '"aliases" names the group "Nobody", which "groups" does not have'),
        ({"counter_paraphrases": "near huts, at noon"}, "the two sides must differ"),
        ({"another": "in a Village"}, '"stereotype.phrases" and "another" share "in a village"; remove one.'),
        ({"counter": "close-up"}, '"neutral[1]" already says "close-up"'),
    ],
)
def test_a_text_box_that_cannot_be_used_is_named(change, words):
    with pytest.raises(AxisError, match=re.escape(words)):
        axis_from_texts(**TEXTS | change)


def test_half_of_a_character_in_a_text_box_is_refused_in_a_sentence():
    with pytest.raises(AxisError, match="a text holds half of a character; write it again"):
        axis_from_texts("\ud800", "Orvane", "a {group} person", "in a village", "in a city")
