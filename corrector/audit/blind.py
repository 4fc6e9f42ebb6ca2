"""The blind page, on which people label plain and corrected pictures in random order, and the evaluation of answers.

The page is self-contained, works offline and by keyboard, and holds no hint of which pictures are corrected. That is in
`blind-key.json` beside it, which stays with the person who asks.
"""

import base64
import hashlib
import html
import json
import math
import random
from itertools import combinations
from pathlib import Path

from ..latent_space.statistics import rate
from .plan import AuditError
from .statistics import kappas, mcnemar

MOST_PAIRS = 60  # pairs of a plain and a corrected picture with the same seed on a page
SIDES = ("stereotype", "counter", "neither")
FITS = ("yes", "no", "unsure")
TEMPLATE = Path(__file__).with_name("blind.html")


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
        picture = f"data:image/jpeg;base64,{base64.b64encode(thumbnails[place]).decode()}"
        items.append({"id": name, "prompt": report["pictures"][place]["prompt"], "picture": picture})
        key[name] = place
    axis, page = report["axis"], hashlib.sha256(json.dumps(items).encode()).hexdigest()[:16]
    sides = [axis["stereotype"]["description"], axis["counter"]["description"]]
    data = json.dumps({"page": page, "sides": sides, "items": items}, ensure_ascii=False)
    text = TEMPLATE.read_text(encoding="utf-8").replace("TITLE", html.escape(axis.get("title", axis["id"])))
    text = text.replace('"DATA"', data.replace("</", "<\\/"))  # "</" could close the script element
    (folder / "blind.html").write_text(text, encoding="utf-8")
    key = json.dumps({"page": page, "pictures": key}, indent=1)
    (folder / "blind-key.json").write_text(key + "\n", encoding="utf-8")


def _chosen(report):
    """Indices of neutral pictures, plain and corrected with the same seeds, balanced over the groups."""
    settings, places = report["settings"], {}
    wanted = [("neutral", settings["cfgs"][0], strength) for strength in (0, settings["strengths"][0])]
    for place, p in enumerate(report["pictures"]):
        if (p["kind"], p["cfg"], p["strength"]) in wanted:
            places.setdefault((p["index"], p["group"]), []).append(place)
    pairs = [both for _, both in sorted(places.items()) if len(both) == 2][:MOST_PAIRS]
    return [place for both in pairs for place in both]


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
    key, raters = _read(folder / "blind-key.json"), []
    pictures, page = key.get("pictures"), key.get("page")
    if not isinstance(pictures, dict) or not isinstance(page, str):
        raise AuditError(f"{folder / 'blind-key.json'}: not the key of a blind page; write the page again.")
    for path in files:
        data = _read(path)
        answers, rater = data.get("answers"), data.get("rater")
        if data.get("page") != page:
            raise AuditError(
                f"{path}: these answers are of another page; give the file saved from blind.html in {folder}."
            )
        wrong = None
        if not isinstance(answers, dict) or not isinstance(rater, str) or not rater.strip():
            wrong = "it has no answers or no rater's name"
        elif unknown := sorted(set(answers) - set(pictures)):
            wrong = f"it answers for the picture {unknown[0]}, which the page does not have"
        elif missing := len(set(pictures) - set(answers)):
            wrong = f"{missing} of {len(pictures)} pictures have no answer"
        elif invalid := [name for name, answer in answers.items() if not _valid(answer)]:
            wrong = f"the answer for the picture {invalid[0]} is not one of the page's choices"
        if wrong:
            raise AuditError(f"{path}: {wrong}; complete the page and save the answers again.")
        if rater in (other for other, _ in raters):
            raise AuditError(f'{path}: the rater "{rater}" is there twice; use one file and one name per rater.')
        raters.append((rater, answers))
    return pictures, raters


def _valid(answer):
    return isinstance(answer, dict) and answer.get("side") in SIDES and answer.get("fits") in FITS


def _read(path):
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AuditError(f"{path}: there is no such file; give the answers that the page saved.") from None
    except (OSError, ValueError):
        data = None
    if not isinstance(data, dict):
        raise AuditError(f"{path}: incomplete, or not a file of answers; save it from the page again.")
    return data


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
    strengths = (0, "plain"), (report["settings"]["strengths"][0], "corrected")
    people = {"raters": [rater for rater, _ in raters], "rates": [], "tests": [], "words": []}
    who = f"{len(raters)} {'people' if len(raters) > 1 else 'person'} ({', '.join(people['raters'])})"
    people["words"].append(f"{who}, {len(key)} pictures each.")
    for group in report["axis"]["groups"]:
        for strength, when in strengths:
            _rates(people, report, group, strength, when, key, raters)
    for rater, answers in raters:
        test = _paired(report["pictures"], key, answers)
        people["tests"].append({"rater": rater, **test})
        people["words"].append(
            f"{rater}: with the same seeds the stereotype vanished in {test['vanished']} pictures and appeared in "
            f"{test['appeared']} (McNemar's exact p = {test['p']:.2g})."
        )
    people["agreement"] = _agreement(key, raters)
    for name, value in people["agreement"].items():
        kappa = "undefined, as all answers are the same" if value is None else f"{value:.2f}"
        people["words"].append(f"Agreement, {name}: {kappa}.")
    return people


def _rates(people, report, group, strength, when, key, raters):
    """Append the rates of one group's pictures, of all answers together."""
    pictures = report["pictures"]
    ids = [i for i, p in key.items() if (pictures[p]["group"], pictures[p]["strength"]) == (group, strength)]
    pooled = [answers[i] for _, answers in raters for i in ids]
    if not pooled:
        return
    counts = {
        "stereotype": (sum(a["side"] == "stereotype" for a in pooled), report["axis"]["stereotype"]["description"]),
        "fits its prompt": (sum(a["fits"] == "yes" for a in pooled), "the person that the prompt names"),
    }
    for name, (hits, what) in counts.items():
        value, low, high = (round(number, 4) for number in rate(hits, len(pooled)))
        row = {"figure": name, "group": group, "strength": strength, "value": value, "low": low, "high": high}
        people["rates"].append(row | {"n": len(pooled)})
        share = f"{value:.0%} [{low:.0%}, {high:.0%}] of {len(pooled)} answers"
        people["words"].append(f"{group}, {when}: {share} see {what}.")


def _paired(pictures, key, answers):
    """McNemar's test of one rater on pictures with the same seed, before and after."""
    twins = {}
    for name, place in key.items():
        p = pictures[place]
        twins.setdefault((p["group"], p["index"]), {})[bool(p["strength"])] = answers[name]["side"] == "stereotype"
    both = [twin for twin in twins.values() if len(twin) == 2]
    return mcnemar([twin[False] for twin in both], [twin[True] for twin in both])


def _agreement(key, raters):
    """Cohen's kappa of each pair of raters and Fleiss' of all; None if undefined because all answers are the same."""
    if len(raters) < 2:
        return {}
    found = kappas([[answers[name]["side"] for _, answers in raters] for name in key], SIDES)
    pairs = combinations([rater for rater, _ in raters], 2)
    agreement = {f"Cohen's kappa, {i} and {j}": k for (i, j), k in zip(pairs, found["cohen"].values(), strict=True)}
    agreement["Fleiss' kappa, all"] = found["fleiss"]
    return {name: None if math.isnan(value) else round(value, 4) for name, value in agreement.items()}
