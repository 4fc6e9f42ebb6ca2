"""Preferences of several axes in one file."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from corrector.preference.calibration import Calibration
from corrector.preference.file import (
    PreferenceFileError,
    file_hash,
    load_preference,
    load_preferences,
    save_preference,
    save_preferences,
)
from corrector.preference.networks import Distilled
from corrector.preference.updated_file import latest, update_preference
from preference_files import SMALL, rewrite

ROOT = Path(__file__).parents[1]


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
        weight = wanted.source.last.weight
        torch.testing.assert_close(loaded.source.last.weight, weight, rtol=1e-2, atol=1e-3)
    assert found[0].gate is not None and found[1].gate is None
    with pytest.raises(PreferenceFileError, match="it holds 2 preferences \\(Village backdrop, Attire\\)"):
        load_preference(path)


def test_a_calibration_is_written_over_its_own_axis_and_the_others_of_the_file_stay(preference, second, tmp_path):
    path = tmp_path / "both.safetensors"
    save_preferences([preference, second], path)
    measured = Calibration("Tavelu", 7.0, 0.2, 100, 0.98, 100)
    changed = replace(load_preferences(path)[1], calibrations=(measured,))
    written = update_preference(changed, path, (7.0,))
    first, other = load_preferences(path)
    assert first.calibrations == preference.calibrations
    assert other.calibrations == (*second.calibrations, measured) == written.calibrations and other.hash == written.hash
    alone = tmp_path / "alone.safetensors"
    update_preference(changed, alone, (7.0,))
    assert load_preference(alone).calibrations == (measured,)
    update_preference(preference, alone, (2.0,))  # another axis joins, and nothing is lost
    assert [p.name for p in load_preferences(alone)] == [changed.name, preference.name]


def calibrate_at(cfgs, preference, path):
    """Write a calibration at each CFG scale, each as if the others were not known."""
    for cfg in cfgs:
        measured = Calibration("Orvane", cfg, 0.1, 9, 0.9, 9), {"calibrated": {f"{cfg:g}": "mark"}}
        update_preference(replace(preference, calibrations=measured[:1], training=measured[1]), path, (cfg,))


def test_two_processes_that_calibrate_one_file_at_the_same_time_lose_nothing(preference, second, tmp_path):
    path, cfgs = tmp_path / "both.safetensors", [float(cfg) for cfg in range(10, 30)]
    save_preferences([preference, second], path)
    code = "import sys, test_shared_files as test\nfirst, _ = test.load_preferences(sys.argv[1])\nprint(flush=True)"
    code += f"\ninput()\ntest.calibrate_at({cfgs[::2]}, first, sys.argv[1])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    command, pipe = [sys.executable, "-c", code, str(path)], subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as other:
        other.stdout.readline()
        other.stdin.write("\n")
        other.stdin.flush()
        calibrate_at(cfgs[1::2], preference, path)
        calibrate_at(cfgs[:5], second, path)
    assert other.returncode == 0
    for found, own in zip(load_preferences(path), (cfgs, cfgs[:5]), strict=True):
        assert sorted(known.cfg for known in found.calibrations) == [2.0, *own]
        assert sorted(map(float, found.training["calibrated"])) == own
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


def test_a_calibration_of_weights_that_were_learned_again_meanwhile_is_refused(preference, second, saved):
    again = replace(second, axis=preference.axis, gate=preference.gate)
    save_preference(again, saved)
    before = saved.read_bytes()
    with pytest.raises(PreferenceFileError, match="learned again, or has the same name by chance"):
        update_preference(preference, saved, (2.0,))
    with pytest.raises(PreferenceFileError, match="choose another name for yours"):
        latest(preference, saved)
    assert saved.read_bytes() == before and latest(again, saved).hash == file_hash(saved)
    assert latest(preference, saved.with_name("gone.safetensors")) is preference


def test_a_calibration_on_another_checkpoint_takes_the_place_of_those_before(preference, saved):
    own, other = (Calibration("Orvane", cfg, 0.1, 9, 0.9, 9, checkpoint=name) for cfg, name in ((2.0, "a"), (7.0, "b")))
    assert update_preference(replace(preference, calibrations=(own,)), saved, (2.0,)).calibrations == (own,)
    assert update_preference(replace(preference, calibrations=(other,)), saved, (7.0,)).calibrations == (other,)


def test_a_file_of_several_that_is_damaged_is_refused_like_any_other(preference, second, tmp_path):
    path = tmp_path / "both.safetensors"
    save_preferences([preference, second], path)
    rewrite(path, lambda metadata: metadata.update(preferences=[]))
    with pytest.raises(PreferenceFileError, match="its list of preferences is broken"):
        load_preferences(path)
    save_preferences([preference, second], path)
    rewrite(path, change_tensors=lambda tensors: tensors.pop("1.source.last.weight"))
    with pytest.raises(PreferenceFileError, match="do not fit together"):
        load_preferences(path)
    with pytest.raises(PreferenceFileError, match='Two preferences of the axis "test" cannot share a file'):
        save_preferences([preference, replace(preference)], path)
