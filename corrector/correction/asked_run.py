"""One sampling run's asking of the host's model: previews, what is asked at each step, and what came of it."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..gate.prompt_gate import PromptReading
from ..latents.spaces import expand, fit_mask
from ..preference.preference import Preference
from ..preference.text import Text
from .asked import CLOSED, AskedSides, Preview, RunModel, preview_for, previewed
from .decision import Decision
from .kept_skin import with_skin_of
from .update import Settings
from .verdict import CERTAIN, Side, Verdict, result

SAME_NOISE = 0.95  # cosine of the noise at two steps, below which the sampler has added some
OTHER_NOISE = 0.3  # the same, below which nearly all is new
FIRST_WEIGHT = 1.75  # of the first step's update at CFG 1, whose D_cond is there anyway: words leave some stereotypes
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
        self._first: tuple[Tensor, Tensor] | None = None  # x and sigma of the first step, until the second
        self._noisy: Tensor | None = None  # bool [B], fine by a preview that does not count, until they have another
        self.noises = 1  # of the verdict in the end: a tenth of a run of 20 steps, with CFG and without
        # Encoded before the host loads the model that samples, whose place in memory a text encoder may take.
        self.sides = [
            AskedSides(preference, model, coins) if isinstance(preference.source, Text) and _any_open(each) else None
            for preference, each in zip(preferences, readings, strict=True)
        ]
        self._verdicts: list[tuple[Verdict, Verdict | None] | None] = [None] * len(preferences)

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
        self._first = x, sigma
        if self.plain is None:
            self.noises = 1 + (cfg != 1)
            self._preview = preview_for(cfg, self.settings.thrifty, self.steps)
            self.plain = previewed(self.model, x, sigma, denoised, self._preview)
        verdict = sides.verdict(self.plain, noises=1)
        self._verdicts[number] = verdict, None
        return verdict.evidence

    def scale(self, cfg: float) -> float:
        """w of the update at hand, from the CFG scale of the run."""
        return max(cfg, min(cfg, 1.0) * FIRST_WEIGHT) if self._first else cfg

    def heed_noise(
        self, x: Tensor, sigma: Tensor, predicted: Callable[[], Tensor], decisions: Sequence[Decision],
        reasons: Sequence[list[str]],
    ) -> None:  # fmt: skip
        """Before an evaluation: a picture to which the sampler adds noise does not come out as its preview. If that
        showed the counter side, it is previewed once more when less is open, and corrected from then on if it shows the
        stereotype now; where all noise is new, as with LCM, it is corrected at once.

        Args:
            x [B, C, H, W], sigma [B]: as for `Run.correct`.
            predicted: `predicted()` -> D* of the step before.
            decisions, reasons: of the run, which are changed.
        """
        if self._first is not None and not (self._first[1] == sigma).any():  # at the second noise level
            before, self._first = self._first[0], None
            noise_before, noise = ((part.float() - predicted().float()).flatten(1) for part in (before, x))
            similarity = torch.cosine_similarity(noise_before, noise)
            self._correct_fine(similarity < OTHER_NOISE, decisions, reasons)
            self._noisy = (similarity < SAME_NOISE) & torch.stack([decision.fine for decision in decisions]).any(dim=0)
        if self._noisy is None or sigma.max() > NOISE_HEEDED:
            return
        noisy, self._noisy = self._noisy, None
        if self.plain is None or self._preview is None or not noisy.any():
            return
        again = previewed(self.model, x, sigma, self.model.plain(x, sigma), self._preview)
        self.plain = torch.where(expand(noisy, again) > 0, again, self.plain)
        for place, sides in enumerate(self.sides):
            if sides is not None:
                doubtful = sides.verdict(again, noises=1).evidence.to(noisy.device) < CERTAIN
                self._correct_fine(noisy & doubtful, decisions[place : place + 1], reasons[place : place + 1])

    def _correct_fine(self, which: Tensor, decisions: Sequence[Decision], reasons: Sequence[list[str]]):
        """Correct from now on those pictures `which` [B] that are left alone as fine."""
        for decision, why in zip(decisions, reasons, strict=True):
            for picture in (which & decision.fine).nonzero()[:, 0].tolist():
                decision.active[picture], decision.fine[picture], why[picture] = True, False, ""

    def replacement(self, decisions: Sequence[Decision], sigma: float) -> tuple[Any, Tensor] | None:
        """As `Run.replacement`."""
        if len(self.sides) != 1 or sigma < CLOSED or not self.settings.plain:
            return None
        sides, active = self.sides[0], decisions[0].active.cpu()
        return (sides.counter, active) if sides is not None and active.any() else None

    def finished(self, decisions: Sequence[Decision], made: Tensor, repainted: Tensor | None) -> Tensor:
        """As `Run.finished`, of a run that corrected pictures."""
        pictures = self.model.pictures
        for preference, decision, sides in zip(self.preferences, decisions, self.sides, strict=True):
            region = preference.axis.skin_region
            index = (decision.active.cpu() & (self.settings.strengths(len(made)) > 0)).nonzero()[:, 0]
            if sides is None or pictures is None or self.plain is None or not region or not len(index):
                continue
            index = index.to(made.device)
            kept = with_skin_of(self.plain[index.to(self.plain.device)], made[index], pictures, region)
            change = kept.to(made) - made[index]
            for mask in (self.settings.mask, repainted):
                if mask is not None:
                    change = change * fit_mask(mask, made)[index]
            made = made.index_add(0, index, change)
        return made

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
