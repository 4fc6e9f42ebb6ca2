"""What calibration measured of a preference on one model, for one group at one CFG scale."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..latents.fingerprint import same_weights

# What makes a correction harmful, beside the model's own counter pictures:
SPREAD_DEVIATES = 0.1  # deviation from 1 of the latents' spread and extremes, over theirs
RUINED = 1.5  # ratio of denoising errors: on the miniature sound groups reach 1.2, melted ones start at 2.4
TONE_DRIFT = 2.0  # points of L*: mean drift of skin, in either direction, that is reported
BURNT = 1.2  # spread of the model's own counter pictures, over that at the lowest CFG scale: sound models reach 1.16
UNSURE = 0.1  # share of corrected pictures of which the model's verdict is no side
EXTRAPOLATED = 0.6  # how far beyond the nearest measured CFG scale one continues, over the scales' distance


@dataclass(frozen=True)
class Calibration:
    """Measurements with neutral prompts for one group."""

    group: str
    cfg: float
    base_rate: float  # share of counter pictures without correction
    base_n: int
    full_rate: float  # share of counter pictures if all are corrected at strength 1
    full_n: int
    tone: float = 0.0  # points of L* by which the update changes skin of a picture that would show the stereotype
    tone_drift: float = 0.0  # mean difference in CIE L* of corrected and plain pictures
    seed: int = 0
    base_interval: tuple[float, float] | None = None  # 95 %, Wilson
    full_interval: tuple[float, float] | None = None
    lean_slope: float = 0.0  # logit of the chance of the counter side without correction is offset + slope * lean,
    lean_offset: float = 0.0  # where lean is `thinning.first_lean`; a slope of 0 is unknown
    lean_mean: float = 0.0
    lean_spread: float = 0.0  # standard deviation
    lean_sigma: float = 0.0  # at which it was measured, the first of a run
    lean_guidance: float = 0.0  # weight in the lean of what guidance adds along the update
    broken: int = 0  # number of excluded pictures that contained NaN or infinity
    checkpoint: str = ""  # fingerprints of the model, from Host.identity
    # Corrected pictures beside the model's own counter pictures; None if not measured:
    spread: float | None = None  # standard deviation of the latents, over theirs
    extremes: float | None = None  # 99th percentile of the latents' sizes, over theirs
    error: float | None = None  # denoising error (`statistics.denoising_error`), over theirs
    sure: float | None = None  # share of corrected pictures of which the model's verdict is one of the sides
    burnt: float | None = None  # spread of the counter pictures themselves, over that at the lowest scale measured

    def of_other_model(self, checkpoint: str) -> bool:
        """Whether it was measured on another model than that of an identity (`Host.identity`), in any precision.

        Both may have several parts, of which those count that both have. What cannot be compared, as identities of
        ComfyUI and of checkpoint folders, counts as the same.
        """
        parts = zip(self.checkpoint.split(), checkpoint.split(), strict=False)
        return any(len(part) == len(other) and not same_weights(part, other) for part, other in parts)

    def chance(self, lean: Tensor | None = None) -> Tensor | float:
        """Lean at the start of a run [B] -> the probability of the counter side without correction [B].

        It is the base rate, a number, if the lean is unknown.
        """
        if lean is None or not self.lean_slope:
            return self.base_rate
        return (self.lean_offset + self.lean_slope * lean).sigmoid()

    def reach(self, target: float) -> str:
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

    def sentences(self, counter: str, target: float) -> list[str]:
        """What was measured, whether a target share is within reach, and what the correction harms.

        Args:
            counter: the counter side in words (`Side.description`).
            target: a share of counter pictures, in (0, 1].
        """
        rates = (self.base_rate, self.base_interval, self.base_n), (self.full_rate, self.full_interval, self.full_n)
        plain, corrected = (
            f"{share:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "") + f" of {n}"
            for share, interval, n in rates
        )
        measured = (
            f"{self.group} at CFG {self.cfg:g}: {counter} in {plain} plain pictures, {corrected} corrected ones; skin "
            f"lightness changes by {self.tone_drift:+.2f} L*"
        )
        return [measured, self.reach(target), *([f"Beware: {self.harm}"] if self.harm else [])]

    @property
    def harm(self) -> str:
        """How the correction harms pictures of this group at this CFG scale, or the model burns them itself, or ""."""
        shade = "lighter" if self.tone_drift > 0 else "darker"
        figures = [
            (self.spread, "their latents spread {:.2f} times as far as those of the model's own counter pictures",
             lambda value: abs(value - 1) > SPREAD_DEVIATES),
            (self.extremes, "their latents' extremes are {:.2f} times those of the model's own counter pictures",
             lambda value: abs(value - 1) > SPREAD_DEVIATES),
            (self.error, "the model finds them {:.1f} times as unlikely as its own counter pictures",
             lambda value: value > RUINED),
            (abs(self.tone_drift), f"their skin is {{:.1f}} points of L* {shade}", lambda value: value > TONE_DRIFT),
            (self.sure, "only {:.0%} of them clearly show one of the two sides", lambda value: value < 1 - UNSURE),
        ]  # fmt: skip
        harms = [words.format(value) for value, words, harmful in figures if value is not None and harmful(value)]
        if self.burnt is not None and self.burnt > BURNT:
            return (
                f"the model's own pictures of {self.group} are burnt at CFG {self.cfg:g}, also uncorrected ones: their "
                f"latents spread {self.burnt:.2f} times as far as at a low scale. Use a lower CFG scale."
            )
        if not harms:
            return ""
        return (
            f"the correction harms pictures of {self.group} at CFG {self.cfg:g}: {', '.join(harms)}. Use a lower "
            "strength or CFG scale, or learn again from more pairs."
        )


def between(calibrations: Iterable[Calibration], cfg: float) -> Calibration | None:
    """Calibrations of one group at several CFG scales -> one at `cfg`; None if there are none.

    It lies on the line through the two nearest scales in log CFG, a little beyond them as well, the base rate as
    log-odds. Only what depends on the scale smoothly is interpolated. Scales below 1 count as 1.
    """
    cfg = max(cfg, 1.0)
    nearest = sorted(calibrations, key=lambda c: abs(_log(c.cfg) - _log(cfg)))
    if not nearest:
        return None
    first = nearest[0]
    second = next((c for c in nearest if _log(c.cfg) != _log(first.cfg)), None)
    if second is None or first.cfg == cfg:
        return first
    part = max((_log(cfg) - _log(first.cfg)) / (_log(second.cfg) - _log(first.cfg)), -EXTRAPOLATED)
    names = ["lean_slope", "lean_offset", "lean_mean", "lean_spread", "lean_guidance"]
    names = ["tone", *(names if first.lean_slope and second.lean_slope else [])]
    mixed = {name: (1 - part) * getattr(first, name) + part * getattr(second, name) for name in names}
    odds = [torch.tensor(c.base_rate, dtype=torch.float64).logit(eps=1e-3) for c in (first, second)]
    return replace(first, base_rate=float(torch.lerp(odds[0], odds[1], part).sigmoid()), **mixed)


def _log(cfg: float) -> float:
    return math.log(max(cfg, 1.0))
