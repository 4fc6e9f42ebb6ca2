"""The blind page, on which people label plain and corrected pictures in random order, and the evaluation of answers.

The page is self-contained, works offline and by keyboard, and holds no hint of which pictures are corrected. That is in
`blind-key.json` beside it, which stays with the person who asks.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from ..files.errors import short
from ..files.whole_files import write_whole
from ..pages.templates import data_uri, write_page
from .plan import AuditError
from .report_file import Report, places_of, read_json, title_of, twins_of

Raters: TypeAlias = Mapping[str, Mapping[str, Mapping[str, str]]]  # {rater: {picture: {"side", "fits"}}}

BLIND_PAIRS = 60  # most pairs of a plain and a corrected picture with the same seed on a page
ANSWERED_SIDES = ("stereotype", "counter", "neither")
BLIND_SCHEMA = Path(__file__).with_name("blind.schema.json")  # of blind-key.json, and of the answers that the page saves


def write_blind_page(report: Report, thumbnails: Sequence[bytes], folder: Path) -> None:
    """Write blind.html and blind-key.json into `folder`; the same report always gives the same page.

    `thumbnails`: JPEG bytes, one per entry of report["pictures"].
    """
    places = _chosen(report)
    salt = hashlib.sha256(json.dumps([report["axis_hash"], report["settings"], places]).encode()).hexdigest()
    random.Random(salt).shuffle(places)
    items, key = [], {}
    for number, place in enumerate(places):
        name = hashlib.sha256(f"{salt} {number}".encode()).hexdigest()[:8]
        prompt = report["pictures"][place]["prompt"]
        items.append({"id": name, "prompt": prompt, "picture": data_uri(thumbnails[place])})
        key[name] = place
    page = hashlib.sha256(json.dumps(items).encode()).hexdigest()[:16]
    sides = [report["axis"][side]["description"] for side in ("stereotype", "counter")]
    data = {"page": page, "sides": sides, "items": items}
    write_page(folder / "blind.html", "blind.html", title=title_of(report), data=data)
    write_whole(folder / "blind-key.json", json.dumps({"page": page, "pictures": key}, indent=1) + "\n")


def _chosen(report):
    """Indices of neutral pictures, plain and corrected with the same seeds, balanced over the groups."""
    strength, pictures, twins = report["settings"]["strengths"][0], report["pictures"], twins_of(report)
    corrected = [place for group in report["axis"]["groups"] for place in places_of(report, group, strength)]
    corrected.sort(key=lambda place: (pictures[place]["index"], pictures[place]["group"]))
    return [index for place in corrected[:BLIND_PAIRS] for index in (twins[place], place)]


def read_answers(folder: Path, files: Sequence[Path]) -> tuple[dict[str, int], Raters]:
    """Read the answers that raters saved from a blind page.

    Args:
        folder: of the audit, with blind-key.json.
        files: one file of answers per rater.

    Returns:
        ({picture: index into report["pictures"]}, the raters' answers).

    Raises:
        AuditError: with the file's name, if a file is damaged, incomplete, of another page, or of the same rater.
    """
    if not (folder / "blind-key.json").is_file():
        raise AuditError(
            f"{folder}: it has no blind page; give the folder of an audit of one axis that had a preference."
        )
    schemas = json.loads(BLIND_SCHEMA.read_text(encoding="utf-8"))
    not_key = "not the key of a blind page; write the page again."
    key, raters = read_json(folder / "blind-key.json", not_key, not_key, schemas["key"]), {}
    for path in files:
        data = read_json(
            path, "there is no such file; give the answers that the page saved.",
            "incomplete, or not a file of answers; save it from the page again.", schemas["answers"],
        )  # fmt: skip
        answers, rater = data["answers"], data["rater"]
        if data["page"] != key["page"]:
            raise AuditError(
                f"{path}: these answers are of another page; give the file saved from blind.html in {folder}."
            )
        if wrong := _wrong(answers, rater, key["pictures"]):
            raise AuditError(f"{path}: {wrong}; complete the page and save the answers again.")
        if rater in raters:
            raise AuditError(f'{path}: the rater "{rater}" is there twice; use one file and one name per rater.')
        raters[rater] = answers
    return key["pictures"], raters


def _wrong(answers, rater, pictures):
    """What is wrong with the answers to a page's pictures, or None."""
    if not rater.strip():
        return "it has no rater's name"
    if unknown := [name for name in answers if name not in pictures]:
        return f"it answers for the picture {short(unknown[0])}, which the page does not have"
    missing = len(pictures) - len(answers)
    return f"{missing} of {len(pictures)} pictures have no answer" if missing else None
