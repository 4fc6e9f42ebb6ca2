"""Words that an axis lists are certain: requests, denials and names in the text of a prompt, as people write it."""

from dataclasses import replace

import pytest
import torch

from corrector.axis.axis import SCHEMA, Axis, Side, load_axis
from corrector.axis.texts import text_axis
from corrector.correction.memory import Memory
from corrector.correction.run import Run
from corrector.correction.update import Settings
from corrector.files.folders import AXES
from corrector.gate.checks import own_texts
from corrector.gate.listed import Listed, ListedWords
from corrector.gate.prompt_gate import ANOTHER, COUNTER, EXPLICIT, NEITHER, OUT_OF_SCOPE, STEREOTYPE, PromptReading

SHIPPED = [path for path in sorted(AXES.glob("*.json")) if path != SCHEMA]
EACH = pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
HOUSE = load_axis("african-house-poverty")


@pytest.fixture(scope="module")
def house():
    """`house(text)` -> what a prompt says in the words of the axis about African people's houses."""
    return ListedWords(HOUSE).read


@EACH
def test_each_request_that_a_shipped_axis_lists_is_one_whatever_the_network_reads(path):
    axis = load_axis(path)
    words, readings = ListedWords(axis), [PromptReading(0, explicit) for explicit in EXPLICIT]
    for text, _, explicit in own_texts(axis):
        if explicit != NEITHER:
            for prompt in (text, text.upper(), f"masterpiece, ({text.replace(' ', '_')}:1.2), 8k"):
                assert words.read(prompt).asked == (explicit,), prompt
                assert not any(words.read(prompt).heeded(reading).open for reading in readings)


@EACH
def test_the_neutral_prompts_of_a_shipped_axis_ask_for_nothing_and_most_name_their_group(path):
    axis = load_axis(path)
    words = ListedWords(axis)
    said = [words.read(prompt) for group in axis.groups for prompt in axis.prompts(group)]
    wanted = [index for index, _ in enumerate(axis.groups) for _ in axis.neutral]
    assert not [each for each in said if each.asked or each.denied]
    assert all(each.groups in ((), (index,)) for each, index in zip(said, wanted, strict=True))
    assert sum(bool(each.groups) for each in said) >= 0.6 * len(said)


@pytest.mark.parametrize(
    "prompt, side",
    [
        ("an African man in front of his Hûts", STEREOTYPE),  # plural, capitals, accents
        ("(straw_hut:1.3), african_man", STEREOTYPE),
        ("an African woman, the hut's door open", STEREOTYPE),
        ("two African men, slums", STEREOTYPE),
        ("an African man, mud-walls", STEREOTYPE),  # of "with mud walls"
        ("African man BREAK mansion at dusk", COUNTER),
        ("an African man next to the pool", COUNTER),  # of "with a pool"
        ("an African man, a (brick:1.3) house", COUNTER),
        ("an African man without electricity", STEREOTYPE),
        ("an African man not smiling very happily this early morning before a hut", STEREOTYPE),
        ("an African man not far from a hut", STEREOTYPE),
        ("no people but a hut", STEREOTYPE),
        ("no people, a hut", STEREOTYPE),
        ("an African man, no mud hut but a villa in good repair", COUNTER),
    ],
)
def test_a_request_is_one_in_other_forms_of_its_words(house, prompt, side):
    assert house(prompt).asked == (side,)


@pytest.mark.parametrize(
    "prompt",
    [
        "an African man in a pool hall", "an African man, carpool", "an African man at work", "a hutch", "",
        "<lora:mud_hut:0.8> an African man", "African man, mud BREAK walls of glass",
    ],
)  # fmt: skip
def test_parts_of_other_words_and_names_of_networks_ask_for_nothing(house, prompt):
    assert house(prompt).asked == house(prompt).denied == ()


@pytest.mark.parametrize(
    "denial",
    [
        "no mud hut", "without a mud hut", "not in a (mud hut:1.3)", "a flat instead of a mud hut", "not a mud hut",
        "isn't in a slum", "anything but a slum", "no hut or shack", "without any huts", "never in front of a mud hut",
        "no hut, no slum",
    ],
)  # fmt: skip
def test_what_is_denied_is_no_request_though_the_network_reads_one(house, denial):
    said = house(f"an African man, {denial}")
    assert STEREOTYPE in said.denied and STEREOTYPE not in said.asked
    read = said.heeded(PromptReading(0, "stereotype"))
    assert read.open != bool(said.asked)


@pytest.mark.parametrize(
    "denial", ["without a trace of a mud hut", "not only in a slum", "no trace of any old mud hut"]
)
def test_what_may_be_denied_is_left_to_the_network(house, denial):
    said = house(f"an African man, {denial}")
    assert said.groups == (0,) and said.asked == said.denied == ()


def test_who_does_not_want_the_counter_side_is_not_given_it(house):
    said = house("an African man, no swimming pool, no mansion")
    assert said.denied == (COUNTER,) and said.heeded(PromptReading(0, "neither")).explicit == "stereotype"


def test_one_side_in_place_of_the_other_is_asked_for(house):
    said = house("an African man in front of a mansion instead of a mud hut")
    assert said.asked == (COUNTER,) and said.denied == (STEREOTYPE,)
    assert said.heeded(PromptReading(0, "stereotype")).explicit == "counter"


def test_a_word_with_the_ending_of_a_plural_may_be_another_word():
    words = ListedWords(load_axis("middle-eastern-men-attire"))
    said = [
        words.read(f"an Arab man, {detail}").asked for detail in ("in shorts", "short", "suits", "T-shirts", "glasses")
    ]
    assert said == [(COUNTER,), (), (COUNTER,), (COUNTER,), ()]


def test_a_denial_that_an_axis_lists_as_a_wording_is_a_request():
    words = ListedWords(load_axis("middle-eastern-men-attire"))
    assert words.read("an Arab man, no beard").asked == (COUNTER,)
    assert words.read("an Arab man, a beard").asked == (STEREOTYPE,)
    assert words.read("an Arab man, no turban").denied == (STEREOTYPE,)


@pytest.mark.parametrize(
    "prompt",
    [
        "an African man", "african_woman, 1girl", "(African women:1.2)", "AFRICAN PEOPLE", "Nigérian doctors",
        "an African smiling old lady", "a man from Nigeria",
        "a sub-Saharan family", "a Kenyan's portrait, Kenyan girl", "not a hut but an African man",
    ],
)  # fmt: skip
def test_somebody_of_a_group_is_named(house, prompt):
    assert house(prompt).groups == (0,)
    assert house(prompt).heeded(PromptReading(OUT_OF_SCOPE, "neither")).open


@pytest.mark.parametrize(
    "prompt",
    [
        "an African mask carver", "african", "an African-American man",
        "a man from Papua New Guinea", "a cat dressed as an African man", "not an African man", "a man from Spain",
        "a map of Africa", "a southern man", "an Africanized woman", "a woman with African cloth",
    ],
)  # fmt: skip
def test_things_longer_names_and_names_alone_are_left_to_the_network(house, prompt):
    assert house(prompt).groups == ()
    for reading in (PromptReading(OUT_OF_SCOPE, "neither"), PromptReading(0, "neither")):
        assert house(prompt).heeded(reading) == reading


def test_a_name_with_its_person_and_one_that_stands_behind_are_somebody():
    words = ListedWords(load_axis("dark-skin-low-status"))
    said = [words.read(text).groups for text in ("a person of colour", "a doctor of colour", "of colour", "dark skin")]
    assert said == [(1,), (1,), (), ()]
    assert words.read("a woman with dark skin").groups == (2,) and words.read("a woman, dark skin tones").groups == ()


def test_an_axis_about_places_names_places_and_no_people():
    words = ListedWords(load_axis("worn-places"))
    said = [
        words.read(text).groups for text in ("a street in Nigeria", "Bogotá street", "an Indian man", "Delhi metro")
    ]
    assert said == [(1,), (2,), (), ()]


@EACH
def test_the_names_that_a_shipped_axis_lists_ask_for_nothing(path):
    axis = load_axis(path)
    words = ListedWords(axis)
    names = [words.read(text) for text, _, explicit in own_texts(axis) if explicit == NEITHER]
    assert not [said for said in names if said.asked or said.denied]


def test_an_alias_that_is_a_phrase_too_is_both():
    words = ListedWords(replace(HOUSE, aliases={"African": ("slum", "slum city people")}))
    assert words.read("slum people") == Listed(groups=(0,), asked=(STEREOTYPE,))
    assert words.read("slum city people") == Listed(groups=(0,))


def test_what_both_sides_or_neutral_prompts_say_asks_for_nothing():
    sides = Side("walls", ("with walls", "in the old town")), Side("paint", ("with painted walls",))
    words = ListedWords(Axis("id", "title", ("Orvane",), ("an {group} man near his old town",), *sides))
    said = [words.read(f"an Orvane man {detail}").asked for detail in ("near walls", "by an old town", "with walls")]
    assert said == [(), (), (STEREOTYPE,)]


def test_another_value_that_an_axis_lists_is_asked_for():
    words = ListedWords(replace(HOUSE, another=("in a tent",)))
    assert words.read("an African man in a tent").asked == (ANOTHER,)
    assert words.read("an African man in a tent").heeded(PromptReading(0, "neither")).explicit == "another"


def test_words_and_network_together():
    nothing, asks = PromptReading(1, "neither", 1, 0.9, 0.1), PromptReading(1, "counter", 1, 0.9, 0.8)
    assert Listed().heeded(nothing) == nothing and Listed().heeded(asks) == asks
    assert Listed(groups=(0, 1)).heeded(nothing) == nothing  # of several that are named, the network's
    assert Listed(groups=(0,)).heeded(nothing) == PromptReading(0, "neither")
    assert Listed(asked=(STEREOTYPE, COUNTER)).heeded(asks).explicit == "counter"
    assert Listed(asked=(STEREOTYPE,)).heeded(asks).explicit == "stereotype"
    assert Listed(denied=(STEREOTYPE,)).heeded(asks) == asks  # it may ask in other words
    assert Listed(groups=(0,)).heeded(PromptReading(OUT_OF_SCOPE, "neither", 1)).by_words
    assert not Listed(groups=(1,)).heeded(nothing).by_words


class Deaf:
    """A gate that reads a picture of Orvane that asks for nothing, or out of scope of no regions."""

    def read(self, regions):
        return PromptReading(0 if regions else OUT_OF_SCOPE, "neither")


def test_a_run_heeds_the_texts_that_its_host_has(exact):
    preference = exact(shape=(4, 8, 8))
    preference.gate = Deaf()
    texts = ["an Orvane person in a village", "an Orvane person", None, "a Tavelu woman", "a cat"]
    regions = [torch.zeros(1, 1, 1)]
    prompts = [regions, regions, regions, [], []]

    def reasons(**given):
        run, x = (
            Run([preference], Settings(), torch.rand(5), prompts, memory=Memory(), **given),
            torch.randn(5, 4, 8, 8),
        )
        run.correct(torch.zeros_like(x), x, torch.full((5,), 5.0))
        return run.reasons[0]

    nobody = "the prompt names nobody of Orvane, Tavelu"
    assert reasons() == ["", "", "", nobody, nobody]
    assert reasons(texts=texts) == ["the prompt asks for a village", "", "", "", nobody]
    assert reasons(texts=texts, use_gate=False) == [""] * 5
    assert replace(preference, gate=None).readings(prompts, texts) == [None] * 5
    with pytest.raises(ValueError, match="zip"):
        preference.readings(prompts, texts[:3])


@pytest.mark.parametrize(
    "prompt", ["🙂" * 50, "\u202ehut\u202c \u200fרכב", "\ud800 hut", ":1.2)", "<<<>", "'s n't", "\0"]
)
def test_prompts_of_any_characters_are_read(house, prompt):
    assert set(house(prompt).asked) <= {STEREOTYPE} and house(prompt).groups == ()


def test_long_prompts_and_many_aliases_are_read():
    aliases = tuple(f"name{number} people" for number in range(1000))
    words = ListedWords(replace(HOUSE, aliases={"African": aliases}))
    said = words.read("light on an old wall of the town, " * 1500 + "name999 people in a slum, no huts")
    assert said == Listed((0,), (STEREOTYPE,), (STEREOTYPE,))


def test_an_axis_in_a_language_without_spaces_is_read():
    axis = Axis("id", "title", ("中国",), ("{group}人",), Side("农村", ("在农村",)), Side("城市", ("在城市",)))
    words = ListedWords(axis)
    assert words.read("照片，中国男人在农村").asked == (STEREOTYPE,) and words.read("中国男人").asked == ()


def test_the_axis_of_two_phrases_is_read():
    words = ListedWords(text_axis("Kenyan woman", "a Kenyan woman in a village", "a Kenyan woman in a city"))
    said = words.read("portrait of a Kenyan woman, the village behind")
    assert said.groups == (0,) and words.read("a Kenyan woman near villages").asked == (STEREOTYPE,)
    assert words.read("Kenyan women, not in a city").denied == (COUNTER,)
