"""Names on things, in other languages and of those whom an axis concerns, and other times: certain in listed words."""

from dataclasses import replace

import pytest

from corrector.axis.axis import load_axis
from corrector.gate.data import languages
from corrector.gate.listed import ListedWords
from corrector.gate.prompt_gate import ANOTHER, OUT_OF_SCOPE, PromptReading

HOUSE = load_axis("african-house-poverty")


@pytest.fixture(scope="module")
def house():
    """`house(text)` -> what a prompt says in the words of the axis about African people's houses."""
    return ListedWords(HOUSE).read


@pytest.mark.parametrize(
    "prompt",
    ["an African violet", "African elephant, man", "african_grey_parrot, 1girl", "a young African cat in a garden"],
)
def test_a_name_on_a_known_thing_is_nobody_whatever_the_network_reads(house, prompt):
    assert house(prompt).heeded(PromptReading(0, "neither")).group == OUT_OF_SCOPE


def test_somebody_beside_a_thing_of_their_name_is_somebody(house):
    assert house("an African man and an African elephant").heeded(PromptReading(0, "neither")).open


@pytest.mark.parametrize(
    "prompt",
    [
        "an African man, 1905",
        "African_man, (victorian era:1.2)",
        "an African man in the 1950s",
        "African women, cosplay",
    ],
)
def test_who_names_another_time_asks_for_what_belongs_to_it(house, prompt):
    assert house(prompt).asked == (ANOTHER,)


@pytest.mark.parametrize("detail", ["1920x1080", "1024", "8k", "2024", "1990s", "film still", "85mm", "not in 1905"])
def test_numbers_of_pictures_and_of_today_are_no_time(house, detail):
    assert house(f"an African man, {detail}").asked == ()


@pytest.mark.parametrize(
    "concerns, open_to",
    [
        (
            "anyone",
            {"a man", "a woman", "two women", "a woman and her father", "1boy", "1girl", "a teacher", "a child"},
        ),
        ("men", {"a man", "a woman and her father", "1boy", "a teacher", "a child"}),
        ("women", {"a woman", "two women", "a woman and her father", "1girl", "a teacher", "a child"}),
        ("children", {"a child", "1girl", "1boy"}),
    ],
)
def test_a_prompt_about_others_than_those_whom_an_axis_concerns_is_left_alone(concerns, open_to):
    words = ListedWords(replace(HOUSE, concerns=concerns))
    people = ("a man", "a woman", "two women", "a woman and her father", "1boy", "1girl", "a teacher", "a child")
    texts = {who: f"portrait of {who}, African" for who in people}
    assert {who for who, text in texts.items() if words.read(text).heeded(PromptReading(0, "neither")).open} == open_to


@pytest.mark.parametrize("code", list(languages()))
def test_names_in_other_languages_count_beside_people_of_the_same_language(house, code):
    language = languages()[code]
    gap = "" if code in ("zh", "ja") else " "
    noun, forms = language["person"][0], language["names"]["African"]
    for form in forms:
        assert house(f"{noun}{gap}{form}").groups == house(f"{form}{gap}{noun}").groups == (0,), form
        assert house(form).groups == house(f"{form}, {noun}").groups == ()
    for form in language.get("people", {}).get("African", ()):
        assert house(form).groups == (0,), form


@pytest.mark.parametrize(
    "prompt", ["una mujer vestida de negro", "film noir, a man", "a man, una cabaña africana", "un perro negro"]
)
def test_words_of_other_languages_about_nobody_of_the_group_name_nobody(prompt):
    assert ListedWords(load_axis("dark-skin-low-status")).read(prompt).groups == ()


def test_an_axis_about_places_reads_places_in_other_languages():
    words = ListedWords(load_axis("worn-places"))
    texts = ("una calle en la India", "Hindistan'da bir sokak", "印度的街道", "una mujer india", "ein Inder", "Indien")
    assert [words.read(text).groups for text in texts] == [(0,), (0,), (0,), (), (), ()]
