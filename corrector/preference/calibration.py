"""What was measured of a preference on one model, for one group at one CFG scale."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Calibration:
    """What was measured for one group at one CFG scale with neutral prompts."""

    group: str
    cfg: float
    base_rate: float  # share of counter images that the plain model makes
    base_n: int
    full_rate: float  # the same at strength 1, all images corrected
    full_n: int
    tone_gain: float = 0.0  # how many times the push's part along the tone push is taken away
    tone_drift: float = 0.0  # mean CIE L* of corrected minus plain, same seeds
    seed: int = 0
    push_gain: float = 1.0  # k = cfg * push_gain where sigma <= Preference.sight of the group, and 1 above
    base_interval: tuple[float, float] | None = None  # 95 %, Wilson
    full_interval: tuple[float, float] | None = None
    lean_slope: float = 0.0  # logit of a picture's own chance to come out counter: offset + slope * its lean
    lean_offset: float = 0.0  # where a run begins (thinning.first_lean)
    lean_mean: float = 0.0  # of that lean, over pictures
    lean_spread: float = 0.0  # and its standard deviation
    lean_sigma: float = 0.0  # where it was read: the first sigma of a run
    broken: int = 0  # pictures left out of all of this, as they held NaN or infinity
    checkpoint: str = ""  # the host's identity of the model that was measured

    def chance(self, lean):
        """Lean where a run begins -> the chance that the picture comes out on the counter side by itself."""
        return (self.lean_offset + self.lean_slope * lean).sigmoid()

    def reach(self, target):
        """One sentence: is the target share within reach for this group?"""
        low = self.full_interval[0] if self.full_interval else self.full_rate
        where = f"{self.group} at CFG {self.cfg:g}"
        if self.base_rate >= target:
            return f"{where}: the model already draws {self.base_rate:.0%}, so nothing is done for {target:.0%}."
        if low >= target:
            return f"{where}: a target of {target:.0%} is within reach (full strength gives {self.full_rate:.1%})."
        return (
            f"{where}: a target of {target:.0%} may be out of reach; full strength gives {self.full_rate:.1%} of "
            f"{self.full_n}. Learn from more pairs, or choose a lower target."
        )
