"""What a job did, in sentences for the page, where the host shows them under the gallery."""

from collections.abc import Sequence

from ..corrector.correction.decision import counts
from ..corrector.correction.run import Run


class Outcome:
    """Collects what the preferences decided for the pictures of a job, over all its batches."""

    def __init__(self) -> None:
        self.reasons: dict[tuple[str, str], list[str]] = {}  # by pass and preference; as `Run.reasons`

    def add(self, passes: Sequence[Run]) -> None:
        """The passes of one batch, of which the first counts and, if it decided otherwise, the hires pass."""
        finished = [run for run in passes if run.outcomes()]
        if finished and finished[-1].outcomes() == finished[0].outcomes():
            finished = finished[:1]
        for label, run in zip(("", "hires pass: "), (*finished[:1], *finished[1:][-1:]), strict=False):
            for preference, reasons in zip(run.preferences, run.reasons, strict=True):
                self.reasons.setdefault((label, preference.name or preference.axis.title), []).extend(reasons)

    def sentences(self) -> list[str]:
        """One sentence per preference; they name it if there are several."""
        several = len({name for _, name in self.reasons}) > 1
        return [
            label + (f"{name}: " if several else "") + _sentence(reasons)
            for (label, name), reasons in self.reasons.items()
        ]


def _sentence(reasons: list[str]) -> str:
    """For each picture why it was left alone, or "" -> "corrected 3 of 4; ..." or "nothing was corrected, ..."."""
    if "" in reasons:
        return "; ".join(counts(reasons))
    if len(set(reasons)) == 1:
        return f"nothing was corrected, because {reasons[0]}"
    alone = [f"{reasons.count(reason)} because {reason}" for reason in sorted(set(reasons))]
    return f"nothing was corrected: {'; '.join(alone)}"
