"""A preference file that is updated, by a calibration or another gate: what is new goes into the file as it is now.

Both take long; meanwhile other processes may have calibrated the same file, or learned its preference again.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from pathlib import Path

import torch

from .file import PreferenceFileError, held, load_preferences, write_held
from .networks import Distilled
from .preference import GATE_FIGURES, Preference


def update_preference(preference: Preference, path: Path | str, cfgs: Collection[float]) -> Preference:
    """Write what was measured of a preference into its file -> the Preference as it is there now.

    Everything else in the file stays as it is now, since other processes may have changed it meanwhile. A preference
    that is not in the file is added. Raises PreferenceFileError if the file's preference of this axis is another one.

    Args:
        preference: a calibrated Preference.
        path: the file.
        cfgs: CFG scales at which it was just measured; the file's calibrations at other scales are kept.
    """
    return _write(preference, path, lambda current: _calibrated(current, preference, cfgs))


def update_gate(preference: Preference, path: Path | str) -> Preference:
    """Write the gate of a preference, its figures and its axis into its file, as `update_preference`."""

    def updated(current: Preference) -> Preference:
        figures = {GATE_FIGURES: preference.training[GATE_FIGURES]}
        return replace(current, gate=preference.gate, axis=preference.axis, training=current.training | figures)

    return _write(preference, path, updated)


def _write(preference: Preference, path: Path | str, updated: Callable[[Preference], Preference]) -> Preference:
    """Write `updated(the file's preference of the same axis)` into a file -> the Preference as it is there now."""
    with held(path):
        preferences = {p.axis.id: p for p in load_preferences(path)} if Path(path).is_file() else {}
        new = updated(_same(preference, preferences.values(), path))
        write_held(list((preferences | {preference.axis.id: new}).values()), path)
    return new


def latest(preference: Preference, path: Path | str) -> Preference:
    """The preference as a file has it now: it may have been calibrated since it was loaded. Itself if it is not there.

    Raises PreferenceFileError if the file's preference of this axis is another one.
    """
    return _same(preference, load_preferences(path), path) if Path(path).is_file() else preference


def _same(preference: Preference, preferences: Iterable[Preference], path: Path | str) -> Preference:
    """The one of this axis among a file's preferences, which must have the same network; itself if there is none."""
    current = next((p for p in preferences if p.axis.id == preference.axis.id), preference)
    weights, other = (p.source.state_dict() for p in (preference, current) if isinstance(p.source, Distilled))
    if weights.keys() == other.keys() and all(torch.equal(weights[n].cpu().half(), other[n].half()) for n in weights):
        return current
    raise PreferenceFileError(
        f'{Path(path).name}: its preference of the axis "{preference.axis.id}" is not the one that was read: it was '
        "learned again, or has the same name by chance. Nothing was written; take the one in the file, or "
        "choose another name for yours."
    )


def _calibrated(current: Preference, measured: Preference, cfgs: Collection[float]) -> Preference:
    """A preference of a file with the calibrations of `measured` at some CFG scales, and with its host's marks."""
    fresh = [c for c in measured.calibrations if c.cfg in cfgs]
    older = [c for c in current.calibrations if c.cfg not in cfgs and not c.of_other_model(fresh[0].checkpoint)]
    marks = {}
    for training, calibrations in ((current.training, older), (measured.training, fresh)):
        scales = {f"{c.cfg:g}" for c in calibrations}
        marks |= {cfg: mark for cfg, mark in training.get("calibrated", {}).items() if cfg in scales}
    training = {name: value for name, value in current.training.items() if name != "calibrated"}
    training |= {"calibrated": marks} if marks else {}
    return replace(current, calibrations=(*older, *fresh), training=training, thumbnail=measured.thumbnail)
