"""A preference file that is updated, by a calibration or another gate: what is new goes into the file as it is now.

Both take long; meanwhile other processes may have calibrated the same file, or learned its preference again.
"""

from dataclasses import replace
from pathlib import Path

import torch

from .file import PreferenceFileError, held, load_preferences, write_held
from .preference import GATE_FIGURES


def update_preference(preference, path, cfgs):
    """Write what was measured of a preference into its file -> the Preference as it is there now.

    Everything else in the file stays as it is now, since other processes may have changed it meanwhile. A preference
    that is not in the file is added. Raises PreferenceFileError if the file's preference of this axis is another one.

    Args:
        preference: a calibrated Preference.
        path: the file.
        cfgs: CFG scales at which it was just measured; the file's calibrations at other scales are kept.
    """
    return _write(preference, path, lambda known: _updated(known, preference, cfgs))


def update_gate(preference, path):
    """Write the gate of a preference, its figures and its axis into its file, as `update_preference`."""

    def updated(known):
        figures = {GATE_FIGURES: preference.training[GATE_FIGURES]}
        return replace(known, gate=preference.gate, axis=preference.axis, training=known.training | figures)

    return _write(preference, path, updated)


def _write(preference, path, updated):
    """Write `updated(the file's preference of the same axis)` into a file -> the Preference as it is there now."""
    with held(path):
        found = {one.axis.id: one for one in load_preferences(path)} if Path(path).is_file() else {}
        new = updated(_same(preference, found.values(), path))
        write_held(list((found | {preference.axis.id: new}).values()), path)
    return new


def latest(preference, path):
    """The preference as a file has it now: it may have been calibrated since it was loaded. Itself if it is not there.

    Raises PreferenceFileError if the file's preference of this axis is another one.
    """
    return _same(preference, load_preferences(path), path) if Path(path).is_file() else preference


def _same(preference, found, path):
    """The one of this axis among a file's preferences, which must have the same network; itself if there is none."""
    known = next((one for one in found if one.axis.id == preference.axis.id), preference)
    own, other = (one.source.state_dict() for one in (preference, known))
    if own.keys() == other.keys() and all(torch.equal(own[name].cpu().half(), other[name].half()) for name in own):
        return known
    raise PreferenceFileError(
        f'{Path(path).name}: its preference of the axis "{preference.axis.id}" is not the one that was read: it was '
        "learned again, or has the same name by chance. Nothing was written; take the one in the file, or "
        "choose another name for yours."
    )


def _updated(known, measured, cfgs):
    """A preference of a file with the calibrations of `measured` at some CFG scales, and with its host's marks."""
    fresh = [c for c in measured.calibrations if c.cfg in cfgs]
    kept = [c for c in known.calibrations if c.cfg not in cfgs and not c.of_other_model(fresh[0].checkpoint)]
    marks = {}
    for training, calibrations in ((known.training, kept), (measured.training, fresh)):
        at = {f"{c.cfg:g}" for c in calibrations}
        marks |= {cfg: mark for cfg, mark in training.get("calibrated", {}).items() if cfg in at}
    training = {name: value for name, value in known.training.items() if name != "calibrated"}
    training |= {"calibrated": marks} if marks else {}
    return replace(known, calibrations=(*kept, *fresh), training=training)
