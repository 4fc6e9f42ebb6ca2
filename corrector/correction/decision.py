"""Decides once per run which pictures a preference corrects, from prompts, calibration and coins."""

from dataclasses import dataclass

import torch

from .thinning import thinned

STRONG = 0.75  # strength from which a corrected picture shows the counter side
FAR = 2.0  # factor between a run's CFG scale and the nearest calibrated one from which it is said


@dataclass(frozen=True)
class Decision:
    """What one preference does to each of B pictures."""

    active: torch.Tensor  # bool [B], whether it is corrected: in scope, not explicit, and chosen by thinning
    group: torch.Tensor  # long [B], index into the axis' groups; -1 if out of scope
    chance: torch.Tensor  # [B], probability that the picture comes out on the counter side without correction
    tone: torch.Tensor  # [B], weight of the tone push for a picture that would not, see `update.drift`

    def to(self, device):
        return Decision(*(column.to(device) for column in vars(self).values()))

    def select(self, which):
        """The decision for some of the pictures."""
        return Decision(*(column[which] for column in vars(self).values()))


@dataclass(frozen=True)
class Decided:
    """The decision for one picture, kept by later stages."""

    group: int  # -1 if out of scope
    active: bool
    reason: str  # why it was left alone, or ""
    target: float = 1.0  # the target share for which it was decided
    strength: float = 1.0  # with which it was corrected; 0 if no step of its run was

    @property
    def shows_counter_side(self):
        """Whether an earlier stage corrected it strongly enough to count as showing the counter side."""
        return self.active and self.strength >= STRONG


def decide(preference, readings, coins, target=1.0, cfg=1.0, lean=None, earlier=None):
    """Decide what a preference does to each picture -> (Decision, for each picture why it is left alone, or "").

    The prompt of this stage has priority. Otherwise a picture keeps an earlier decision for the same group and target
    share, if there is one. The target share is applied to the other pictures, of which those that an earlier stage
    corrected count as showing the counter side.

    Args:
        preference: Preference.
        readings: a PromptReading for each picture, or None for each if there is no gate.
        coins: [B] in 0..1.
        target: wanted share of counter pictures, in (0, 1].
        cfg: the CFG scale of the run.
        lean: [B] from `thinning.first_lean`, or None.
        earlier: Decided or None for each picture, or None.
    """
    axis, count = preference.axis, len(readings)
    groups, earlier = groups_of(readings), earlier or [None] * count
    active, kept, shown, reasons = *torch.zeros(3, count, dtype=torch.bool), [""] * count
    tone = torch.zeros(count)
    for index, (reading, known) in enumerate(zip(readings, earlier, strict=True)):
        if reading and not reading.open:
            reasons[index] = reading.reason(axis)
        elif known and known.group == groups[index] and known.target == target:
            active[index], reasons[index], kept[index] = known.active, known.reason, True
        else:
            active[index] = True
            shown[index] = known is not None and known.group == groups[index] and known.shows_counter_side
    for group in groups[active].unique().tolist():
        members = (active & (groups == group)).nonzero()[:, 0]
        known = preference.calibration(axis.groups[group], cfg)
        why = "this seed is one of those that the target share leaves"
        if known:
            tone[members] = known.tone
        members = members[~kept[members]]
        if target < 1 and len(members):
            own_lean = None if lean is None else lean[members]
            chosen = thinned(coins[members], target, known, own_lean, shown[members])
            if known and known.base_rate >= target and not chosen.any():
                why = f"the model already draws {known.base_rate:.0%} of such {axis.groups[group]} pictures on the "
                why += "counter side"
            for member in members[~chosen].tolist():
                active[member], reasons[member] = False, why
    return Decision(active, groups, chances_of(preference, groups, cfg, lean), tone), reasons


def chances_of(preference, groups, cfg, lean=None):
    """The probability that each picture comes out on the counter side without correction [B].

    It is 0 without a calibration, and the base rate without a lean. Args as for `decide`, with `groups` [B].
    """
    chances = torch.zeros(len(groups))
    for group in groups[groups >= 0].unique().tolist():
        known, members = preference.calibration(preference.axis.groups[group], cfg), groups == group
        if known:
            chances[members] = known.chance(None if lean is None else lean[members])
    return chances


def groups_of(readings):
    """Index of the group that each prompt names [B]; -1 if out of scope, 0 if there is no gate."""
    return torch.tensor([reading.group if reading else 0 for reading in readings])


def summary(preference, reasons, groups, cfg=None, model=""):
    """A log line: how many pictures were corrected, why others were not, and `notes`."""
    line = f"{preference.name or preference.axis.title}: {'; '.join(counts(reasons))}"
    return "; ".join([line, *notes(preference, reasons, groups, cfg, model)])


def counts(reasons):
    """How many pictures were corrected, and how many were left alone for each reason -> short texts."""
    corrected = f"corrected {reasons.count('')} of {len(reasons)}"
    return [corrected, *(f"left alone {reasons.count(why)}: {why}" for why in sorted(set(reasons) - {""}))]


def notes(preference, reasons, groups, cfg=None, model=""):
    """What a user should know about a run: missing calibration and the preference's caveats -> short texts.

    Args:
        preference: Preference.
        reasons: for each picture why it is left alone, or "".
        groups: for each picture the index of its group, or -1.
        cfg, model: as for `Preference.caveats_of_run`.
    """
    said = []
    if not preference.calibrations and preference.source.has_weights:
        said.append("not calibrated: its rates and the drift of tone are unknown")
    elif cfg is not None and (far := _far_from(preference, cfg)):
        said.append(f"calibrated at CFG {far} only, and CFG {cfg:g} is far from it: rates and tone may differ")
    corrected = {preference.axis.groups[group] for group, why in zip(groups, reasons, strict=True) if not why}
    return said + (preference.caveats_of_run(corrected, cfg, model) if corrected else [])


def _far_from(preference, cfg):
    """The calibrated CFG scales in words if `cfg` is outside them by more than a factor of FAR, else ""."""
    scales = sorted({known.cfg for known in preference.calibrations})
    inside = not scales or scales[0] / FAR <= cfg <= scales[-1] * FAR
    return "" if inside else " and ".join(f"{scale:g}" for scale in scales)
