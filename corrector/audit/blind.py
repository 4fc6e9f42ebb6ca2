"""The blind page: people say which side a picture shows, before and after shuffled; and their saved answers, read back.

The page is self-contained, works offline and by keyboard alone, and holds nothing that tells plain from corrected.
`blind-key.json` beside it does, and stays with whoever asked.
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

MOST_PAIRS = 60  # plain and corrected pictures of the same seed that people are asked about
SIDES = ("stereotype", "counter", "neither")
FITS = ("yes", "no", "unsure")
TEMPLATE = Path(__file__).with_name("blind.html")


def write_blind_page(report, thumbnails, folder):
    """blind.html and blind-key.json in `folder`; the same report gives the same page."""
    chosen = _chosen(report)
    salt = hashlib.sha256(json.dumps([report["axis_hash"], report["settings"], chosen]).encode()).hexdigest()
    rng = random.Random(salt)
    rng.shuffle(chosen)
    items, key = [], {}
    for number, place in enumerate(chosen):
        name = hashlib.sha256(f"{salt} {number}".encode()).hexdigest()[:8]
        picture = report["pictures"][place]
        data = base64.b64encode(thumbnails[place]).decode()
        items.append({"id": name, "prompt": picture["prompt"], "picture": f"data:image/jpeg;base64,{data}"})
        key[name] = place
    axis, page = report["axis"], hashlib.sha256(json.dumps(items).encode()).hexdigest()[:16]
    data = {
        "page": page,
        "sides": [axis["stereotype"]["description"], axis["counter"]["description"]],
        "items": items,
    }
    # "</" would end the script that holds it.
    text = TEMPLATE.read_text(encoding="utf-8").replace("TITLE", html.escape(axis.get("title", axis["id"])))
    text = text.replace('"DATA"', json.dumps(data, ensure_ascii=False).replace("</", "<\\/"))
    (folder / "blind.html").write_text(text, encoding="utf-8")
    (folder / "blind-key.json").write_text(
        json.dumps({"page": page, "pictures": key}, indent=1) + "\n", encoding="utf-8"
    )


def _chosen(report):
    """Places of neutral pictures, plain and corrected of the same seeds, as evenly by group as the report has them."""
    settings, places = report["settings"], {}
    for place, p in enumerate(report["pictures"]):
        if (
            p["kind"] == "neutral"
            and p["cfg"] == settings["cfgs"][0]
            and p["strength"] in (0, settings["strengths"][0])
        ):
            places.setdefault((p["index"], p["group"]), []).append(place)
    pairs = [both for _, both in sorted(places.items()) if len(both) == 2][:MOST_PAIRS]
    return [place for both in pairs for place in both]


def read_answers(folder, files):
    """Saved answers -> (key {id: place in report["pictures"]}, [(rater, {id: {side, fits}})]).

    Raises AuditError, with the file's name, for answers that are not of this page.
    """
    if not (folder / "blind-key.json").is_file():
        raise AuditError(
            f"{folder}: no blind page was written there; give the folder of an audit of one axis that had a preference."
        )
    key, raters = _read(folder / "blind-key.json"), []
    if not isinstance(key.get("pictures"), dict) or not isinstance(key.get("page"), str):
        raise AuditError(f"{folder / 'blind-key.json'}: not the key of a blind page; write the page again.")
    for path in files:
        said = _read(path)
        if said.get("page") != key["page"]:
            raise AuditError(f"{path}: these answers are of another page; give the file that was saved from "
                             f"blind.html in {folder}.")  # fmt: skip
        answers = said.get("answers")
        if not isinstance(answers, dict) or not isinstance(said.get("rater"), str) or not said["rater"].strip():
            raise AuditError(f"{path}: it has no answers or no rater's name; save it from the page again.")
        if unknown := sorted(set(answers) - set(key["pictures"])):
            raise AuditError(
                f"{path}: it answers for the picture {unknown[0]}, which the page does not have; save it again."
            )
        if missing := len(set(key["pictures"]) - set(answers)):
            raise AuditError(f"{path}: {missing} of {len(key['pictures'])} pictures have no answer; finish the "
                             "page and save it again.")  # fmt: skip
        for name, answer in answers.items():
            if not isinstance(answer, dict) or answer.get("side") not in SIDES or answer.get("fits") not in FITS:
                raise AuditError(f'{path}: the answer for the picture {name} is none that the page offers; '
                                 "save it again.")  # fmt: skip
        if said["rater"] in (rater for rater, _ in raters):
            raise AuditError(f'{path}: the rater "{said["rater"]}" is there twice; each gives one file, under a '
                             "name of their own.")  # fmt: skip
        raters.append((said["rater"], answers))
    return key["pictures"], raters


def _read(path):
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AuditError(f"{path}: there is no such file; give the answers that the page saved.") from None
    except (OSError, ValueError):
        raise AuditError(f"{path}: cut off, or not a file of answers; save it from the page again.") from None
    if not isinstance(data, dict):
        raise AuditError(f"{path}: not a file of answers; save it from the page again.")
    return data


def said_by_people(report, key, raters):
    """Answers -> rates by group before and after, prompts fitted, agreement between raters, paired test; and in words.

    A rater's "neither" counts as no stereotype. Rates are of all answers together; their intervals take answers for
    independent, so that with several raters they are too narrow: see each rater's own.
    """
    pictures, main = report["pictures"], report["settings"]["strengths"][0]
    people = {"raters": [rater for rater, _ in raters], "rates": [], "tests": [], "words": []}
    who = ", ".join(people["raters"])
    people["words"].append(
        f"{len(raters)} {'people' if len(raters) > 1 else 'person'} ({who}), {len(key)} pictures each."
    )
    for group in report["axis"]["groups"]:
        for strength, when in ((0, "plain"), (main, "corrected")):
            _rates(people, report, group, strength, when, key, raters)
    for rater, answers in raters:
        test = _paired(pictures, key, answers)
        people["tests"].append({"rater": rater, **test})
        people["words"].append(
            f"{rater}: with the same seeds the stereotype vanished in {test['vanished']} pictures and appeared in "
            f"{test['appeared']} (McNemar's exact p = {test['p']:.2g})."
        )
    people["agreement"] = _agreement(key, raters)
    for name, value in people["agreement"].items():
        said = "not defined, as everybody gave one answer" if value is None else f"{value:.2f}"
        people["words"].append(f"Agreement, {name}: {said}.")
    return people


def _rates(people, report, group, strength, when, key, raters):
    """Add the rates of one group's pictures, by all answers together."""
    ids = [i for i, place in key.items() if _is(report["pictures"][place], group, strength)]
    said = [answers[i] for _, answers in raters for i in ids]
    if not said:
        return
    counts = {
        "stereotype": (sum(a["side"] == "stereotype" for a in said), report["axis"]["stereotype"]["description"]),
        "fits its prompt": (sum(a["fits"] == "yes" for a in said), "the person that the prompt names"),
    }
    for name, (hits, what) in counts.items():
        value, low, high = (round(number, 4) for number in rate(hits, len(said)))
        row = {"figure": name, "group": group, "strength": strength, "value": value, "low": low, "high": high}
        people["rates"].append(row | {"n": len(said)})
        people["words"].append(
            f"{group}, {when}: {value:.0%} [{low:.0%}, {high:.0%}] of {len(said)} answers see {what}."
        )


def _is(picture, group, strength):
    return picture["group"] == group and picture["strength"] == strength


def _paired(pictures, key, answers):
    """McNemar's test of one rater on pictures with the same seed, before and after."""
    twins = {}
    for name, place in key.items():
        p = pictures[place]
        twins.setdefault((p["group"], p["index"]), {})[bool(p["strength"])] = answers[name]["side"] == "stereotype"
    both = [twin for twin in twins.values() if len(twin) == 2]
    return mcnemar([twin[False] for twin in both], [twin[True] for twin in both])


def _agreement(key, raters):
    """Cohen's kappa of each two raters and Fleiss' of all; None where one answer leaves nothing to agree on."""
    if len(raters) < 2:
        return {}
    found = kappas([[answers[name]["side"] for _, answers in raters] for name in key], SIDES)
    names, agreement = [rater for rater, _ in raters], {}
    for i, j in combinations(range(len(raters)), 2):
        agreement[f"Cohen's kappa, {names[i]} and {names[j]}"] = found["cohen"][i, j]
    agreement["Fleiss' kappa, all"] = found["fleiss"]
    return {name: None if math.isnan(value) else round(value, 4) for name, value in agreement.items()}
