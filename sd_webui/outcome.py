"""What a job did, in sentences for the page, where the host shows them under the gallery."""

from ..corrector.correction.decision import counts


class Outcome:
    """Collects what the preferences decided for the pictures of a job, over all its batches."""

    def __init__(self):
        self.reasons = {}  # {(pass, name of a preference): for each picture why it was left alone, or ""}

    def add(self, passes):
        """The Runs of one batch: the first pass and, if it decided otherwise, the hires pass."""
        done = [run for run in passes if run.outcomes()]
        if not done:
            return
        differs = done[-1].outcomes() != done[0].outcomes()
        for which, run in [("", done[0]), *([("hires pass: ", done[-1])] if differs else [])]:
            for preference, reasons in zip(run.preferences, run.reasons, strict=True):
                self.reasons.setdefault((which, preference.name or preference.axis.title), []).extend(reasons)

    def sentences(self):
        """One sentence per preference; they name it if there are several."""
        several = len({name for _, name in self.reasons}) > 1
        return [which + (f"{name}: " if several else "") + said(own) for (which, name), own in self.reasons.items()]


def said(reasons):
    """For each picture why it was left alone, or "" -> "corrected 3 of 4; ..." or "nothing was corrected, ..."."""
    if "" in reasons:
        return "; ".join(counts(reasons))
    if len(set(reasons)) == 1:
        return f"nothing was corrected, because {reasons[0]}"
    alone = [f"{reasons.count(why)} because {why}" for why in sorted(set(reasons))]
    return f"nothing was corrected: {'; '.join(alone)}"
