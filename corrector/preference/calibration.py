"""The calibration of a preference on one model, for one group at one CFG scale."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Calibration:
    """Measurements with neutral prompts for one group."""

    group: str
    cfg: float
    base_rate: float  # share of counter pictures without correction
    base_n: int
    full_rate: float  # share of counter pictures if all are corrected at strength 1
    full_n: int
    tone_gain: float = 0.0  # factor on the component along the tone push that is removed from the push
    tone_drift: float = 0.0  # mean difference in CIE L* of corrected and plain pictures, same seeds
    seed: int = 0
    push_gain: float = 1.0  # k = cfg * push_gain where sigma <= Preference.sight of the group, and 1 above
    base_interval: tuple[float, float] | None = None  # 95 %, Wilson
    full_interval: tuple[float, float] | None = None
    lean_slope: float = 0.0  # logit of the chance of the counter side without correction is offset + slope * lean,
    lean_offset: float = 0.0  # where lean is `thinning.first_lean`
    lean_mean: float = 0.0
    lean_spread: float = 0.0  # standard deviation
    lean_sigma: float = 0.0  # at which it was measured, the first of a run
    broken: int = 0  # number of excluded pictures that contained NaN or infinity
    checkpoint: str = ""  # Host.identity["checkpoint"]

    def chance(self, lean):
        """Lean at the start of a run -> the probability of the counter side without correction."""
        return (self.lean_offset + self.lean_slope * lean).sigmoid()

    def reach(self, target):
        """A sentence that says whether the target share is within reach."""
        low = self.full_interval[0] if self.full_interval else self.full_rate
        where = f"{self.group} at CFG {self.cfg:g}"
        if self.base_rate >= target:
            return f"{where}: the model already draws {self.base_rate:.0%}, a target of {target:.0%} does nothing."
        if low >= target:
            return f"{where}: a target of {target:.0%} is within reach (full strength gives {self.full_rate:.1%})."
        return (
            f"{where}: a target of {target:.0%} may be out of reach; full strength gives {self.full_rate:.1%} of "
            f"{self.full_n}. Learn from more pairs, or choose a lower target."
        )
