"""The anti-stereotypical preference: x at sigma -> log-odds of the counter side, and the push towards it.

Three sources, one call. Each is called as `source(x, sigma, group)` with x [B, C, H, W] in model space, sigma [B] and
the group's index [B], and gives a `Reading`. `q = P(counter | x, sigma)`, `log_odds = logit q` on balanced pairs; the
push is `D_c - D_s` in units of x0, which equals `sigma^2 grad log_odds` (classifier guidance, Dhariwal & Nichol 2021).
"""

import math
from dataclasses import dataclass, field

import torch

from ..axis.axis import Axis
from .calibration import Calibration
from .networks import PreferenceError


@dataclass
class Preference:
    """A source together with what it is for and what is known of it; what a preference file holds."""

    axis: Axis
    space: str  # a name in LATENT_SPACES
    source: object  # Distilled, Classifier or Text
    gate: object = None  # PromptGate, or None: always in scope
    calibrations: tuple[Calibration, ...] = ()
    training: dict = field(default_factory=dict)
    name: str = ""
    hash: str = ""
    judge: object = None  # training.Judge: a judge of clean latents for calibration, none of it in the source
    path: object = None  # of the file that a host read it from

    @property
    def sight(self):
        """By group [G], the sigma up to which the log-odds tell the sides apart (`learning.sight`); else infinity."""
        known = self.training.get("sight", math.inf)
        by_group = known if isinstance(known, dict) else dict.fromkeys(self.axis.groups, known)
        return torch.tensor([float(by_group.get(group, math.inf)) for group in self.axis.groups])

    def check_space(self, space, model="the model", advice="use a preference made for this model"):
        """Raises PreferenceError with `advice` if the preference is not for the latents of `model`, in `space`."""
        if self.space not in ("any", space):
            raise PreferenceError(
                f'The preference "{self.name}" was made for {self.space} latents and {model} has {space} latents; '
                f"{advice}."
            )

    def calibration(self, group, cfg):
        """The calibration of a group at the nearest CFG scale that was measured, or None."""
        found = [c for c in self.calibrations if c.group == group]
        return min(found, key=lambda c: abs(math.log(max(c.cfg, 0.1) / max(cfg, 0.1))), default=None)
