"""An axis of two prompts, as the Text Preference makes it."""

import pytest

from corrector.axis.axis import AxisError
from corrector.axis.texts import differing_words, text_axis
from corrector.gate.train import QUICK, train_gate
from corrector.gate.wordings import whole_words
from corrector.miniature.host import Miniature

GROUP = "Orvane person"
SIDES = ("a portrait of an Orvane person in a village", "a portrait of an Orvane person in a city")


def test_its_sides_are_the_difference_of_the_prompts():
    axis = text_axis(GROUP, *SIDES)
    assert (axis.stereotype.description, axis.counter.description) == ('"village"', '"city"')
    assert axis.stereotype.phrases == ("village", "in a village")
    assert axis.counter.phrases == ("city", "in a city")
    assert axis.groups == (GROUP,)


def test_the_group_is_named_as_a_word_but_scripts_without_spaces_have_none():
    axis = text_axis("man", "a woman and a man in a village", "a woman and a man in a city")
    assert axis.stereotype.phrases == ("village", "in a village")
    axis = text_axis("奥尔瓦人", "村庄里的奥尔瓦人在 笑", "城市里的奥尔瓦人在 哭")
    assert axis.groups == ("奥尔瓦人",)


@pytest.mark.parametrize(
    "prompt, other, words",
    [
        ("a man, in old rags", "a man in a new suit", "old rags"),
        ("A Village with an Orvane person", "a city with an Orvane person", "village"),
        ("an Orvane person", "an Orvane person in a city", ""),
    ],
)
def test_differing_words_are_those_that_the_other_prompt_lacks(prompt, other, words):
    assert differing_words(prompt, other) == words


def test_it_takes_more_wordings_of_the_group_of_its_sides_and_of_another_value():
    axis = text_axis(GROUP, *SIDES, "Orvanese, from Orvania", "in a hamlet", "downtown\nin town", "at sea")
    assert axis.aliases == {GROUP: ("Orvanese", "from Orvania")}
    assert (axis.stereotype.paraphrases, axis.counter.paraphrases) == (("in a hamlet",), ("downtown", "in town"))
    assert axis.another == ("at sea",)


def test_line_breaks_and_capitals_of_the_prompts_do_not_matter():
    assert text_axis(f" {GROUP}\n", *(f"\n{side} " for side in SIDES)) == text_axis(GROUP, *SIDES)
    assert text_axis(GROUP.lower(), *SIDES).stereotype == text_axis(GROUP, *SIDES).stereotype


@pytest.mark.parametrize(
    "group, stereotype, counter, said",
    [
        (" ", *SIDES, "The group is empty"),
        ("Tavelu", *SIDES, 'The stereotype prompt does not name "Tavelu"'),
        (GROUP, SIDES[0], "a city", "The counter prompt does not name"),
        (GROUP, SIDES[0], SIDES[0].upper(), "are the same"),
        (GROUP, SIDES[0], SIDES[1] + " a b" * 10_000, "The counter prompt has 20009 words; at most 300 are compared"),
        (GROUP, SIDES[0], "a portrait of an Orvane person", "The counter prompt has no words that the other lacks"),
        (
            GROUP,
            SIDES[0],
            SIDES[0].replace("a village", "the village."),
            "no words that the other lacks, beside articles",
        ),
        ("man", "a woman in a village", "a woman in a city", 'does not name "man"; each prompt must name the group'),
        ("Orvane", "an Orvane in a village", "two Orvanes in a city", "The counter prompt .* in the same words"),
    ],
)
def test_what_makes_no_axis_is_said(group, stereotype, counter, said):
    with pytest.raises(AxisError, match=said):
        text_axis(group, stereotype, counter)
    with pytest.raises(AxisError, match='share "downtown"; the two sides must differ'):
        text_axis(GROUP, *SIDES, stereotype_paraphrases="downtown", counter_paraphrases="downtown")


def test_a_quick_gate_reads_its_group_and_both_requests():
    host = Miniature()
    axis = text_axis("Orvane", *SIDES)
    gate, figures = train_gate(axis, host.encode_each, words=whole_words(host.vocabulary), **QUICK)
    assert figures["n"] == QUICK["count"] // 8
    people = [
        f"a photo of {a} {person}" for a in ("an Orvane", "a young Orvane") for person in ("man", "woman", "person")
    ]
    asked = [f"{person} in a {place}" for person in people for place in ("village", "city")]
    others = [person.replace("n Orvane", " Tavelu").replace("Orvane", "Tavelu") for person in people]
    opened = [gate.read([host.encode([text])]).open for text in (*people, *asked, *others, "a house", "")]
    assert opened == [True] * len(people) + [False] * (len(asked) + len(others) + 2)
