"""Axes are saved whole, under names of their own, inside their folder, or not at all."""

from dataclasses import replace
from pathlib import Path

import pytest

from corrector.axis.axis import SCHEMA, AxisError, load_axis, save_axis

ROOT = Path(__file__).resolve().parents[1]
AXES = [path for path in sorted((ROOT / "axes").glob("*.json")) if path != SCHEMA]


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
    (tmp_path / "file").write_text("")
    with pytest.raises(AxisError, match="cannot be written"):
        save_axis(axis, tmp_path / "file")
