"""The anti-stereotypical preference: a source of log-odds and push (`networks.py`, `text.py`) and its description."""

from dataclasses import dataclass, field

from ..axis.axis import Axis
from .calibration import Calibration, between
from .networks import PreferenceError

GATE_FIGURES = "gate_held_out_accuracy"  # in the training figures of a preference


@dataclass(repr=False)
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

    def __repr__(self):
        return f'<Preference "{self.name}" [{self.hash}]>'

    def __str__(self):
        """Name and hash, axis and groups, calibrations: three lines."""
        scales = ", ".join(f"{cfg:g}" for cfg in sorted({calibration.cfg for calibration in self.calibrations}))
        return "\n".join(
            (
                f"{self.name} [{self.hash}], for {self.space} latents",
                f"{self.axis.title}: {', '.join(self.axis.groups)}",
                f"calibrated at CFG {scales}" if scales else "not calibrated",
            )
        )

    @property
    def keeps_tone(self):
        """Whether it has what keeps the skin tone; Text, Classifier and files of version 0.1 have not."""
        return "tone_slopes" in self.training

    def caveats(self, cfg=None):
        """What it does badly or not at all, in sentences; of calibrations only those nearest to a CFG scale, or all."""
        known = [self.calibration(group, cfg) for group in self.axis.groups] if cfg else self.calibrations
        said = [one.harm for one in known if one and one.harm]
        if not self.keeps_tone:
            said.append(
                "it does not keep the skin tone: where a model's counter pictures have lighter skin, corrected ones "
                "get lighter (by 5 to 7 points of L* on the miniature)"
            )
        return said

    def check_space(self, space, model="the model", advice="use a preference made for this model"):
        """Raises PreferenceError with `advice` if the preference is not for the latents of `model`, in `space`."""
        if self.space not in ("any", space):
            raise PreferenceError(
                f'The preference "{self.name}" was made for {self.space} latents and {model} has {space} latents; '
                f"{advice}."
            )

    def calibration(self, group, cfg):
        """The calibration of a group at a CFG scale, interpolated between the measured ones; None without any."""
        return between([c for c in self.calibrations if c.group == group], cfg)
