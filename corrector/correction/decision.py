"""What one preference does to each image of a batch, decided once a run from prompt, calibration and coins."""

import math
from dataclasses import dataclass

import torch

from .thinning import thinned


@dataclass(frozen=True)
class Decision:
    """What one preference does to each image of the batch, decided once a run from prompt, calibration and coins."""

    active: torch.Tensor  # bool [B]: in scope, nothing explicit, and chosen by thinning
    group: torch.Tensor  # long [B], index into the axis' groups; -1 where out of scope
    base_rate: torch.Tensor  # [B]
    tone_gain: torch.Tensor  # [B]
    push_gain: torch.Tensor | None = None  # [B]; by default 1
    sight: torch.Tensor | None = None  # [B], Preference.sight of its group; by default infinity

    def __post_init__(self):
        for name, default in (("push_gain", 1.0), ("sight", math.inf)):
            if getattr(self, name) is None:
                object.__setattr__(self, name, torch.full_like(self.base_rate, default))

    def to(self, device):
        return Decision(*(column.to(device) for column in vars(self).values()))

    def select(self, which):
        """The decision for some of the images only."""
        return Decision(*(column[which] for column in vars(self).values()))


NEUTRAL_BASE_RATE = 0.5  # of a preference that was never calibrated: no prior shift


def decide(preference, readings, coins, target=1.0, cfg=1.0, lean=None):
    """What this preference does to each image of a run -> (Decision, one reason an image; "" where it corrects).

    `readings`: one PromptReading an image, or None where the preference has no gate; `coins` [B] in 0..1; `lean`: what
    `thinning.first_lean` read where the run begins, if anything.
    """
    axis, count = preference.axis, len(readings)
    groups = groups_of(readings)
    active, reasons = torch.zeros(count, dtype=torch.bool), [""] * count
    base_rate, tone_gain, push_gain = torch.full((count,), NEUTRAL_BASE_RATE), torch.zeros(count), torch.ones(count)
    for index, reading in enumerate(readings):
        if reading and reading.group < 0:
            reasons[index] = f"the prompt names nobody of {', '.join(axis.groups)}"
        elif reading and reading.explicit != "neither":
            reasons[index] = f"the prompt asks for {getattr(axis, reading.explicit).description}"
        else:
            active[index] = True
    for group in groups[active].unique().tolist():
        members = (active & (groups == group)).nonzero()[:, 0]
        known = preference.calibration(axis.groups[group], cfg)
        why = "this seed is one of those that the target share leaves"
        if known:
            tone_gain[members], push_gain[members] = known.tone_gain, known.push_gain
            if not getattr(preference.source, "includes_base_rate", False):
                base_rate[members] = known.base_rate
        if target < 1:
            chosen = thinned(coins[members], target, known, None if lean is None else lean[members], cfg)
            if known and known.base_rate >= target and not chosen.any():
                why = f"the model already draws {known.base_rate:.0%} of such {axis.groups[group]} pictures on the "
                why += "counter side"
            for member in members[~chosen].tolist():
                active[member], reasons[member] = False, why
    return Decision(active, groups, base_rate, tone_gain, push_gain, preference.sight[groups.clamp(min=0)]), reasons


def groups_of(readings):
    """The group that each prompt names, by its index in the axis: [B]; -1 out of scope, 0 where there is no gate."""
    return torch.tensor([reading.group if reading else 0 for reading in readings])


def summary(preference, reasons, cfg=None):
    """One line for the log: what a run did, why it left pictures alone, and whether its CFG scale was ever measured."""
    corrected = reasons.count("")
    line = f"{preference.name or preference.axis.title}: corrected {corrected} of {len(reasons)}"
    for why in sorted(set(reasons) - {""}):
        line += f"; left alone {reasons.count(why)}: {why}"
    measured = sorted({known.cfg for known in preference.calibrations})
    if cfg is not None and measured and cfg not in measured:
        nearest = preference.calibration(preference.calibrations[0].group, cfg).cfg
        line += f"; CFG {cfg:g} was never measured, the calibration at {nearest:g} is used"
    if not measured and preference.source.kind != "text":
        line += "; not calibrated: its rates and the drift of tone are unknown"
    return line
