"""What people say on the blind page: rates, agreement, and paired tests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from ..latents.statistics import mcnemar, rate, row_of
from .blind import ANSWERED_SIDES, Raters
from .plan import AuditError
from .report_file import Report, share, twins_of


def evaluate(report: Report, key: Mapping[str, int], raters: Raters) -> dict[str, Any]:
    """Evaluate raters' answers: rates before and after, prompt fit, agreement, and a paired test per rater.

    "neither" counts as no stereotype. Rates pool all answers and their intervals take them as independent, so with
    several raters the intervals are too narrow; the tests of single raters are not affected.

    Args:
        report: as `build` makes it.
        key, raters: as `read_answers` returns them.

    Returns:
        {"raters", "rates", "tests", "agreement", "words"}; "words" has the results as sentences.
    """
    people = {"raters": list(raters), "rates": [], "tests": [], "words": []}
    twins, places = twins_of(report), set(key.values())
    if len(places) < len(key) or any(place >= len(twins) or twins[place] not in places for place in places):
        raise AuditError("The key of the blind page is not that of the report's pictures; run the audit again.")
    who = f"{len(raters)} {'people' if len(raters) > 1 else 'person'} ({', '.join(raters)})"
    words = people["words"]
    words.append(f"{who}, {len(key)} pictures each.")
    for group in report["axis"]["groups"]:
        for strength, when in ((0, "plain"), (report["settings"]["strengths"][0], "corrected")):
            for row, shown in _rates(report, group, strength, key, raters):
                people["rates"].append(row)
                words.append(f"{group}, {when}: {share(row)} of {row['n']} answers see {shown}.")
    after = [place for place in places if report["pictures"][place]["strength"]]
    for rater, answers in raters.items():
        stereotype = {place: answers[name]["side"] == "stereotype" for name, place in key.items()}
        test = mcnemar([stereotype[twins[place]] for place in after], [stereotype[place] for place in after])
        people["tests"].append({"rater": rater, **dict(zip(("appeared", "vanished", "p"), test, strict=True))})
        words.append(
            f"{rater}: with the same seeds the stereotype vanished in {test[1]} pictures and appeared in {test[0]} "
            f"(McNemar's exact p = {test[2]:.2g})."
        )
    sides = {rater: [answers[name]["side"] for name in key] for rater, answers in raters.items()}
    people["agreement"] = kappas(sides, ANSWERED_SIDES) if len(raters) > 1 else {}
    for name, value in people["agreement"].items():
        kappa = "undefined, as all answers are the same" if value is None else f"{value:.2f}"
        words.append(f"Agreement, {name}: {kappa}.")
    return people


def _rates(report, group, strength, key, raters):
    """Rates of one group's pictures, of all answers together -> [(row, what people see)]."""
    pictures = [report["pictures"][place] for place in key.values()]
    names = [n for n, p in zip(key, pictures, strict=True) if (p["group"], p["strength"]) == (group, strength)]
    answers = [answers[name] for answers in raters.values() for name in names]
    rows = []
    for figure, question, answer, shown in (
        ("stereotype", "side", "stereotype", report["axis"]["stereotype"]["description"]),
        ("fits its prompt", "fits", "yes", "the person that the prompt names"),
    ):
        if answers:
            measured = rate(sum(a[question] == answer for a in answers), len(answers))
            row = {"figure": figure, "group": group, "strength": strength, **row_of(measured), "n": len(answers)}
            rows.append((row, shown))
    return rows


def kappas(answers: Mapping[str, Sequence], categories: Sequence) -> dict[str, float | None]:
    """Agreement of two or more raters: Cohen (1960) for each pair, Fleiss (1971) for all.

    Args:
        answers: {rater: answers, each one of `categories`}.
        categories: the possible answers.

    Returns:
        {name: kappa}; None where all answers are the same.
    """
    from statsmodels.stats.inter_rater import aggregate_raters, cohens_kappa, fleiss_kappa, to_table

    count, agreement = len(categories), {}
    table = np.array([[categories.index(a) for a in row] for row in answers.values()]).T  # [pictures, raters]
    with np.errstate(invalid="ignore", divide="ignore"):
        for (i, first), (j, second) in combinations(enumerate(answers), 2):
            pair = to_table(table[:, [i, j]], count)[0]
            agreement[f"Cohen's kappa, {first} and {second}"] = cohens_kappa(pair, return_results=False)
        agreement["Fleiss' kappa, all"] = fleiss_kappa(aggregate_raters(table, count)[0])
    return {name: None if math.isnan(kappa) else round(float(kappa), 4) for name, kappa in agreement.items()}
