"""The audit itself, by simulation and on the miniature.

`coverage`: whether its intervals hold the true rate although it stops early, and the sampling that this saves.
`failures`: correctors that are wrong on purpose, which the report must name.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks.measuring import Options, number, share
from benchmarks.planted import FAILURES, planted
from benchmarks.records import ROOT, Row
from corrector.auditing.page import publish
from corrector.auditing.plan import CHUNK, Plan, enough
from corrector.auditing.run import Audit
from corrector.auditing.whole import judges_of
from corrector.axis.axis import Axis, load_axis
from corrector.latents.statistics import rate
from corrector.miniature.host import Miniature
from corrector.preference.file import load_preference
from corrector.preference.preference import Preference

RATES = (0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99)
WIDTHS = (0.03, 0.05, 0.08, 0.1)  # half-widths
LIMITS = (60, 100, 200, 400)  # pictures per group at most
SEED = 20_000_004
SHIPPED = ROOT / "weights" / "miniature-backdrop.safetensors"


@cache
def looks_at(n: int, narrow: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For 0..n successes of n pictures: (whether the audit may stop, low, high), arrays [n + 1]."""
    intervals = np.array([rate(k, n)[1:] for k in range(n + 1)])
    return np.array([enough(k, n, narrow) for k in range(n + 1)]), *intervals.T


def coverage(options: Options) -> Iterator[Row]:
    """Simulated audits of a model with a known rate."""
    seed, trials = options.seed or SEED, options.count(10_000, quick=100)
    rng = np.random.default_rng(seed)
    for limit in LIMITS:
        looks = np.arange(CHUNK, limit + 1, CHUNK)
        for narrow in WIDTHS:
            # What the same half-width needs at any rate, without early stopping.
            planned = next((n for n in looks if enough(int(n) // 2, int(n), narrow)), None)
            for p in RATES:
                counts = rng.binomial(CHUNK, p, size=(trials, len(looks))).cumsum(axis=1)
                columns = [[column[counts[:, i]] for column in looks_at(int(n), narrow)] for i, n in enumerate(looks)]
                stop, low, high = (np.stack(column, axis=1) for column in zip(*columns, strict=True))  # [trials, looks]
                stop[:, -1] = True
                last = np.arange(trials), stop.argmax(axis=1)
                figures = {"interval holds the rate": number(((low[last] <= p) & (p <= high[last])).mean(), trials)}
                if planned:
                    figures["sampling saved"] = number(1 - looks[last[1]].mean() / planned, trials)
                yield Row({"rate": p, "limit": limit, "half_width": narrow}, figures, seed)


def audit_of(
    host: Miniature, axis: Axis, preference: Preference, folder: Path, images: int, seed: int, **options
) -> dict:
    """The report of plain and corrected pictures; `options`: settings of the Plan."""
    plan = Plan(axis, images, seed=seed, strengths=(1.0,), **options)
    run = Audit(host, plan, judges_of(host, axis), [preference])
    report, _ = publish(run, run.run(folder / "pictures"), folder)
    return report


def failures(options: Options) -> Iterator[Row]:
    """In how many groups the report names each planted failure, and what it names of the shipped corrector."""
    host, axis, shipped = shipped_world(options)
    seed, images = options.seed or SEED, options.count(40, quick=8)
    for cfg in (2.0, 7.0):
        for name in (*FAILURES, "none: the shipped one"):
            preference = planted(host, axis, name) if name in FAILURES else shipped
            with tempfile.TemporaryDirectory() as folder:
                report = audit_of(host, axis, preference, Path(folder), images, seed, cfgs=(cfg,))
            named = {(f["group"], f["name"]) for f in report["findings"] if f["level"] == "failure"}
            figures = {"named": share((group, name) in named for group in axis.groups)}
            if name not in FAILURES:
                figures = {"failures named": number(len(named), len(axis.groups))}
            yield Row({"failure": name, "cfg": cfg, "pictures_a_group": images}, figures, seed)


def shipped_world(options: Options) -> tuple[Miniature, Axis, Preference]:
    axis = load_axis(ROOT / "axes" / "miniature-backdrop.json")
    preference = load_preference(SHIPPED)
    host = Miniature(bf16=True)
    if options.quick:
        axis, host.steps = replace(axis, groups=axis.groups[:1]), 6
    return host, axis, preference


PARTS = {"coverage": coverage, "failures": failures}
