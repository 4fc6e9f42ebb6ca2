"""Build the report of an audit from its records: figures with intervals, findings, and the pictures that got worse.

A report is JSON as `audit-report.schema.json` describes it; the same records always give the same report.
"""

import numpy as np
from einops import reduce

from ..latents.statistics import frechet
from . import statistics
from .findings import find, worse_pictures
from .measures import hue_change, variety_ratio
from .plan import KINDS
from .report_file import FORMAT

MEASURED = "L", "ita", "hue", "sharpness", "structure", "change", "denoising_error"
GRID = 2  # cells per side of the features in a Frechet distance: few, so that some dozens of pictures suffice


class Figures:
    """Computes the figures of a report from the records of an audit.

    Args:
        run: Audit.
        records: one dict per picture, as `Audit.chunk` makes them, in the order of seeds.
        features: [R, F], one row per record.
    """

    def __init__(self, run, records, features):
        self.plan, self.judges, self.rows = run.plan, [judge.name for judge in run.judges], []
        self.groups = run.plan.axis.groups
        self.records, self.features = records, np.asarray(features, dtype=float)
        self.places = {}
        for place, r in enumerate(records):
            self.places.setdefault((r["group"], r["kind"], r["cfg"], r["strength"]), []).append(place)

    def of(self, *key):
        """The records of (group, kind, CFG scale, strength)."""
        return [self.records[place] for place in self.places.get(key, [])]

    def features_of(self, groups, *key):
        """Features [N, F] of (kind, CFG scale, strength) of some groups."""
        return np.concatenate([self.features[self.places.get((group, *key), [])] for group in groups])

    def add(self, figure, measured, n, unit, **where):
        """Append a row; `measured` is (value, low, high), in which NaN and infinity become None."""
        digits, numbers = 8 if unit == "p" else 4, np.array(measured, dtype=float)  # None becomes NaN
        numbers = [round(float(number), digits) if np.isfinite(number) else None for number in numbers]
        where = {"group": None, "judge": None, "cfg": None, "strength": None} | where
        numbers = dict(zip(("value", "low", "high"), numbers, strict=True))
        self.rows.append({"figure": figure, **where, **numbers, "n": int(n), "unit": unit, "seed": self.plan.seed})

    def add_rate(self, figure, hits, **where):
        """Append the rate of true values in `hits`, unless there are none."""
        if hits:
            self.add(figure, statistics.rate(sum(hits), len(hits)), len(hits), "share", **where)

    def stereotypes(self, judge, *key):
        """Whether each picture of (group, kind, CFG scale, strength) shows the stereotype; unreadable ones do."""
        return [record["sides"][judge] != "counter" for record in self.of(*key)]

    def rates(self, judge, cfg, strength):
        """Rates by group: the stereotype, the group kept, explicit prompts obeyed."""
        for group in self.groups:
            where = {"group": group, "judge": judge, "cfg": cfg, "strength": strength}
            kept = [r["groups"].get(judge) for r in self.of(group, "neutral", cfg, strength)]
            self.add_rate("stereotype rate", self.stereotypes(judge, group, "neutral", cfg, strength), **where)
            self.add_rate("group kept", [shown == group for shown in kept if shown], **where)
            for side in ("stereotype", "counter"):
                obeyed = [r["sides"][judge] == side for r in self.of(group, side, cfg, strength)]
                self.add_rate(f"asked for {side}: obeyed", obeyed, **where)

    def gap(self, judge, cfg, strength):
        """The largest difference of stereotype rates between two groups."""
        shown = {group: self.stereotypes(judge, group, "neutral", cfg, strength) for group in self.groups}
        order = sorted((group for group in shown if shown[group]), key=lambda group: np.mean(shown[group]))
        if len(order) < 2:
            return
        high, low = ((sum(shown[group]), len(shown[group])) for group in (order[-1], order[0]))
        measured = statistics.gap(high, low, pairs=len(order) * (len(order) - 1) // 2)
        where = {"group": f"{order[-1]} - {order[0]}", "judge": judge, "cfg": cfg, "strength": strength}
        self.add("gap between groups", measured, high[1] + low[1], "difference", **where)

    def against_plain(self, group, cfg, strength):
        """Corrected pictures of one group against the plain ones of the same seeds."""
        before, after = (self.of(group, "neutral", cfg, s) for s in (0.0, strength))
        n, where = len(after), {"group": group, "cfg": cfg, "strength": strength}
        for judge in self.judges:
            test = statistics.mcnemar(*(self.stereotypes(judge, group, "neutral", cfg, s) for s in (0.0, strength)))
            for what in ("vanished", "appeared"):
                measured = test[what] / n, None, None
                self.add(f"McNemar: stereotype {what}", measured, n, "share", judge=judge, **where)
            self.add("McNemar: p", (test["p"], None, None), n, "p", judge=judge, **where)
        old, new = ({name: np.array([r[name] for r in records]) for name in MEASURED} for records in (before, after))
        for figure, measured, unit in (
            ("skin L* drift", statistics.mean(new["L"] - old["L"]), "points of L*"),
            ("skin ITA drift", statistics.mean(new["ita"] - old["ita"]), "degrees"),
            ("skin hue drift", statistics.mean(hue_change(old["hue"], new["hue"])), "degrees"),
            ("structure kept (SSIM)", statistics.mean(new["structure"]), "ratio"),
            ("sharpness, over plain", statistics.ratio(new["sharpness"], old["sharpness"]), "ratio"),
            ("denoising error, over plain", statistics.ratio(new["denoising_error"], old["denoising_error"]), "ratio"),
            ("change of the latent, RMS", statistics.mean(new["change"]), "standard deviations"),
        ):
            self.add(figure, measured, n, unit, **where)
        own = [r["denoising_error"] for r in self.of(group, "counter", self.plan.cfgs[0], 0.0)]
        if len(own) > 1:
            measured = statistics.ratio(new["denoising_error"], own, paired=False)
            self.add("denoising error, over the model's own counter pictures", measured, len(own), "ratio", **where)
        self.add_rate("pictures that were changed", list(new["change"] > 0), **where)
        self.variety(group, cfg, strength)

    def variety(self, group, cfg, strength):
        """How much the pictures of one group vary, and their distance to other groups and to explicit prompts."""
        where, main = {"group": group, "cfg": cfg, "strength": strength}, self.plan.cfgs[0]
        before, after = (self.features_of([group], "neutral", cfg, s) for s in (0.0, strength))
        own, other = (self.features_of([group], side, main, 0.0) for side in ("counter", "stereotype"))
        both, rng = (("plain", before), ("corrected", after)), np.random.default_rng([self.plan.seed, len(after)])

        def add(figure, first, second, n):
            self.add(figure, variety_ratio(first, second, rng), n, "ratio", **where)

        add("variety, over plain", (after,), (before,), len(after))
        if len(own) > 1:
            add("variety, over the model's own counter pictures", (after,), (own,), len(own))
            for name, part in both:
                add(f"variety, over that between the sides, {name}", (part,), (own, other), len(part))
        if others := [name for name in self.plan.axis.groups if name != group]:
            now, then = (self.features_of(others, "neutral", cfg, s) for s in (strength, 0.0))
            add("distance to other groups, over plain", (after, now), (before, then), len(after))
            asked = self.features_of(others, "counter", main, 0.0)
            add("distance to other groups, over own counter side", (after, now), (own, asked), len(own))
        if len(own) > 1:
            for name, part in both:
                measured = _frechet(part, own, rng)
                self.add(f"Frechet distance to own counter side, {name}", measured, len(own), "distance", **where)

    def agreement(self, judge):
        """Agreement of a judge with explicit prompts on plain pictures, and its offset from the miniature's reader."""
        cfg = self.plan.cfgs[0]
        asked = [r["sides"][judge] == side for group in self.groups for side in ("stereotype", "counter")
                 for r in self.of(group, side, cfg, 0.0)]  # fmt: skip
        value, low, high = (round(number, 4) for number in statistics.rate(sum(asked), len(asked)))
        found = {"agrees_with_explicit_prompts": {"value": value, "low": low, "high": high, "n": len(asked)}}
        if "reader" in self.judges and judge != "reader":
            off = found["rate_minus_the_readers"] = {}
            for name, strength in zip(("plain", "corrected"), (0.0, *self.plan.strengths[:1]), strict=False):
                cells = [(group, "neutral", cfg, strength) for group in self.groups]
                own, true = (np.mean([shown for cell in cells for shown in self.stereotypes(who, *cell)])
                             for who in (judge, "reader"))  # fmt: skip
                off[name] = round(float(own - true), 4)
        return found


def build(run, records, features):
    """The report of an Audit, a dict; `records` and `features` as `AuditStore.collect` returns them."""
    plan, figures, identity = run.plan, Figures(run, records, features), run.host.identity
    for cfg in plan.cfgs:
        for strength in (0.0, *plan.strengths):
            for add in (figures.rates, figures.gap):
                for judge in figures.judges:
                    add(judge, cfg, strength)
        for strength in plan.strengths:
            for group in plan.axis.groups:
                figures.against_plain(group, cfg, strength)
    report = {
        "format": FORMAT,
        "axis": plan.axis.to_dict(),
        "axis_hash": plan.axis.hash,
        "settings": plan.settings,
        "host": identity,
        "validated_on": "the miniature" if identity.get("space") == "miniature" else "this checkpoint alone",
        "preferences": [{"name": p.name, "hash": p.hash} for p in run.preferences],
        "judges": [judge.about | figures.agreement(judge.name) for judge in run.judges],
        "figures": figures.rows,
        "sampled": [
            {"group": group, "kind": kind, "n": len(figures.of(group, kind, cfg, 0.0)), "most": plan.most(kind)}
            for cfg in plan.cfgs[:1]
            for group in plan.axis.groups
            for kind in KINDS
        ],
        "pictures": [{name: value for name, value in r.items() if name != "bytes"} for r in records],
    }
    report["worse"] = worse_pictures(report)
    report["findings"] = find(report)
    return report


def _frechet(first, second, rng, draws=60):
    """Frechet distance of features averaged to GRID x GRID per channel, with a bootstrap interval."""
    first, second = (
        reduce(part, "n (c y dy x dx) -> n (c y x)", "mean", y=GRID, x=GRID, dy=4 // GRID, dx=4 // GRID)
        for part in (first, second)
    )
    if min(len(first), len(second)) <= first.shape[1]:
        return None, None, None  # a covariance needs more pictures than features
    value = frechet(first, second)
    drawn = [
        frechet(*(part[rng.integers(len(part), size=len(part))] for part in (first, second))) for _ in range(draws)
    ]
    # The bootstrap's bias counts twice in its quantiles; the basic (reflected) interval removes it.
    low, high = (2 * value - q for q in np.quantile(drawn, (0.975, 0.025)))
    return value, max(0.0, low), max(value, high)
