"""`gate` trains the gates of a file again and changes nothing else in it."""

import json
from dataclasses import replace
from functools import partial

import pytest
import torch

from corrector.axis.axis import load_axis
from corrector.cli.commands import main
from corrector.files.folders import AXES, WEIGHTS
from corrector.learning import learn
from corrector.preference.calibration import Calibration
from corrector.preference.file import load_preference, load_preferences, save_preferences
from corrector.preference.preference import GATE_FIGURES
from corrector.preference.updated_file import update_gate, update_preference


@pytest.fixture
def both(tmp_path, monkeypatch, one_thread):
    """The file of both preferences that ship; gates are trained for a few steps only."""
    monkeypatch.setattr(learn, "host_gate", partial(learn.host_gate, steps=8))
    path = tmp_path / "both.safetensors"
    save_preferences(
        [load_preference(WEIGHTS / f"miniature-{name}.safetensors") for name in ("backdrop", "attire")], path
    )
    return path


@pytest.fixture
def more_aliases(tmp_path):
    """An axis file of the backdrop, with a name that nobody has there yet."""
    axis = load_axis(AXES / "miniature-backdrop.json").to_dict() | {"aliases": {"Tavelu": ["Marshlander"]}}
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(axis), encoding="utf-8")
    return path


def same(first, second):
    return all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())


def test_only_the_gate_its_figures_and_the_wordings_of_the_axis_change(both, more_aliases, capsys):
    before = load_preferences(both)
    main(["gate", str(both), "--axis", str(more_aliases), "--seed", "3"])
    after = load_preferences(both)
    printed = capsys.readouterr().out
    assert all(
        words in printed for words in ('"by_hand"', "names and wordings of its axis are not read", "Marshlander")
    )
    assert "Marshlander" in after[0].axis.aliases["Tavelu"]
    assert not same(after[0].gate, before[0].gate) and same(after[1].gate, before[1].gate)
    assert after[0].training[GATE_FIGURES] != before[0].training[GATE_FIGURES]
    for old, new in zip(before, after, strict=True):
        assert same(new.source, old.source) and new.calibrations == old.calibrations
        assert new.training | {GATE_FIGURES: 0} == old.training | {GATE_FIGURES: 0}
    assert after[1].axis == before[1].axis


def test_without_an_axis_all_gates_are_trained_and_another_file_may_be_written(both, tmp_path):
    before, other = both.read_bytes(), tmp_path / "other.safetensors"
    main(["gate", str(both), "--out", str(other)])
    assert both.read_bytes() == before
    for old, new in zip(load_preferences(both), load_preferences(other), strict=True):
        assert not same(new.gate, old.gate) and same(new.source, old.source) and new.axis == old.axis


def test_a_calibration_that_another_program_wrote_meanwhile_is_kept(both):
    trained = load_preferences(both)[0]
    measured = Calibration("Tavelu", 5.0, 0.2, 100, 0.98, 100)
    update_preference(replace(trained, calibrations=(*trained.calibrations, measured)), both, (5.0,))
    update_gate(trained, both)
    assert measured in load_preferences(both)[0].calibrations


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("neutral", ["a {group}"], '"neutral" is not that of the preference'),
        ("id", "other", "it has no preference of the axis other, only of miniature-backdrop, miniature-attire"),
    ],
)
def test_an_axis_of_other_pictures_is_refused(both, more_aliases, field, value, said):
    axis, before = json.loads(more_aliases.read_text(encoding="utf-8")), both.read_bytes()
    more_aliases.write_text(json.dumps(axis | {field: value}), encoding="utf-8")
    with pytest.raises(SystemExit, match=said):
        main(["gate", str(both), "--axis", str(more_aliases)])
    assert both.read_bytes() == before
