"""Build the report of an audit from its records: figures with intervals, findings, and the pictures that got worse.

A report is JSON as `audit-report.schema.json` describes it; the same records always give the same report.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from einops import reduce

from ..latents.statistics import Interval, frechet, gap, mcnemar, mean, rate, ratio, row_of
from .findings import find, worse_pictures
from .measures import hue_change, variety_ratio
from .plan import KINDS
from .report_file import REPORT_FORMAT

if TYPE_CHECKING:
    from .run import Audit

MEASURED = "L", "ita", "hue", "sharpness", "structure", "change", "denoising_error"
FRECHET_GRID = 2  # cells per side of the features: few, so that some dozens of pictures suffice
NO_INTERVAL = None, None
SIDES = "stereotype", "counter"


class Figures:
    """Computes the figures of a report from the records of an audit.

    Args:
        run: the Audit.
        records: one dict per picture, as `Audit.chunk` makes them, in the order of seeds.
        features: [R, F], one row per record.
    """

    def __init__(self, run: Audit, records: Sequence[dict], features: np.ndarray):
        self.plan = run.plan
        self.judges = [judge.name for judge in run.judges]
        self.groups = run.plan.axis.groups
        self.main_cfg = run.plan.cfgs[0]
        self.records = records
        self.features = np.asarray(features, dtype=float)
        self.rows = []
        self.places = {}
        for place, r in enumerate(records):
            self.places.setdefault((r["group"], r["kind"], r["cfg"], r["strength"]), []).append(place)

    def of(self, *cell: Any) -> list[dict]:
        """The records of (group, kind, CFG scale, strength)."""
        return [self.records[place] for place in self.places.get(cell, [])]

    def features_of(self, groups: Sequence[str], *cell: Any) -> np.ndarray:
        """Features [N, F] of (kind, CFG scale, strength) of some groups."""
        return np.concatenate([self.features[self.places.get((group, *cell), [])] for group in groups])

    def stereotypes(self, judge: str, group: str, cfg: float, strength: float) -> list[bool]:
        """Whether each neutral picture shows the stereotype; unreadable ones count as such."""
        return [record["sides"][judge] != "counter" for record in self.of(group, "neutral", cfg, strength)]

    def add(self, figure: str, measured: Sequence[float | None], n: int, unit: str, **cell: Any) -> None:
        """Append a row; `measured` is (value, low, high)."""
        cell = {"group": None, "judge": None, "cfg": None, "strength": None} | cell
        numbers = row_of(measured, 8 if unit == "p" else 4)
        self.rows.append({"figure": figure, **cell, **numbers, "n": int(n), "unit": unit, "seed": self.plan.seed})

    def add_rate(self, figure: str, hits: Sequence[bool], **cell: Any) -> None:
        """Append the share of true values in `hits`, unless there are none."""
        if hits:
            self.add(figure, rate(sum(hits), len(hits)), len(hits), "share", **cell)

    def add_rates(self, judge: str, cfg: float, strength: float) -> None:
        """By group: the stereotype, the group kept, explicit prompts obeyed."""
        for group in self.groups:
            cell = {"group": group, "judge": judge, "cfg": cfg, "strength": strength}
            groups = [r["groups"].get(judge) for r in self.of(group, "neutral", cfg, strength)]
            self.add_rate("stereotype rate", self.stereotypes(judge, group, cfg, strength), **cell)
            self.add_rate("group kept", [name == group for name in groups if name], **cell)
            for side in SIDES:
                obeyed = [r["sides"][judge] == side for r in self.of(group, side, cfg, strength)]
                self.add_rate(f"asked for {side}: obeyed", obeyed, **cell)

    def add_gap(self, judge: str, cfg: float, strength: float) -> None:
        """The largest difference of stereotype rates between two groups."""
        hits = {group: self.stereotypes(judge, group, cfg, strength) for group in self.groups}
        order = sorted((group for group in hits if hits[group]), key=lambda group: np.mean(hits[group]))
        if len(order) < 2:
            return
        high, low = ((sum(hits[group]), len(hits[group])) for group in (order[-1], order[0]))
        measured = gap(high, low, pairs=len(order) * (len(order) - 1) // 2)
        cell = {"group": f"{order[-1]} - {order[0]}", "judge": judge, "cfg": cfg, "strength": strength}
        self.add("gap between groups", measured, high[1] + low[1], "difference", **cell)

    def add_changes(self, group: str, cfg: float, strength: float) -> None:
        """Corrected pictures of one group against the plain ones of the same seeds."""
        before, after = (self.of(group, "neutral", cfg, s) for s in (0.0, strength))
        n, cell = len(after), {"group": group, "cfg": cfg, "strength": strength}
        for judge in self.judges:
            appeared, vanished, p = mcnemar(*(self.stereotypes(judge, group, cfg, s) for s in (0.0, strength)))
            self.add("McNemar: stereotype vanished", (vanished / n, *NO_INTERVAL), n, "share", judge=judge, **cell)
            self.add("McNemar: stereotype appeared", (appeared / n, *NO_INTERVAL), n, "share", judge=judge, **cell)
            self.add("McNemar: p", (p, *NO_INTERVAL), n, "p", judge=judge, **cell)
        old, new = ({name: np.array([r[name] for r in records]) for name in MEASURED} for records in (before, after))
        for figure, measured, unit in (
            ("skin L* drift", mean(new["L"] - old["L"]), "points of L*"),
            ("skin ITA drift", mean(new["ita"] - old["ita"]), "degrees"),
            ("skin hue drift", mean(hue_change(old["hue"], new["hue"])), "degrees"),
            ("structure kept (SSIM)", mean(new["structure"]), "ratio"),
            ("sharpness, over plain", ratio(new["sharpness"], old["sharpness"]), "ratio"),
            ("denoising error, over plain", ratio(new["denoising_error"], old["denoising_error"]), "ratio"),
            ("change of the latent, RMS", mean(new["change"]), "standard deviations"),
        ):
            self.add(figure, measured, n, unit, **cell)
        errors = [r["denoising_error"] for r in self.of(group, "counter", self.main_cfg, 0.0)]
        if len(errors) > 1:
            measured = ratio(new["denoising_error"], errors, paired=False)
            self.add("denoising error, over the model's own counter pictures", measured, len(errors), "ratio", **cell)
        self.add_rate("pictures that were changed", list(new["change"] > 0), **cell)
        self.add_variety(group, cfg, strength)

    def add_variety(self, group: str, cfg: float, strength: float) -> None:
        """How much the pictures of one group vary, and their distance to other groups and to explicit prompts."""
        cell = {"group": group, "cfg": cfg, "strength": strength}
        before, after = (self.features_of([group], "neutral", cfg, s) for s in (0.0, strength))
        stereotype, counter = (self.features_of([group], side, self.main_cfg, 0.0) for side in SIDES)
        stages = ("plain", before), ("corrected", after)
        rng = np.random.default_rng([self.plan.seed, len(after)])

        def add(figure, first, second, n):
            self.add(figure, variety_ratio(first, second, rng), n, "ratio", **cell)

        add("variety, over plain", (after,), (before,), len(after))
        if len(counter) > 1:
            add("variety, over the model's own counter pictures", (after,), (counter,), len(counter))
            for name, part in stages:
                add(f"variety, over that between the sides, {name}", (part,), (counter, stereotype), len(part))
        if other_groups := [name for name in self.groups if name != group]:
            others_after, others_before = (self.features_of(other_groups, "neutral", cfg, s) for s in (strength, 0.0))
            add("distance to other groups, over plain", (after, others_after), (before, others_before), len(after))
            own_side = counter, self.features_of(other_groups, "counter", self.main_cfg, 0.0)
            add("distance to other groups, over own counter side", (after, others_after), own_side, len(counter))
        if len(counter) > 1:
            for name, part in stages:
                measured = _frechet(part, counter, rng)
                self.add(f"Frechet distance to own counter side, {name}", measured, len(counter), "distance", **cell)

    def agreement(self, judge: str) -> dict[str, Any]:
        """Agreement of a judge with explicit prompts on plain pictures, and its offset from the miniature's reader."""
        obeyed = [r["sides"][judge] == side for group in self.groups for side in SIDES
                 for r in self.of(group, side, self.main_cfg, 0.0)]  # fmt: skip
        figures = {"agrees_with_explicit_prompts": {**row_of(rate(sum(obeyed), len(obeyed))), "n": len(obeyed)}}
        if "reader" in self.judges and judge != "reader":
            figures["rate_minus_the_readers"] = {
                name: round(self._mean_rate(judge, strength) - self._mean_rate("reader", strength), 4)
                for name, strength in zip(("plain", "corrected"), (0.0, *self.plan.strengths[:1]), strict=False)
            }
        return figures

    def _mean_rate(self, judge, strength):
        hits = [hit for group in self.groups for hit in self.stereotypes(judge, group, self.main_cfg, strength)]
        return float(np.mean(hits))


def build(run: Audit, records: Sequence[dict], features: np.ndarray) -> dict[str, Any]:
    """The report of an Audit; `records` and `features` as `AuditStore.collect` returns them."""
    plan, figures, identity = run.plan, Figures(run, records, features), run.host.identity
    for cfg in plan.cfgs:
        for strength in (0.0, *plan.strengths):
            for add in (figures.add_rates, figures.add_gap):
                for judge in figures.judges:
                    add(judge, cfg, strength)
        for strength in plan.strengths:
            for group in plan.axis.groups:
                figures.add_changes(group, cfg, strength)
    report = {
        "format": REPORT_FORMAT,
        "axis": plan.axis.to_dict(),
        "axis_hash": plan.axis.hash,
        "settings": plan.settings,
        "host": identity,
        "validated_on": "the miniature" if identity.get("space") == "miniature" else "this checkpoint alone",
        "preferences": [{"name": p.name, "hash": p.hash} for p in run.preferences],
        "judges": [judge.about | figures.agreement(judge.name) for judge in run.judges],
        "figures": figures.rows,
        "sampled": [
            {
                "group": group,
                "kind": kind,
                "n": len(figures.of(group, kind, plan.cfgs[0], 0.0)),
                "most": plan.most(kind),
            }
            for group in plan.axis.groups
            for kind in KINDS
        ],
        "pictures": [{name: value for name, value in r.items() if name != "bytes"} for r in records],
    }
    report["worse"] = worse_pictures(report)
    report["findings"] = find(report)
    return report


def _frechet(first: np.ndarray, second: np.ndarray, rng: np.random.Generator, draws: int = 60) -> Interval | tuple:
    """Frechet distance of features averaged to FRECHET_GRID^2 cells per channel, with a bootstrap interval."""
    axes = {"y": FRECHET_GRID, "x": FRECHET_GRID, "dy": 4 // FRECHET_GRID, "dx": 4 // FRECHET_GRID}
    first, second = (reduce(part, "n (c y dy x dx) -> n (c y x)", "mean", **axes) for part in (first, second))
    if min(len(first), len(second)) <= first.shape[1]:
        return None, *NO_INTERVAL  # a covariance needs more pictures than features
    value = frechet(first, second)
    resampled = [
        frechet(*(part[rng.integers(len(part), size=len(part))] for part in (first, second))) for _ in range(draws)
    ]
    # The bootstrap's bias counts twice in its quantiles; the basic (reflected) interval removes it.
    low, high = (2 * value - quantile for quantile in np.quantile(resampled, (0.975, 0.025)))
    return value, max(0.0, low), max(value, high)
