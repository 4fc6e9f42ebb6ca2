"""Preferences of several axes in one file."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open

from corrector.preference.calibration import Calibration
from corrector.preference.file import (
    KEY,
    PreferenceFileError,
    load_preference,
    load_preferences,
    save_preference,
    save_preferences,
    update_preference,
)
from corrector.preference.networks import Distilled
from preference_files import SMALL, rewrite, small_preference


@pytest.fixture
def preference(axis):
    return small_preference(axis)


@pytest.fixture
def saved(preference, tmp_path):
    path = tmp_path / "village.safetensors"
    save_preference(preference, path)
    return path


@pytest.fixture
def second(preference, axis):
    other = replace(preference, axis=replace(axis, id="other", title="Attire"), name="Attire", gate=None)
    other.source = Distilled(**SMALL)
    other.source.eval().requires_grad_(False)
    return other


def test_several_axes_share_one_file_and_come_back_each_as_it_was(preference, second, tmp_path):
    path = tmp_path / "both.safetensors"
    hashes = save_preferences([preference, second], path)
    found = load_preferences(path)
    assert [p.name for p in found] == ["Village backdrop", "Attire"] and len(set(hashes)) == 2
    assert [p.hash for p in found] == hashes
    for loaded, wanted in zip(found, (preference, second), strict=True):
        assert loaded.axis == wanted.axis and loaded.calibrations == wanted.calibrations
        weight = wanted.source.odds.weight
        torch.testing.assert_close(loaded.source.odds.weight, weight, rtol=1e-2, atol=1e-3)
    assert found[0].gate is not None and found[1].gate is None
    with pytest.raises(PreferenceFileError, match="it holds 2 preferences \\(Village backdrop, Attire\\)"):
        load_preference(path)


def test_a_calibration_is_written_over_its_own_axis_and_the_others_of_the_file_stay(preference, second, tmp_path):
    path = tmp_path / "both.safetensors"
    save_preferences([preference, second], path)
    measured = Calibration("Tavelu", 7.0, 0.2, 100, 0.98, 100)
    changed = replace(load_preferences(path)[1], calibrations=(measured,))
    assert update_preference(changed, path) == changed.hash
    first, other = load_preferences(path)
    assert first.calibrations == preference.calibrations and other.calibrations == (measured,)
    alone = tmp_path / "alone.safetensors"
    update_preference(changed, alone)
    assert load_preference(alone).calibrations == (measured,)
    assert update_preference(preference, alone) == preference.hash  # another axis joins, and nothing is lost
    assert [p.name for p in load_preferences(alone)] == [changed.name, preference.name]


def test_two_preferences_of_one_axis_cannot_share_a_file(preference, tmp_path):
    with pytest.raises(PreferenceFileError, match='Two preferences of the axis "test" cannot share a file'):
        save_preferences([preference, replace(preference)], tmp_path / "both.safetensors")


def test_a_file_of_several_that_is_damaged_is_refused_like_any_other(preference, second, tmp_path):
    path = tmp_path / "both.safetensors"
    save_preferences([preference, second], path)
    rewrite(path, lambda metadata: metadata.update(preferences=[]))
    with pytest.raises(PreferenceFileError, match="its list of preferences is broken"):
        load_preferences(path)
    save_preferences([preference, second], path)
    rewrite(path, change_tensors=lambda tensors: tensors.pop("1.source.odds.weight"))
    with pytest.raises(PreferenceFileError, match="do not fit together"):
        load_preferences(path)


def test_a_file_of_one_preference_is_still_written_as_the_first_versions_read_it(saved):
    with safe_open(saved, "pt") as file:
        assert json.loads(file.metadata()[KEY])["format"] == 1
