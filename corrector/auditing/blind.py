"""The blind page, on which people label plain and corrected pictures in random order, and the evaluation of answers.

The page is self-contained, works offline and by keyboard, and holds no hint of which pictures are corrected. That is in
`blind-key.json` beside it, which stays with the person who asks.
"""

import hashlib
import html
import json
import random
from pathlib import Path

from ..files.errors import short
from ..files.whole_files import write_whole
from ..latents.statistics import rate
from ..pages.drawing import data_uri
from .plan import AuditError
from .report_file import places_of, read_json, share, title_of, twins_of
from .statistics import kappas, mcnemar

MOST_PAIRS = 60  # pairs of a plain and a corrected picture with the same seed on a page
SIDES = ("stereotype", "counter", "neither")
FITS = ("yes", "no", "unsure")
TEMPLATE = Path(__file__).with_name("blind.html")
NAME = {"type": "string", "maxLength": 64}
KEY = {  # of blind-key.json: the place of each picture in the report
    "type": "object",
    "required": ["page", "pictures"],
    "properties": {
        "page": NAME,
        "pictures": {
            "type": "object",
            "maxProperties": 2 * MOST_PAIRS,
            "additionalProperties": {"type": "integer", "minimum": 0},
        },
    },
}
ANSWERS = {  # of the file that the page saves
    "type": "object",
    "required": ["page", "rater", "answers"],
    "properties": {"page": NAME, "rater": {"type": "string", "maxLength": 200}, "answers": {"type": "object"}},
}


def write_blind_page(report, thumbnails, folder):
    """Write blind.html and blind-key.json into `folder`; the same report always gives the same page.

    `thumbnails`: JPEG bytes, one per entry of report["pictures"].
    """
    chosen = _chosen(report)
    salt = hashlib.sha256(json.dumps([report["axis_hash"], report["settings"], chosen]).encode()).hexdigest()
    random.Random(salt).shuffle(chosen)
    items, key = [], {}
    for number, place in enumerate(chosen):
        name = hashlib.sha256(f"{salt} {number}".encode()).hexdigest()[:8]
        prompt, picture = report["pictures"][place]["prompt"], data_uri(thumbnails[place])
        items.append({"id": name, "prompt": prompt, "picture": picture})
        key[name] = place
    axis, page = report["axis"], hashlib.sha256(json.dumps(items).encode()).hexdigest()[:16]
    sides = [axis["stereotype"]["description"], axis["counter"]["description"]]
    data = json.dumps({"page": page, "sides": sides, "items": items}, ensure_ascii=False)
    text = TEMPLATE.read_text(encoding="utf-8").replace("TITLE", html.escape(title_of(report)))
    text = text.replace('"DATA"', data.replace("<", "\\u003c"))  # "</script>" and "<!--<script>" would end it
    write_whole(folder / "blind.html", text)
    write_whole(folder / "blind-key.json", json.dumps({"page": page, "pictures": key}, indent=1) + "\n")


def _chosen(report):
    """Indices of neutral pictures, plain and corrected with the same seeds, balanced over the groups."""
    strength, pictures, twins = report["settings"]["strengths"][0], report["pictures"], twins_of(report)
    corrected = [place for group in report["axis"]["groups"] for place in places_of(report, group, strength)]
    corrected.sort(key=lambda place: (pictures[place]["index"], pictures[place]["group"]))
    return [both for place in corrected[:MOST_PAIRS] for both in (twins[place], place)]


def read_answers(folder, files):
    """Read the answers that raters saved from a blind page.

    Args:
        folder: Path of the audit, with blind-key.json.
        files: one file of answers per rater.

    Returns:
        (key, raters): {id: index into report["pictures"]}, and [(rater's name, {id: {"side", "fits"}})].

    Raises:
        AuditError: with the file's name, if a file is damaged, incomplete, of another page, or of the same rater.
    """
    if not (folder / "blind-key.json").is_file():
        raise AuditError(
            f"{folder}: it has no blind page; give the folder of an audit of one axis that had a preference."
        )
    not_key = "not the key of a blind page; write the page again."
    key, raters = read_json(folder / "blind-key.json", not_key, not_key, KEY), []
    pictures, page = key["pictures"], key["page"]
    for path in files:
        data = read_json(
            path, "there is no such file; give the answers that the page saved.",
            "incomplete, or not a file of answers; save it from the page again.", ANSWERS,
        )  # fmt: skip
        answers, rater = data["answers"], data["rater"]
        if data["page"] != page:
            raise AuditError(
                f"{path}: these answers are of another page; give the file saved from blind.html in {folder}."
            )
        if wrong := _wrong(answers, rater, pictures):
            raise AuditError(f"{path}: {wrong}; complete the page and save the answers again.")
        if rater in dict(raters):
            raise AuditError(f'{path}: the rater "{rater}" is there twice; use one file and one name per rater.')
        raters.append((rater, answers))
    return pictures, raters


def _wrong(answers, rater, pictures):
    """What is wrong with the answers to a page's pictures, or None."""
    if not rater.strip():
        return "it has no rater's name"
    for name, answer in answers.items():
        if name not in pictures:
            return f"it answers for the picture {short(name)}, which the page does not have"
        if not isinstance(answer, dict) or answer.get("side") not in SIDES or answer.get("fits") not in FITS:
            return f"the answer for the picture {name} is not one of the page's choices"
    missing = len(pictures) - len(answers)
    return f"{missing} of {len(pictures)} pictures have no answer" if missing else None


def said_by_people(report, key, raters):
    """Evaluate raters' answers: rates before and after, prompt fit, agreement, and a paired test per rater.

    "neither" counts as no stereotype. Rates pool all answers and their intervals take them as independent, so with
    several raters the intervals are too narrow; the tests of single raters are not affected.

    Args:
        report: dict as `build` makes it.
        key, raters: as `read_answers` returns them.

    Returns:
        {"raters", "rates", "tests", "agreement", "words"}; "words" has the results as sentences.
    """
    people = {"raters": [rater for rater, _ in raters], "rates": [], "tests": [], "words": []}
    twins, places = twins_of(report), set(key.values())
    if len(places) < len(key) or any(place >= len(twins) or twins[place] not in places for place in places):
        raise AuditError("The key of the blind page is not that of the report's pictures; run the audit again.")
    who = f"{len(raters)} {'people' if len(raters) > 1 else 'person'} ({', '.join(people['raters'])})"
    people["words"].append(f"{who}, {len(key)} pictures each.")
    for group in report["axis"]["groups"]:
        for strength, when in ((0, "plain"), (report["settings"]["strengths"][0], "corrected")):
            for row, what in _rates(report, group, strength, key, raters):
                people["rates"].append(row)
                people["words"].append(f"{group}, {when}: {share(row)} of {row['n']} answers see {what}.")
    for rater, answers in raters:
        test = _paired(report, key, answers)
        people["tests"].append({"rater": rater, **test})
        people["words"].append(
            f"{rater}: with the same seeds the stereotype vanished in {test['vanished']} pictures and appeared in "
            f"{test['appeared']} (McNemar's exact p = {test['p']:.2g})."
        )
    sides = {rater: [answers[name]["side"] for name in key] for rater, answers in raters}
    people["agreement"] = kappas(sides, SIDES) if len(raters) > 1 else {}
    for name, value in people["agreement"].items():
        kappa = "undefined, as all answers are the same" if value is None else f"{value:.2f}"
        people["words"].append(f"Agreement, {name}: {kappa}.")
    return people


def _rates(report, group, strength, key, raters):
    """Rates of one group's pictures, of all answers together -> [(row, what was seen)]."""
    wanted = {place for place, p in enumerate(report["pictures"]) if (p["group"], p["strength"]) == (group, strength)}
    pooled = [answers[name] for _, answers in raters for name, place in key.items() if place in wanted]
    rows = []
    for name, question, answer, what in (
        ("stereotype", "side", "stereotype", report["axis"]["stereotype"]["description"]),
        ("fits its prompt", "fits", "yes", "the person that the prompt names"),
    ):
        if pooled:
            measured = rate(sum(given[question] == answer for given in pooled), len(pooled))
            numbers = dict(zip(("value", "low", "high"), (round(number, 4) for number in measured), strict=True))
            row = {"figure": name, "group": group, "strength": strength, **numbers, "n": len(pooled)}
            rows.append((row, what))
    return rows


def _paired(report, key, answers):
    """McNemar's test of one rater on pictures with the same seed, before and after."""
    side, twins = {place: answers[name]["side"] for name, place in key.items()}, twins_of(report)
    after = [place for place in side if report["pictures"][place]["strength"]]
    both = [twins[place] for place in after], after
    return mcnemar(*([side[place] == "stereotype" for place in places] for places in both))
