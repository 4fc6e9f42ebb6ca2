"""Benchmark of the audit: `python benchmarks/audit.py --json FILE`.

By simulation: coverage of the intervals despite early stopping, and the sampling that it saves. On the miniature: the
latent judge against the reader, the cost beyond sampling and decoding, the page of 400 pictures, and correctors that
are wrong on purpose.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from unittest.mock import patch

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from corrector.auditing.plan import CHUNK  # noqa: E402
from corrector.auditing.statistics import enough  # noqa: E402
from corrector.latents.statistics import rate  # noqa: E402

RATES = (0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99)
WIDTHS = (0.03, 0.05, 0.08, 0.1)  # half-widths
MOST = (60, 100, 200, 400)  # maximum number of pictures per group


@cache
def intervals(n):
    """Wilson intervals of n pictures for 0..n successes [n + 1, 2]."""
    return np.array([rate(k, n)[1:] for k in range(n + 1)])


@cache
def looks_at(n, narrow):
    """For 0..n successes of n pictures: (whether the audit may stop, low, high), arrays [n + 1]."""
    return np.array([enough(k, n, narrow) for k in range(n + 1)]), *intervals(n).T


def simulate(rng, p, most, narrow, trials):
    """Simulate audits of a model with rate p -> (coverage of the intervals, mean pictures, mean half-width)."""
    looks = np.arange(CHUNK, most + 1, CHUNK)
    counts = rng.binomial(CHUNK, p, size=(trials, len(looks))).cumsum(axis=1)
    seen = [[column[counts[:, i]] for column in looks_at(int(n), narrow)] for i, n in enumerate(looks)]
    stop, low, high = (np.stack(column, axis=1) for column in zip(*seen, strict=True))  # [trials, looks]
    stop[:, -1] = True
    last = stop.argmax(axis=1)
    low, high = (column[np.arange(trials), last] for column in (low, high))
    return ((low <= p) & (p <= high)).mean(), looks[last].mean(), (high - low).mean() / 2


def needed(narrow, most):
    """Pictures needed for this half-width at any rate, without early stopping; None if more than `most`."""
    return next((n for n in range(CHUNK, most + 1, CHUNK) if enough(n // 2, n, narrow)), None)


def coverage(trials, seed):
    rng, rows = np.random.default_rng(seed), []
    for most in MOST:
        for narrow in WIDTHS:
            for p in RATES:
                held, pictures, half = simulate(rng, p, most, narrow, trials)
                planned = needed(narrow, most)
                saved = 1 - pictures / planned if planned else np.nan  # not reachable with `most` pictures
                numbers = {"value": held, "pictures": pictures, "half_width": half, "saved": saved}
                numbers = {name: None if np.isnan(v) else round(float(v), 4) for name, v in numbers.items()}
                cell = {"figure": "interval holds the true rate", "p": p, "most": most, "narrow": narrow}
                rows.append(cell | numbers | {"n": trials, "seed": seed})
    values = [row["value"] for row in rows]
    edges = [row["saved"] for row in rows if min(row["p"], 1 - row["p"]) < 0.051 and row["saved"] is not None]
    print(f"{len(rows)} cells of {trials} audits, seed {seed}: intervals hold the true rate in {min(values):.4f} to "
          f"{max(values):.4f}; sampling saved at rates within 0.05 of 0 or 1: {min(edges):.2f} to {max(edges):.2f}, "
          f"median {np.median(edges):.2f}", flush=True)  # fmt: skip
    return rows


def audit_of(host, axis, preference, folder, images, seed, more=(), explicit=None, cfg=2.0):
    """Audit plain and corrected pictures by the shipped judge, the reader and `more` judges -> (Audit, its store)."""
    from corrector.auditing.judges import ReaderJudge, latent_judge
    from corrector.auditing.plan import Plan
    from corrector.auditing.run import Audit
    from corrector.preference.file import load_preference

    shipped = load_preference(ROOT / "weights" / "miniature-backdrop.safetensors")
    preference = preference or shipped
    judges = [latent_judge(shipped, [preference.hash]), ReaderJudge(host.reader, axis), *more]
    plan = Plan(axis, images, explicit, seed, cfgs=(cfg,), strengths=(1.0,))
    run = Audit(host, plan, judges, [preference])
    return run, run.run(folder / "pictures")


def judge(host, axis, folder, images, seed):
    """Difference of the latent judges' rates to the reader's, by group, plain and corrected.

    The judges are the one in the preference file, and one as an audit trains it if no preference has any.
    """
    from corrector.auditing.judges import JUDGE_PAIRS, trained_judge
    from corrector.auditing.page import publish
    from corrector.learning.pairs import make_pairs

    own = seed + 1_000_003
    trained = trained_judge(make_pairs(host, axis, JUDGE_PAIRS, own, 2.0, 16, folder=folder / "judge-pairs"), own)
    trained.name = trained.about["name"] = "trained for the audit"
    run, store = audit_of(host, axis, None, folder, images, seed, [trained], explicit=50)
    report, _ = publish(run, store, folder)
    rates = {
        (row["group"], row["strength"], row["judge"]): row
        for row in report["figures"]
        if row["figure"] == "stereotype rate"
    }
    rows = []
    for (group, strength, name), row in rates.items():
        if name != "reader":
            truth = rates[group, strength, "reader"]
            where = {"judge": name, "group": group, "strength": strength}
            both = {"its_rate": interval(row), "readers_rate": interval(truth), "n": row["n"], "seed": seed}
            off = round(row["value"] - truth["value"], 4)
            rows.append({"figure": "judge's rate less the reader's", "value": off, **where, **both})
    words = [f"{f['level']}: {f['words']}" for f in report["findings"]]
    return [*rows, {"figure": "findings of that audit", "value": words, "n": images, "seed": seed}]


def interval(row):
    return [row["value"], row["low"], row["high"]]


def cost(host, axis, folder, images, seed):
    """Cost of an audit beyond sampling and decoding: judging, measuring, saving, and the report with its page."""
    from corrector.auditing.page import publish

    sampling = []

    def timed(function):
        def call(*args, **options):
            started = time.perf_counter()
            result = function(*args, **options)
            sampling.append(time.perf_counter() - started)
            return result

        return call

    host.sample(host.encode(["a portrait"] * 20), range(20))  # warm-up
    with patch.object(host, "sample", timed(host.sample)), patch.object(host, "decode", timed(host.decode)):
        started = time.perf_counter()
        run, store = audit_of(host, axis, None, folder, images, seed)
        total = time.perf_counter() - started
    started = time.perf_counter()
    report, _ = publish(run, store, folder)
    publishing, sampling = time.perf_counter() - started, sum(sampling)
    row = {"value": round((total + publishing) / sampling - 1, 4), "sampling_s": round(sampling, 1)}
    row |= {"judging_s": round(total - sampling, 2), "report_and_page_s": round(publishing, 2)}
    return [{"figure": "audit beyond sampling and decoding", **row, "n": len(report["pictures"]), "seed": seed}]


def page(host, axis, folder, seed, tries=5):
    """The page of 400 pictures: its size, and the seconds until Chromium has loaded and drawn it."""
    from playwright.sync_api import sync_playwright

    from corrector.auditing.page import publish

    run, store = audit_of(host, axis, None, folder, 67, seed)
    publish(run, store, folder)
    path, rows = folder / "audit.html", []
    rows.append({"figure": "page, MB", "value": round(path.stat().st_size / 2**20, 2), "n": 1, "seed": seed})
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for width in (380, 1600):
            seconds, errors = [], []
            for _ in range(tries):
                tab = browser.new_page(viewport={"width": width, "height": 900})
                tab.on("console", lambda said, errors=errors: errors.extend([said.text] * (said.type == "error")))
                tab.on("pageerror", lambda error, errors=errors: errors.append(str(error)))
                started = time.perf_counter()
                tab.goto(path.as_uri(), wait_until="load")
                tab.screenshot()
                seconds.append(time.perf_counter() - started)
                seen = tab.evaluate("[document.images.length, document.documentElement.scrollWidth]")
                tab.close()
            row = {"value": round(float(np.median(seconds)), 2), "low": round(min(seconds), 2)}
            row |= {"high": round(max(seconds), 2), "pictures": seen[0], "wider_than_the_window": seen[1] > width}
            row |= {"console_errors": len(errors), "n": tries, "seed": seed}
            rows.append({"figure": f"page opens and is drawn at {width} px, s", **row})
        browser.close()
    return rows


def failures(host, axis, folder, images, seed):
    """Findings of the report for five correctors that are wrong on purpose, and for the shipped one."""
    from benchmarks.planted import FAILURES, planted
    from corrector.auditing.report import build

    rows = []
    for cfg in (2.0, 7.0):
        for name in (*FAILURES, "the shipped one, which has none"):
            own = planted(host, axis, name) if name in FAILURES else None
            run, store = audit_of(host, axis, own, folder / f"{name} {cfg:g}", images, seed, cfg=cfg)
            records, features, _ = store.collect(run.plan, "latent")
            found = [f for f in build(run, records, features)["findings"] if f["level"] == "failure"]
            names, groups = sorted({f["name"] for f in found}), [f["group"] for f in found if f["name"] == name]
            value = {"value": bool(groups) if own else not names, "named_for": groups, "all_failures": names}
            rows.append({"figure": f"planted failure: {name}", "cfg": cfg, **value, "n": images, "seed": seed})
    return rows


PARTS = "coverage", "judge", "cost", "page", "failures"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to run; rows of others are kept")
    parser.add_argument("--trials", type=int, default=10_000, help="simulated audits per cell")
    parser.add_argument("--images", type=int, default=1000, help="neutral pictures per group for the judge")
    parser.add_argument("--seed", type=int, default=20_000_004)
    parser.add_argument("--out", type=Path, help="folder of the audits, from which an interrupted run resumes")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    from corrector.axis.axis import load_axis
    from corrector.miniature.host import Miniature

    axis, host = load_axis(ROOT / "axes" / "miniature-backdrop.json"), Miniature(bf16=True)
    with tempfile.TemporaryDirectory() as temporary:
        out = args.out or Path(temporary)
        made = {
            "coverage": lambda: coverage(args.trials, args.seed),
            "judge": lambda: judge(host, axis, out / "judge", args.images, args.seed),
            "cost": lambda: cost(host, axis, Path(temporary) / "cost", 100, args.seed),
            "page": lambda: page(host, axis, out / "page", args.seed),
            "failures": lambda: failures(host, axis, out / "failures", 40, args.seed),
        }
        rows = json.loads(args.json.read_text()) if args.json and args.json.exists() else []
        for part in args.only:
            own = [{"part": part, **row} for row in made[part]()]
            for row in own if part != "coverage" else ():
                print(row, flush=True)
            rows = [row for row in rows if row["part"] != part] + own
            if args.json:
                args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
