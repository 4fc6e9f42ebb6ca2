"""One sampling run's asking of the host's model: previews, what is asked at each step, and what came of it."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..gate.prompt_gate import PromptReading
from ..latents.spaces import expand
from ..preference.networks import CLOSED
from ..preference.preference import Preference
from ..preference.text import Text
from .asked import AskedSides, Preview, RunModel, preview_for, previewed
from .decision import Decision, correct_fine
from .update import Settings
from .verdict import CERTAIN, Side, Verdict, result

NOISE_HEEDED = 5.0  # sigma from which pictures to which it adds noise are previewed again

Readings = Sequence[PromptReading | None]


class AskedRun:
    """What a run of B pictures asks for its preferences with a Text source.

    Args:
        preferences: all of the run, also those that do not ask.
        readings: for each of them the gate's reading of each picture's prompt.
        model: RunModel.
        settings: Settings.
        coins: [B] in 0..1, which choose the phrases.
        steps: of the run, if known.
    """

    def __init__(
        self, preferences: Sequence[Preference], readings: Sequence[Readings], model: RunModel, settings: Settings,
        coins: Tensor, steps: int | None = None,
    ):  # fmt: skip
        self.preferences = preferences
        self.readings = readings
        self.model = model
        self.settings = settings
        self.coins = coins
        self.plain: Tensor | None = None  # previews [B, C, H, W], once they are needed
        self.steps = steps
        self._preview: Preview | None = None  # how plain pictures are drawn
        self.noisy: Tensor | None = None  # bool [B], fine by a preview that does not count, until they have another
        self.noises = 1  # of the verdict in the end: a tenth of a run of 20 steps, with CFG and without
        # Encoded before the host loads the model that samples, whose place in memory a text encoder may take.
        self.sides = [
            AskedSides(preference, model, coins) if isinstance(preference.source, Text) and _any_open(each) else None
            for preference, each in zip(preferences, readings, strict=True)
        ]
        self._verdicts: list[tuple[Verdict, Verdict | None] | None] = [None] * len(preferences)

    @property
    def previews(self) -> list[Tensor | None]:
        """For each preference the plain pictures [B, C, H, W], or None if it did not ask."""
        return [self.plain if sides else None for sides in self.sides]

    def evidence(self, number: int, x: Tensor, sigma: Tensor, cfg: float, denoised: Tensor) -> Tensor | None:
        """Begin to ask for a preference -> the evidence [B] of the sides that plain previews show; None if it does not
        ask, or no prompt is open.

        Args:
            number: of the preference.
            x, sigma: of the run's first step.
            cfg: the CFG scale.
            denoised: the prediction of the first step [B, C, H, W], after CFG.
        """
        sides = self.sides[number]
        if sides is None:
            return None
        if self.plain is None:
            self.noises = 1 + (cfg != 1)
            self._preview = preview_for(cfg, self.settings.thrifty, self.steps)
            self.plain = previewed(self.model, x, sigma, denoised, self._preview)
        verdict = sides.verdict(self.plain, noises=1)
        self._verdicts[number] = verdict, None
        return verdict.evidence

    def preview_again(
        self, x: Tensor, sigma: Tensor, decisions: Sequence[Decision], reasons: Sequence[list[str]]
    ) -> None:
        """Before an evaluation: a picture to which the sampler adds noise does not come out as its preview. If that
        showed the counter side, it is previewed once more when less is open, and corrected from then on if it shows the
        stereotype now.

        Args:
            x [B, C, H, W], sigma [B]: as for `Run.correct`.
            decisions, reasons: of the run, which are changed.
        """
        if self.noisy is None or sigma.max() > NOISE_HEEDED:
            return
        noisy, self.noisy = self.noisy, None
        if self.plain is None or self._preview is None or not noisy.any():
            return
        again = previewed(self.model, x, sigma, self.model.plain(x, sigma), self._preview)
        self.plain = torch.where(expand(noisy, again) > 0, again, self.plain)
        for place, sides in enumerate(self.sides):
            if sides is not None:
                doubtful = sides.verdict(again, noises=1).evidence.to(noisy.device) < CERTAIN
                correct_fine(noisy & doubtful, decisions[place], reasons[place])

    def replacement(self, decisions: Sequence[Decision], sigma: float) -> tuple[Any, Tensor] | None:
        """As `Run.replacement`."""
        if len(self.sides) != 1 or sigma < CLOSED or not self.settings.plain:
            return None
        sides, active = self.sides[0], decisions[0].active.cpu()
        return (sides.counter, active) if sides is not None and active.any() else None

    def judge(self, made: Tensor) -> None:
        """As `Run.judge`, of a run that corrected pictures."""
        if self.settings.verdict and not self.settings.thrifty:
            for number, (sides, verdicts) in enumerate(zip(self.sides, self._verdicts, strict=True)):
                if sides is not None and verdicts is not None:
                    self._verdicts[number] = verdicts[0], sides.verdict(made, self.noises)

    def results(self) -> list[tuple[str, bool]]:
        """As `Run.results`."""
        lines = []
        for preference, readings, verdicts in zip(self.preferences, self.readings, self._verdicts, strict=True):
            if verdicts is not None and verdicts[1] is not None:
                inside = [reading is None or reading.open for reading in readings]
                after = verdicts[1].sides
                name = f"{preference.name}: " if len(self.preferences) > 1 else ""
                left = any(side == "stereotype" for side, counts in zip(after, inside, strict=True) if counts)
                lines.append((name + result(preference.axis, inside, verdicts[0].sides, after), not left))
        return lines

    def shown(self) -> list[list[tuple[Side, Side] | None]]:
        """As `Run.sides`."""
        columns = []
        for verdicts in self._verdicts:
            if verdicts is None or verdicts[1] is None:
                columns.append([None] * len(self.coins))
            else:
                columns.append(list(zip(verdicts[0].sides, verdicts[1].sides, strict=True)))
        return columns


def _any_open(readings: Readings) -> bool:
    """Whether the prompt of any picture lets it be corrected."""
    return any(reading is None or reading.open for reading in readings)
