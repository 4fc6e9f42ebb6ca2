"""Of strange texts and numbers in text boxes and arguments only sentences come out, or sound settings."""

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from corrector.auditing.plan import Plan
from corrector.axis.axis import load_axis, save_axis
from corrector.axis.texts import axis_from_texts, text_axis
from corrector.correction.update import Settings
from corrector.files.errors import RSCorrectorError
from corrector.files.folders import AXES
from test_fuzz_files import NUMBERS, TEXTS

BOXES = ("Backdrop", "Orvane, Tavelu", "a {group} person", "in a village", "in a city", "", "", "", "", "", "")
text = st.lists(st.sampled_from((*TEXTS, "a village", "Orvane", "a {group}", "Orvane: x")), max_size=3).map("\n".join)
numbers = st.lists(st.sampled_from(NUMBERS) | st.floats(), min_size=5, max_size=5)


@given(st.tuples(*(st.just(box) | text for box in BOXES)), text)
def test_text_boxes_of_an_axis(tmp_path_factory, boxes, name):
    with suppress(RSCorrectorError):
        axis, folder = axis_from_texts(*boxes), tmp_path_factory.mktemp("axis")
        assert load_axis(save_axis(axis, folder)).hash == axis.hash
        save_axis(axis, folder, name)


@given(st.lists(text, min_size=7, max_size=7))
def test_two_prompts(boxes):
    with suppress(RSCorrectorError):
        assert text_axis(*boxes).counter.phrases


@given(numbers)
def test_numbers(numbers):
    with suppress(RSCorrectorError):
        Settings(numbers[0], numbers[1], (numbers[2], numbers[3]), None, numbers[4])
    axis, (cfg, strength, target, narrow, _) = load_axis(AXES / "worn-places.json"), numbers
    with suppress(RSCorrectorError):
        assert Plan(axis, 3, 2, 0, (cfg,), (strength,), target, 4, narrow).chunks
