"""The audit's own figures: `python benchmarks/audit.py --json FILE`.

Intervals that hold the true rate though audits stop early, and what that saves, by simulation; and on the miniature:
the latent judge against the reader, the audit's cost beyond sampling and decoding, and the page of 400 pictures.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from corrector.audit import enough, rate  # noqa: E402
from corrector.audit_plan import CHUNK  # noqa: E402

RATES = (0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99)
WIDTHS = (0.03, 0.05, 0.08, 0.1)  # half of the interval
MOST = (60, 100, 200, 400)  # pictures a group


@cache
def intervals(n):
    """Intervals of n pictures by successes 0..n, [n + 1, 2]."""
    return np.array([rate(k, n)[1:] for k in range(n + 1)])


@cache
def looks_at(n, narrow):
    """What the audit sees of n pictures, by successes 0..n -> (whether it may stop, low, high), arrays [n + 1]."""
    return np.array([enough(k, n, narrow) for k in range(n + 1)]), *intervals(n).T


def simulate(rng, p, most, narrow, trials):
    """Audits of a model whose rate is p -> (share of intervals that hold it, mean pictures, mean half width)."""
    looks = np.arange(CHUNK, most + 1, CHUNK)
    counts = rng.binomial(CHUNK, p, size=(trials, len(looks))).cumsum(axis=1)
    seen = [[column[counts[:, i]] for column in looks_at(int(n), narrow)] for i, n in enumerate(looks)]
    stop, low, high = (np.stack(column, axis=1) for column in zip(*seen, strict=True))  # [trials, looks]
    stop[:, -1] = True
    last = stop.argmax(axis=1)
    low, high = (column[np.arange(trials), last] for column in (low, high))
    return ((low <= p) & (p <= high)).mean(), looks[last].mean(), (high - low).mean() / 2


def needed(narrow, most):
    """Pictures that give this half width whatever the rate is, and must be planned for without looking; else None."""
    return next((n for n in range(CHUNK, most + 1, CHUNK) if enough(n // 2, n, narrow)), None)


def coverage(trials, seed):
    rng, rows = np.random.default_rng(seed), []
    for most in MOST:
        for narrow in WIDTHS:
            for p in RATES:
                held, pictures, half = simulate(rng, p, most, narrow, trials)
                planned = needed(narrow, most)
                saved = 1 - pictures / planned if planned else np.nan  # so few can never be that sure
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


def on_the_miniature(images, seed, folder):
    """An audit of the shipped preference on three groups: judge, cost and page."""
    from corrector.audit_judges import ReaderJudge, latent_judge
    from corrector.audit_page import publish
    from corrector.audit_plan import Plan
    from corrector.audit_run import Audit
    from corrector.axis import load_axis
    from corrector.files import load_preference
    from corrector.miniature.host import Miniature

    axis, host = load_axis(ROOT / "axes" / "miniature-backdrop.json"), Miniature(bf16=True)
    shipped = load_preference(ROOT / "weights" / "miniature-backdrop.safetensors")
    judges = [latent_judge(shipped, [shipped.hash]), ReaderJudge(host.reader, axis)]
    run = Audit(host, Plan(axis, images, None, seed, strengths=(1.0,)), judges, [shipped])
    store = run.run(folder / "pictures")
    clock, started = run.clock, time.perf_counter()
    report, _ = publish(run, store, folder)
    publishing = time.perf_counter() - started
    rows = [{"figure": "audit beyond sampling and decoding", "value": round(clock.total / clock.sampling - 1, 4),
             "report_and_page_s": round(publishing, 1), "n": clock.sampled, "seed": seed}]  # fmt: skip
    rates = {}
    for row in report["figures"]:
        if row["figure"] == "stereotype rate":
            rates[row["group"], row["strength"], row["judge"]] = row
    for (group, strength, judge), row in rates.items():
        if judge == "latent":
            off = row["value"] - rates[group, strength, "reader"]["value"]
            rows.append({"figure": "latent judge's rate less the reader's", "group": group, "strength": strength,
                         "value": round(off, 4), "n": row["n"], "seed": seed})  # fmt: skip
    rows += page(folder / "audit.html")
    rows.append({"figure": "findings", "value": [f"{f['level']}: {f['words']}" for f in report["findings"]]})
    for row in rows:
        print(row, flush=True)
    return rows


def page(path):
    """Size of the page, and seconds until Chromium has loaded and laid it out."""
    from playwright.sync_api import sync_playwright

    rows = [{"figure": "page, MB", "value": round(path.stat().st_size / 2**20, 2)}]
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for width in (380, 1600):
            tab = browser.new_page(viewport={"width": width, "height": 900})
            started = time.perf_counter()
            tab.goto(path.as_uri(), wait_until="load")
            seconds, pictures = time.perf_counter() - started, tab.evaluate("document.images.length")
            tab.screenshot(path=path.with_name(f"page-{width}.png"))
            rows.append({"figure": f"page opens at {width} px, s", "value": round(seconds, 2), "pictures": pictures})
        browser.close()
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=10_000, help="simulated audits a cell")
    parser.add_argument(
        "--images", type=int, default=100, help="neutral pictures a group on the miniature; 0 leaves it"
    )
    parser.add_argument("--seed", type=int, default=20_000_004)
    parser.add_argument("--out", type=Path, help="keep the miniature's audit here")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = coverage(args.trials, args.seed) if args.trials else []
    if args.images:
        with tempfile.TemporaryDirectory() as folder:
            rows += on_the_miniature(args.images, args.seed, args.out or Path(folder))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
