"""What a run did to each picture, as JSON for its metadata; docs/metadata.md describes the format."""

from .run import Run

RECORD_KEY = "rs_corrector"  # of the metadata
RECORD_FORMAT = 1


def corrections_of(run: Run) -> list[dict]:
    """What a finished Run did, an entry of `record_of` for each picture; empty if it made no prediction."""
    named = [(preference.name or preference.axis.title, preference.hash) for preference in run.preferences]
    return [
        {
            "outcome": outcome,
            "strength": float(run.settings.strength),
            "target": float(run.settings.target),
            "preferences": [
                {"name": name, "hash": digest, "corrected": not why, "reason": why}
                for (name, digest), why in zip(named, reasons, strict=True)
            ],
        }
        for outcome, reasons in zip(run.outcomes(), zip(*run.reasons, strict=True), strict=True)
    ]


def record_of(corrections: list[dict]) -> dict:
    """The metadata of a picture: its corrections, oldest first -> a JSON object."""
    return {"format": RECORD_FORMAT, "corrections": corrections}
