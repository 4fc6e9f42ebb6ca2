"""What a job did, in sentences for the page, where the host shows them under the gallery."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..corrector.axis.axis import Axis
from ..corrector.correction.decision import counts
from ..corrector.correction.heard import readings_of_run
from ..corrector.correction.run import Run
from ..corrector.correction.verdict import Side, result


@dataclass
class Shown:
    """Which sides pictures show, by the model's own verdict: without correction, and in the end."""

    axis: Axis
    inside: list[bool] = field(default_factory=list)  # whether the prompt lets a picture be corrected
    before: list[Side] = field(default_factory=list)
    after: list[Side] = field(default_factory=list)

    def __str__(self) -> str:
        return result(self.axis, self.inside, self.before, self.after)


def shown_by(passes: Sequence[Run]) -> dict[str, Shown]:
    """What the pictures of a batch show, by the names of preferences that asked the model: before its first pass, and
    after its last one.
    """
    batch: dict[str, Shown] = {}
    for run in passes:
        for preference, readings, sides in zip(run.preferences, run.readings, run.sides(), strict=True):
            pairs = [pair for pair in sides if pair is not None]
            if pairs:
                shown = batch.setdefault(preference.name, Shown(preference.axis))
                shown.inside = [reading is None or reading.open for reading in readings]
                shown.before = shown.before or [before for before, _ in pairs]
                shown.after = [after for _, after in pairs]
    return batch


def outcome_of(passes: Sequence[Run]) -> str | None:
    """What the pictures of a batch show, in a line; None unless the model was asked."""
    return "; ".join(_lines(shown_by(passes))) or None


def _lines(shown: Mapping[str, Shown]) -> list[str]:
    """A line per preference, with its name if there are several."""
    return [f"{name}: {each}" if len(shown) > 1 else str(each) for name, each in shown.items()]


class Outcome:
    """Collects what the preferences did to the pictures of a job, over all its batches."""

    def __init__(self) -> None:
        self.reasons: dict[tuple[str, str], list[str]] = {}  # by pass and preference; as `Run.reasons`
        self.shown: dict[str, Shown] = {}  # by preference
        self.read: dict[str, str] = {}  # in the prompts, from `readings_of_run`

    def add(self, passes: Sequence[Run]) -> None:
        """The passes of one batch, of which the first counts and, if it decided otherwise, the hires pass."""
        for name, batch in shown_by(passes).items():
            shown = self.shown.setdefault(name, Shown(batch.axis))
            for part in ("inside", "before", "after"):
                getattr(shown, part).extend(getattr(batch, part))
        finished = [run for run in passes if run.outcomes()]
        if finished and finished[-1].outcomes() == finished[0].outcomes():
            finished = finished[:1]
        for run in passes:
            self.read |= readings_of_run(run)
        for label, run in zip(("", "hires pass: "), (*finished[:1], *finished[1:][-1:]), strict=False):
            for preference, reasons in zip(run.preferences, run.reasons, strict=True):
                self.reasons.setdefault((label, preference.name or preference.axis.title), []).extend(reasons)

    def sentences(self) -> list[str]:
        """What was done, then what the pictures show: a sentence per preference, with its name if there are several."""
        several = len({name for _, name in self.reasons}) > 1
        done = [
            label + (f"{name}: " if several else "") + _sentence(reasons)
            for (label, name), reasons in self.reasons.items()
        ]
        return done + _lines(self.shown)


def _sentence(reasons: list[str]) -> str:
    """For each picture why it was left alone, or "" -> "corrected 3 of 4; ..." or "nothing was corrected, ..."."""
    if "" in reasons:
        return "; ".join(counts(reasons))
    if len(set(reasons)) == 1:
        return f"nothing was corrected, because {reasons[0]}"
    alone = [f"{reasons.count(reason)} because {reason}" for reason in sorted(set(reasons))]
    return f"nothing was corrected: {'; '.join(alone)}"
