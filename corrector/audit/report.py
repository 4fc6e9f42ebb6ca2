"""Records of an audit -> its report: figures with intervals, findings in words, and the pictures that got worse.

The report is JSON that `audit-report.schema.json` describes; the same records always give the same report.
"""

import json

import numpy as np

from . import statistics as audit
from .findings import find, worse_pictures
from .measures import hue_change, variety_ratio
from .report_file import FORMAT

GRID = 2  # cells a side of the features that a Frechet distance uses: few enough for some dozens of pictures


class Records:
    """Records with their features, looked up by group, kind, CFG scale and strength, in the order of seeds."""

    def __init__(self, records, features):
        self.records, self.features = records, np.asarray(features, dtype=float)
        self.found = {}
        for place, r in enumerate(records):
            self.found.setdefault((r["group"], r["kind"], r["cfg"], r["strength"]), []).append(place)

    def of(self, *key):
        return [self.records[place] for place in self.found.get(key, [])]

    def features_of(self, *key):
        return self.features[self.found.get(key, [])]


def build(run, records, features):
    """An Audit and the records of its store -> the report, a dict."""
    plan, data = run.plan, Records(records, features)
    rows = []
    for cfg in plan.cfgs:
        for strength in (0.0, *plan.strengths):
            rows += _rates(run, data, cfg, strength)
            rows += _gaps(run, data, cfg, strength)
        for strength in plan.strengths:
            for group in plan.axis.groups:
                rows += _against_plain(run, data, group, cfg, strength)
    identity = run.host.identity
    report = {
        "format": FORMAT,
        "axis": json.loads(json.dumps(plan.axis.to_dict())),
        "axis_hash": plan.axis.hash,
        "settings": plan.settings,
        "host": identity,
        "validated_on": "the miniature" if identity.get("space") == "miniature" else "this checkpoint alone",
        "preferences": [{"name": p.name, "hash": p.hash} for p in run.preferences],
        "judges": [judge.about | _agreement(run, data, judge.name) for judge in run.judges],
        "figures": rows,
        "sampled": [
            {"group": group, "kind": kind, "n": len(data.of(group, kind, plan.cfgs[0], 0.0)), "most": most}
            for group in plan.axis.groups
            for kind, most in (("neutral", plan.images), ("stereotype", _asked(plan)), ("counter", _asked(plan)))
        ],
        "pictures": [{name: value for name, value in r.items() if name != "bytes"} for r in records],
    }
    report["worse"] = worse_pictures(report)
    report["findings"] = find(report)
    return report


def _asked(plan):
    return len([seed for chunk in plan.cells[0, "counter", plan.cfgs[0]] for seed in chunk.seeds])


def _row(figure, measured, n, unit, seed, **where):
    """One figure; what is not a number is None."""
    digits = 8 if unit == "p" else 4
    value, low, high = (
        None if number is None or not np.isfinite(number) else round(float(number), digits) for number in measured
    )
    where = {"group": None, "judge": None, "cfg": None, "strength": None} | where
    numbers = {"value": value, "low": low, "high": high, "n": int(n)}
    return {"figure": figure, **where, **numbers, "unit": unit, "seed": seed}


def shows_stereotype(record, judge):
    """What cannot be read counts as a failure."""
    return record["sides"][judge] != "counter"


def _rates(run, data, cfg, strength):
    """Rates of each group by each judge: the stereotype, what was asked for, the group kept."""
    plan, rows = run.plan, []
    for judge in (judge.name for judge in run.judges):
        for group in plan.axis.groups:
            where = {"group": group, "judge": judge, "cfg": cfg, "strength": strength}
            neutral = data.of(group, "neutral", cfg, strength)
            if neutral:
                measured = audit.rate(sum(shows_stereotype(r, judge) for r in neutral), len(neutral))
                rows.append(_row("stereotype rate", measured, len(neutral), "share", plan.seed, **where))
            kept = [r["groups"][judge] == group for r in neutral if judge in r["groups"]]
            if kept:
                rows.append(
                    _row("group kept", audit.rate(sum(kept), len(kept)), len(kept), "share", plan.seed, **where)
                )
            for side in ("stereotype", "counter"):
                asked = data.of(group, side, cfg, strength)
                if asked:
                    measured = audit.rate(sum(r["sides"][judge] == side for r in asked), len(asked))
                    rows.append(_row(f"asked for {side}: obeyed", measured, len(asked), "share", plan.seed, **where))
    return rows


def _gaps(run, data, cfg, strength):
    """The largest difference of stereotype rates between two groups, by each judge."""
    plan, rows = run.plan, []
    for judge in (judge.name for judge in run.judges):
        counts = {}
        for group in plan.axis.groups:
            some = data.of(group, "neutral", cfg, strength)
            if some:
                counts[group] = sum(shows_stereotype(r, judge) for r in some), len(some)
        if len(counts) < 2:
            continue
        order = sorted(counts, key=lambda group: counts[group][0] / counts[group][1])
        pairs = len(counts) * (len(counts) - 1) // 2
        measured = audit.gap(counts[order[-1]], counts[order[0]], pairs)
        where = {"group": f"{order[-1]} - {order[0]}", "judge": judge, "cfg": cfg, "strength": strength}
        n = counts[order[-1]][1] + counts[order[0]][1]
        rows.append(_row("gap between groups", measured, n, "difference", plan.seed, **where))
    return rows


def _against_plain(run, data, group, cfg, strength):
    """What the same seeds show after correction, of one group."""
    plan, rows = run.plan, []
    before, after = (data.of(group, "neutral", cfg, s) for s in (0.0, strength))
    n, where = len(after), {"group": group, "cfg": cfg, "strength": strength}

    def say(figure, measured, unit, count=n, **more):
        rows.append(_row(figure, measured, count, unit, plan.seed, **(where | more)))

    for judge in (judge.name for judge in run.judges):
        test = audit.mcnemar(*([shows_stereotype(r, judge) for r in some] for some in (before, after)))
        say("McNemar: stereotype vanished", (test["vanished"] / n, None, None), "share", judge=judge)
        say("McNemar: stereotype appeared", (test["appeared"] / n, None, None), "share", judge=judge)
        say("McNemar: p", (test["p"], None, None), "p", judge=judge)
    pairs = list(zip(before, after, strict=True))
    for name, figure, unit in (("L", "skin L* drift", "points of L*"), ("ita", "skin ITA drift", "degrees")):
        say(figure, audit.mean([b[name] - a[name] for a, b in pairs]), unit)
    say("skin hue drift", audit.mean([hue_change(a["hue"], b["hue"]) for a, b in pairs]), "degrees")
    say("structure kept (SSIM)", audit.mean([r["structure"] for r in after]), "ratio")
    say(
        "sharpness, over plain", _ratio([b["sharpness"] for _, b in pairs], [a["sharpness"] for a, _ in pairs]), "ratio"
    )
    say("change of the latent, RMS", audit.mean([r["change"] for r in after]), "standard deviations")
    changed = sum(r["change"] > 0 for r in after)
    say("pictures that were changed", audit.rate(changed, n), "share")
    return rows + _variety(run, data, group, cfg, strength)


def _variety(run, data, group, cfg, strength):
    """How much one group's pictures vary, and how far they are from those of other groups and of the other side."""
    plan, rows = run.plan, []
    before, after = (data.features_of(group, "neutral", cfg, s) for s in (0.0, strength))
    own, other = (data.features_of(group, side, plan.cfgs[0], 0.0) for side in ("counter", "stereotype"))
    rng = np.random.default_rng([plan.seed, len(after)])

    def say(figure, measured, n, unit="ratio"):
        where = {"group": group, "cfg": cfg, "strength": strength}
        rows.append(_row(figure, measured, n, unit, plan.seed, **where))

    say("variety, over plain", variety_ratio((after,), (before,), rng), len(after))
    if len(own) > 1:
        say("variety, over the model's own counter pictures", variety_ratio((after,), (own,), rng), len(own))
        for name, some in (("plain", before), ("corrected", after)):
            say(f"variety, over that between the sides, {name}",
                variety_ratio((some,), (own, other), rng), len(some))  # fmt: skip
    others = [name for name in plan.axis.groups if name != group]
    if others:
        now, then = (_of_groups(data, others, "neutral", cfg, s) for s in (strength, 0.0))
        say("distance to other groups, over plain", variety_ratio((after, now), (before, then), rng), len(after))
        asked = _of_groups(data, others, "counter", plan.cfgs[0], 0.0)
        say("distance to other groups, over own counter side",
            variety_ratio((after, now), (own, asked), rng), len(own))  # fmt: skip
    if len(own) > 1:
        for name, some in (("plain", before), ("corrected", after)):
            say(f"Frechet distance to own counter side, {name}", _frechet(some, own, rng), len(own), "distance")
    return rows


def _of_groups(data, groups, *key):
    return np.concatenate([data.features_of(group, *key) for group in groups])


def _ratio(after, before):
    """Geometric mean of paired ratios with its interval."""
    logs = np.log(np.maximum(after, 1e-9)) - np.log(np.maximum(before, 1e-9))
    return tuple(float(np.exp(value)) for value in audit.mean(logs))


def _frechet(first, second, rng, draws=60):
    """Frechet distance in latent space on GRID x GRID means by channel, with a bootstrap interval."""
    first, second = (_coarse(some) for some in (first, second))
    if min(len(first), len(second)) <= first.shape[1]:
        return None, None, None  # a covariance needs more pictures than numbers a picture
    value = audit.frechet(first, second)
    drawn = [audit.frechet(*(some[rng.integers(len(some), size=len(some))] for some in (first, second)))
             for _ in range(draws)]  # fmt: skip
    # A bootstrap adds its own noise once more: the basic interval takes it out.
    low, high = (2 * value - q for q in np.quantile(drawn, (0.975, 0.025)))
    return value, max(0.0, low), max(value, high)


def _coarse(features):
    """64 features by channel, 4 x 4 each -> means of 2 x 2."""
    grid = features.reshape(len(features), -1, GRID, 4 // GRID, GRID, 4 // GRID)
    return grid.mean(axis=(3, 5)).reshape(len(features), -1)


def _agreement(run, data, judge):
    """A judge on plain pictures of prompts that ask for a side, none of which it was trained on."""
    plan, truth = run.plan, "reader" if any(j.name == "reader" for j in run.judges) else None
    cfg = plan.cfgs[0]
    asked = [
        (r["sides"][judge] == side)
        for group in plan.axis.groups
        for side in ("stereotype", "counter")
        for r in data.of(group, side, cfg, 0.0)
    ]
    value, low, high = audit.rate(sum(asked), len(asked))
    found = {"agrees_with_explicit_prompts": {"value": round(value, 4), "low": round(low, 4), "high": round(high, 4),
                                              "n": len(asked)}}  # fmt: skip
    if truth and judge != truth:
        off = {}
        for s in (0.0, *plan.strengths[:1]):
            some = [r for group in plan.axis.groups for r in data.of(group, "neutral", cfg, s)]
            rates = [np.mean([shows_stereotype(r, name) for r in some]) for name in (judge, truth)]
            off["plain" if not s else "corrected"] = round(float(rates[0] - rates[1]), 4)
        found["rate_minus_the_readers"] = off
    return found
