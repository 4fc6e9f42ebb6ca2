"""The anti-stereotypical preference: a source of the update (`networks.py`, `text.py`) and its description."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..axis.axis import Axis
from ..gate.listed import ListedWords
from ..gate.prompt_gate import PromptGate, PromptReading
from ..latents.spaces import LATENT_SPACES
from .calibration import Calibration, between
from .networks import PreferenceError, Source
from .text import Text

GATE_FIGURES = "gate_held_out_accuracy"  # in the training figures of a preference
FAR_CFG = 2.0  # factor between a run's CFG scale and the nearest measured one from which a caveat says so
NEARBY_CFG = 1.2  # factor between CFG scales up to which what was measured at one is told of the other


@dataclass(repr=False)
class Preference:
    """The content of a preference file."""

    axis: Axis
    space: str  # a name in LATENT_SPACES, or "any"
    source: Source | Text
    gate: PromptGate | None = None  # None if every prompt is in scope
    calibrations: tuple[Calibration, ...] = ()
    training: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    hash: str = ""
    path: Path | None = None  # of its file, if any
    thumbnail: str = ""  # JPEG as a data: URI: plain pictures above corrected ones

    def __repr__(self) -> str:
        return f'<Preference "{self.name}" [{self.hash}]>'

    def __str__(self) -> str:
        """Name and hash, axis and groups, calibrations: three lines."""
        scales = ", ".join(f"{cfg:g}" for cfg in sorted({calibration.cfg for calibration in self.calibrations}))
        lines = (
            f"{self.name} [{self.hash}], for {self.space} latents",
            f"{self.axis.title}: {', '.join(self.axis.groups)}",
            f"calibrated at CFG {scales}" if scales else "not calibrated",
        )
        return "\n".join(lines)

    @property
    def gate_weakness(self) -> str:
        """What its gate on the prompt reads badly, in a sentence, or ""."""
        return self.training.get(GATE_FIGURES, {}).get("weak", "")

    @property
    def weaknesses(self) -> list[str]:
        """What training found to be weak, of the network and of the gate, in sentences."""
        return [sentence for sentence in (self.training.get("weak"), self.gate_weakness) if sentence]

    def readings(
        self, prompts: Sequence[Sequence], texts: Sequence[str | None] = (), use_gate: bool = True
    ) -> Sequence[PromptReading | None]:
        """What is read in the prompt of each picture, by the gate and in listed words; None for each without a gate.

        Args:
            prompts: for each picture the conditionings of its prompts (regions), as for `PromptGate.read`.
            texts: for each picture its prompt as text, or None; () if no text is known.
            use_gate: if not, somebody asks for nothing in each prompt.
        """
        if self.gate is None:
            return [None] * len(prompts)
        readings = [self.gate.read(regions) for regions in prompts]
        listed = ListedWords(self.axis) if texts else None
        by_words = [
            reading if listed is None or text is None else listed.read(text).heeded(reading)
            for reading, text in zip(readings, texts or [None] * len(prompts), strict=True)
        ]
        if use_gate:
            return by_words
        return [PromptReading(max(each.group, 0), "neither") for each in by_words]

    def caveats(self) -> list[str]:
        """What it does badly or not at all, in sentences."""
        return [*self.weaknesses, *(c.harm for c in self.calibrations if c.harm)]

    @property
    def effect(self) -> str:
        """How often the counter side is drawn with and without it, over its groups and CFG scales, in one line."""
        if not self.calibrations:
            return "not calibrated, so how well it works is unknown"
        corrected, plain = (
            _span([getattr(calibration, rate) for calibration in self.calibrations])
            for rate in ("full_rate", "base_rate")
        )
        scales = ", ".join(f"{cfg:g}" for cfg in sorted({calibration.cfg for calibration in self.calibrations}))
        return f"{self.axis.counter.description} in {corrected} of pictures, {plain} without it (CFG {scales})"

    def caveats_of_run(self, groups: Collection[str], cfg: float | None, model: str = "") -> list[str]:
        """The caveats that concern a run.

        Args:
            groups: those of the pictures that are corrected.
            cfg: the CFG scale of the run, if known.
            model: the identity of the model that samples, as `Calibration.of_other_model` takes it; "" if not known.
        """
        measured = [c for c in self.calibrations if c.group in groups]
        near = [c for c in measured if cfg and abs(math.log(max(cfg, 1) / max(c.cfg, 1))) <= math.log(NEARBY_CFG)]
        caveats = [sentence for sentence in (self._distance(cfg), *(c.harm for c in near)) if sentence]
        if any(c.of_other_model(model) for c in measured):
            caveats.append(
                "calibrated on another checkpoint or LoRA than this one, so rates and skin tone may differ: calibrate "
                "it on this one"
            )
        return caveats

    def _distance(self, cfg: float | None) -> str:
        """Says that a CFG scale is far from those at which it was calibrated, or else learned, or ""."""
        calibrated = sorted({calibration.cfg for calibration in self.calibrations})
        learned = self.training.get("cfg")
        scales = calibrated or ([] if learned is None else [learned])
        if cfg is None or not scales or scales[0] / FAR_CFG < cfg < scales[-1] * FAR_CFG:
            return ""
        measured = " and ".join(f"{scale:g}" for scale in scales)
        if calibrated:
            return f"calibrated at CFG {measured} only, and CFG {cfg:g} is far from it: rates and tone may differ"
        return f"learned at CFG {measured}, and CFG {cfg:g} is far from it: calibrate it there"

    def check_space(
        self, space: str | None, model: str = "the model", advice: str = "use a preference made for this model"
    ) -> None:
        """Raises PreferenceError with `advice` if the preference is not for the latents of `model`, in `space`."""
        if self.space in ("any", space):
            return
        latents = f"the latents of {LATENT_SPACES[space].title}" if space in LATENT_SPACES else "other latents"
        raise PreferenceError(
            f'The preference "{self.name}" was made for {LATENT_SPACES[self.space].title}, and {model} has {latents}; '
            f"{advice}."
        )

    def tone(self, group: str, cfg: float) -> float:
        """Points of L* by which the correction changes skin in pictures with the stereotype, at a CFG scale: as
        calibrated, or as the pairs differ from which it was learned; 0 if that is not known.
        """
        calibration = self.calibration(group, cfg)
        return calibration.tone if calibration else self.training.get("tones", {}).get(group, 0.0)

    def calibration(self, group: str, cfg: float) -> Calibration | None:
        """The calibration of a group at a CFG scale, interpolated between the measured ones; None without any."""
        return between([c for c in self.calibrations if c.group == group], cfg)


def _span(rates: Sequence[float]) -> str:
    low, high = f"{min(rates):.0%}", f"{max(rates):.0%}"
    return high if low == high else f"{low.rstrip('%')}–{high}"
