"""What a run did to each picture, as JSON for its metadata; docs/metadata.md describes the format."""

from dataclasses import asdict, dataclass

KEY = "rs_corrector"  # of the metadata
FORMAT = 1


@dataclass(frozen=True)
class PreferenceOutcome:
    """What one preference did to a picture."""

    name: str
    hash: str
    corrected: bool
    reason: str  # why it was left alone, or ""


@dataclass(frozen=True)
class Correction:
    """What one run did to a picture."""

    outcome: str  # a sentence, from `Run.outcomes`
    strength: float
    target: float
    preferences: tuple  # PreferenceOutcome


def corrections_of(run):
    """The Correction of each picture of a finished Run; empty if it made no prediction."""
    settings, rows = run.settings, zip(*run.reasons, strict=True)
    return tuple(
        Correction(
            outcome,
            float(settings.strength),
            float(settings.target),
            tuple(
                PreferenceOutcome(preference.name or preference.axis.title, preference.hash, not why, why)
                for preference, why in zip(run.preferences, row, strict=True)
            ),
        )
        for outcome, row in zip(run.outcomes(), rows, strict=True)
    )


def record_of(corrections):
    """The metadata of a picture: its Corrections, oldest first -> a JSON object."""
    return {"format": FORMAT, "corrections": [asdict(correction) for correction in corrections]}
