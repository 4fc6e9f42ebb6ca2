"""The anti-stereotypical preference: a source of log-odds and push (`networks.py`, `text.py`) and its description."""

import math
from dataclasses import dataclass, field

import torch

from ..axis.axis import Axis
from .calibration import Calibration
from .networks import PreferenceError


@dataclass
class Preference:
    """The content of a preference file."""

    axis: Axis
    space: str  # a name in LATENT_SPACES, or "any"
    source: object  # Distilled, Classifier or Text
    gate: object = None  # PromptGate, or None if every prompt is in scope
    calibrations: tuple[Calibration, ...] = ()
    training: dict = field(default_factory=dict)
    name: str = ""
    hash: str = ""
    judge: object = None  # Judge of clean latents, for calibration
    path: object = None  # of its file, if any

    @property
    def sight(self):
        """By group [G], the highest sigma at which the log-odds tell the sides apart (`learn.sight`), or infinity."""
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
        """The calibration of a group at the nearest measured CFG scale, or None."""
        found = [c for c in self.calibrations if c.group == group]
        return min(found, key=lambda c: abs(math.log(max(c.cfg, 0.1) / max(cfg, 0.1))), default=None)
