"""What a run did to each picture, as JSON for its metadata; docs/metadata.md describes the format."""

from .run import Run

RECORD_KEY = "rs_corrector"  # of the metadata
RECORD_FORMAT = 1


def corrections_of(run: Run) -> list[dict]:
    """What a finished Run did, an entry of `record_of` for each picture; empty if it made no prediction."""
    if run.decisions is None:
        return []
    named = [(preference.name or preference.axis.title, preference.hash) for preference in run.preferences]
    return [
        {
            "outcome": outcome,
            "strength": float(run.settings.strength),
            "target": float(run.settings.target),
            "preferences": [
                {"name": name, "hash": digest, "corrected": not why, "reason": why, **_shown(sides)}
                for (name, digest), why, sides in zip(named, reasons, shown, strict=True)
            ],
        }
        for outcome, reasons, shown in zip(
            run.outcomes(), zip(*run.reasons, strict=True), zip(*run.sides(), strict=True), strict=True
        )
    ]


def _shown(sides: tuple[str, str] | None) -> dict[str, str]:
    """The sides that a picture would have shown and shows, if the model was asked for them."""
    return {} if sides is None else {"would_show": sides[0], "shows": sides[1]}


def record_of(corrections: list[dict]) -> dict:
    """The metadata of a picture: its corrections, oldest first -> a JSON object."""
    return {"format": RECORD_FORMAT, "corrections": corrections}
