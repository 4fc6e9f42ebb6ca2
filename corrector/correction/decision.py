"""Decides once per run which pictures a preference corrects, from prompts, calibration and coins."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..gate.prompt_gate import PromptReading
from ..preference.preference import Preference
from .thinning import thinned
from .verdict import CERTAIN

CERTAIN_CHANCE = 0.97  # of the counter side, from which a picture is left alone
STRONG = 0.75  # strength from which a corrected picture shows the counter side
NO_PREDICTION = "the model predicts the same for both sides, or nothing for one of them"
CHOSEN_BY_SEED = "this seed is one of those that the target share leaves"


@dataclass(frozen=True)
class Decision:
    """What one preference does to each of B pictures."""

    active: Tensor  # bool [B], whether it is corrected: in scope, not explicit, and chosen by thinning
    group: Tensor  # long [B], index into the axis' groups; -1 if out of scope
    tone: Tensor  # [B], points of L* by which the correction changes its skin, which `Run.finished` takes back
    fine: Tensor  # bool [B], whether it is left alone because it will show the counter side anyway

    def to(self, device: torch.device) -> "Decision":
        return Decision(*(column.to(device) for column in vars(self).values()))


@dataclass(frozen=True)
class PastDecision:
    """The decision for one picture, which later stages keep."""

    group: int  # -1 if out of scope
    active: bool
    reason: str  # why it was left alone, or ""
    target: float = 1.0  # the target share for which it was decided
    strength: float = 1.0  # with which it was corrected; 0 if no step of its run was
    tone: float = 0.0  # points of L* by which its skin was changed, if the run did not take that back

    @property
    def shows_counter_side(self) -> bool:
        """Whether an earlier stage corrected it strongly enough to count as showing the counter side."""
        return self.active and self.strength >= STRONG


def decide(
    preference: Preference, readings: Sequence[PromptReading | None], coins: Tensor, target: float = 1.0,
    cfg: float = 1.0, lean: Tensor | None = None, earlier: Sequence[PastDecision | None] | None = None,
    evidence: Tensor | None = None, opening: Tensor | None = None,
) -> tuple[Decision, list[str]]:  # fmt: skip
    """Decide what a preference does to each picture -> (Decision, for each picture why it is left alone, or "").

    The prompt of this stage has priority. Otherwise a picture keeps an earlier decision for the same group and target
    share, if there is one. The target share is applied to the other pictures, of which those that an earlier stage
    corrected count as showing the counter side.

    Args:
        readings: of the prompt of each picture, or None for each if there is no gate.
        coins: [B] in 0..1.
        target: wanted share of counter pictures, in (0, 1].
        cfg: the CFG scale of the run.
        lean: [B] from `first_look.first_look`, or None.
        earlier: for each picture what an earlier stage decided, or None.
        evidence: [B], of the Verdict on the pictures' previews, if the model was asked for them. Those that would show
            the counter side for certain are left alone.
        opening: [B] from `first_look.first_look`, or None: where there is no lean, skin changes in proportion to it.
    """
    axis = preference.axis
    groups = groups_of(readings)
    active, decided, shown, fine = torch.zeros(4, len(readings), dtype=torch.bool)
    reasons = [""] * len(readings)
    tone = torch.zeros(len(readings))
    for index, (reading, past) in enumerate(zip(readings, earlier or [None] * len(readings), strict=True)):
        if past and past.group != groups[index]:
            past = None
        tone[index] = past.tone if past else 0.0
        if reading and not reading.open:
            reasons[index] = reading.reason(axis)
        elif past and past.target == target:
            active[index], reasons[index] = past.active, past.reason
            decided[index] = True
        else:
            active[index] = True
            shown[index] = past is not None and past.shows_counter_side
            if evidence is not None and not evidence[index] < CERTAIN:
                fine[index] = shown[index] = True
    for group in groups[active].unique().tolist():
        members = (active & (groups == group)).nonzero()[:, 0]
        calibration = preference.calibration(axis.groups[group], cfg)
        by_itself = None  # the share of the change that does not come, as the picture shows the counter side anyway
        if calibration and lean is not None:
            by_itself = torch.as_tensor(calibration.chance(lean[members]))
            sure = members[~decided[members] & (by_itself > CERTAIN_CHANCE)]
            fine[sure] = shown[sure] = True
        elif opening is not None:
            by_itself = 1 - opening[members]
        tone[members] += preference.tone(axis.groups[group], cfg) * (1 - (0 if by_itself is None else by_itself))
        members = members[~decided[members]]
        if target == 1 or not len(members):
            continue
        chosen = thinned(coins[members], target, calibration, None if lean is None else lean[members], shown[members])
        why = CHOSEN_BY_SEED
        if calibration and calibration.base_rate >= target and not chosen.any():
            side, rate = axis.counter.description, f"{calibration.base_rate:.0%}"
            why = f"the model already draws {side} in {rate} of such {axis.groups[group]} pictures"
        for member in members[~chosen].tolist():
            active[member], reasons[member] = False, why
    for member in fine.nonzero()[:, 0].tolist():
        broken = evidence is not None and evidence[member].isnan()
        active[member], reasons[member] = False, f"it shows {axis.counter.description} anyway"
        if broken:
            fine[member], reasons[member] = False, NO_PREDICTION
    return Decision(active, groups, tone, fine), reasons


def correct_fine(which: Tensor, decision: Decision, reasons: list[str]) -> None:
    """Correct from now on those pictures `which` [B] that are left alone as fine."""
    for picture in (which & decision.fine).nonzero()[:, 0].tolist():
        decision.active[picture], decision.fine[picture], reasons[picture] = True, False, ""


def groups_of(readings: Sequence[PromptReading | None]) -> Tensor:
    """Index of the group that each prompt names [B]; -1 if out of scope, 0 if there is no gate."""
    return torch.tensor([reading.group if reading else 0 for reading in readings])


def counts(reasons: Sequence[str]) -> list[str]:
    """How many pictures were corrected, and how many were left alone for each reason -> short texts."""
    corrected = f"corrected {reasons.count('')} of {len(reasons)}"
    return [corrected, *(f"left alone {reasons.count(why)}: {why}" for why in sorted(set(reasons) - {""}))]


def notes(
    preference: Preference, reasons: Sequence[str], groups: Sequence[int], cfg: float | None = None, model: str = ""
) -> list[str]:
    """What a user should know about a run: a weak gate, missing calibration, the preference's caveats -> short texts.

    Learning tells how the gate of a learned preference reads; of others, only their runs can.

    Args:
        reasons: for each picture why it is left alone, or "".
        groups: for each picture the index of its group, or -1.
        cfg, model: as for `Preference.caveats_of_run`.
    """
    texts = [] if preference.source.has_weights or not preference.gate_weakness else [preference.gate_weakness]
    if preference.source.has_weights and not preference.calibrations:
        texts.append("not calibrated: its rates and the drift of tone are unknown")
    corrected = {preference.axis.groups[group] for group, why in zip(groups, reasons, strict=True) if not why}
    return texts + (preference.caveats_of_run(corrected, cfg, model) if corrected else [])


def summary(
    preference: Preference, reasons: Sequence[str], groups: Sequence[int], cfg: float | None = None, model: str = ""
) -> str:
    """A log line: how many pictures were corrected, why others were not, and `notes`, with the same arguments."""
    line = f"{preference.name or preference.axis.title}: {'; '.join(counts(reasons))}"
    return "; ".join([line, *notes(preference, reasons, groups, cfg, model)])
