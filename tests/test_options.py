"""Options of the shell: what is wrong is said before any model is loaded or picture drawn, and nothing is replaced."""

import json
import shutil

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from corrector.cli import commands, learning
from corrector.files.folders import AXES, WEIGHTS
from corrector.files.whole_files import at_work
from corrector.learning.report import draw_report, report_path
from corrector.preference.file import load_preference

SHIPPED = WEIGHTS / "miniature-backdrop.safetensors"
AXIS = str(AXES / "miniature-backdrop.json")


@pytest.fixture(autouse=True)
def no_model(monkeypatch):
    def refuse(*_):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(learning, "open_host", refuse)


def said(capsys, *arguments):
    """What the shell says of arguments that it refuses."""
    with pytest.raises(SystemExit) as refusal:
        commands.main(list(map(str, arguments)))
    assert refusal.value.code
    return f"{refusal.value.code} {capsys.readouterr().err}"


@pytest.mark.parametrize(
    ("option", "values", "words"),
    [
        ("--cfg", ["-5", "0", "1e308", "nan", "inf", "seven"], "is not a number from 1 to 100"),
        ("--pairs", ["1"], "is not a whole number from 2 to 1000000"),
        ("--points", ["0"], "is not a whole number from 1 to 1000000"),
        ("--steps", ["1001"], "is not a whole number from 1 to 1000"),
        ("--calibration", ["-1"], "is not a whole number from 0 to 1000000"),
        ("--seed", ["9" * 5000], "is not a whole number from 0 to 2147483647"),
        ("--size", ["512"], "is not a size"),
    ],
)
def test_numbers_out_of_range_are_refused(option, values, words, capsys):
    for value in values:
        assert words in said(capsys, "learn", AXIS, f"{option}={value}")


def test_a_preference_is_not_written_under_the_name_of_another_kind_of_file(tmp_path, capsys):
    for name in ("x.png", "mine", "mine.safetensors.json"):
        assert "ends in .safetensors; add that" in said(capsys, "learn", AXIS, "--out", tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["learn", "calibrate", "gate", "combine"])
def test_no_other_file_is_replaced_by_a_preference(command, tmp_path, capsys):
    path = tmp_path / "model.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    before = path.read_bytes()
    subject = AXIS if command == "learn" else SHIPPED
    assert "which is no preference, and it would be replaced" in said(capsys, command, subject, "--out", path)
    path.write_text("my notes")
    assert "which is no preference" in said(capsys, command, subject, "--out", path)
    path.write_bytes(before)


def test_no_picture_is_replaced_by_the_report_but_an_earlier_report(tmp_path, capsys):
    path = tmp_path / "mine.safetensors"
    Image.new("RGB", (8, 8)).save(path.with_suffix(".png"))
    assert "mine.png: there is a picture of this name" in said(capsys, "learn", AXIS, "--out", path)
    path.with_suffix(".png").unlink()
    draw_report(load_preference(SHIPPED), None, report_path(path))  # in words, as there are no pairs
    assert report_path(path) == path.with_suffix(".png"), "a report takes the place of an earlier one"


def test_two_learnings_of_one_file_are_told_apart_at_once(tmp_path, capsys):
    path = tmp_path / "mine.safetensors"
    shutil.copy(SHIPPED, path)
    with at_work(path, "a preference"):
        refusal = said(capsys, "learn", AXIS, "--out", path, "--seed", "1")
    assert "is making a preference here; wait until it is done" in refusal


def test_inspect_says_what_a_preference_does_badly(capsys):
    commands.main(["inspect", str(SHIPPED)])
    assert isinstance(json.loads(capsys.readouterr().out)["caveats"], list)
