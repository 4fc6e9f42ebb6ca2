"""`python -m benchmarks NAME [PART ...]` measures and writes benchmarks/figures/NAME.json.

`python -m benchmarks --docs` writes the tables, plots and figures of the documentation from those files again.

NAME is a module of this folder; its docstring says what it measures and needs. Rows are printed as they come; a part's
rows replace those in the file once all are there.
"""

import argparse
import json
import logging
import os
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path

from benchmarks import records

NAMES = ("cells", "learning", "peers", "gate", "overhead", "flops", "memory", "audit", "verdict", "gpu", "demo")
QUICK = records.ROOT / "runs" / "quick"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="?", choices=NAMES, help="what to measure")
    parser.add_argument("parts", nargs="*", metavar="PART", help="parts of it; all by default")
    parser.add_argument("--n", type=int, help="pictures in place of the benchmark's own number")
    parser.add_argument("--seed", type=int, help="the first seed in place of the benchmark's own")
    parser.add_argument("--quick", action="store_true", help=f"only try it: few pictures, written to {QUICK}")
    parser.add_argument("--docs", action="store_true", help="write the documentation's figures again; measure nothing")
    args = parser.parse_args()
    if args.docs or not args.name:
        if not args.docs:
            parser.error("give a name, or --docs")
        from benchmarks.pages import write_pages

        write_pages()
        return
    logging.disable(logging.WARNING)
    os.environ["HF_HUB_OFFLINE"] = "1"
    measure(args.name, args.parts, QUICK if args.quick else records.FIGURES, args.n, args.seed, args.quick)


def measure(name: str, parts: list[str], folder: Path, n: int | None, seed: int | None, quick: bool) -> None:
    """Run parts of a benchmark and write its file after each."""
    from benchmarks.measuring import Options

    available = import_module(f"benchmarks.{name}").PARTS
    if unknown := [part for part in parts if part not in available]:
        raise SystemExit(f"{name} has no part {unknown[0]!r}; its parts are: {', '.join(available)}")
    for part in parts or available:
        empty, rows = records.measured_here([]), []  # the commit at the start
        for row in available[part](Options(n, seed, quick)):
            rows.append(row)
            print(part, json.dumps(asdict(row)), flush=True)
        records.save(name, records.load(name, folder) | {part: replace(empty, rows=rows)}, folder)


if __name__ == "__main__":
    main()
