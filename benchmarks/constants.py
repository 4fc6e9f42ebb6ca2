"""What the constants of the update matter: `python benchmarks/constants.py --json FILE`.

Each is halved and doubled, with everything else as it ships (no new calibration), on the miniature: where it was
calibrated and where it was not. The table shows what it changes.
"""

import argparse
import json
import logging
import sys
from contextlib import nullcontext
from pathlib import Path
from unittest import mock

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.sampling_settings import Bench  # noqa: E402
from corrector.correction import update  # noqa: E402
from corrector.preference import networks  # noqa: E402
from corrector.preference.file import load_preference  # noqa: E402

CONSTANTS = {"MARGIN": update, "LATE": update, "CLOSED": update, "LOWEST_SIGMA": networks}
FACTORS = (0.5, 2.0)
CELLS = (("Euler", 1.0, 16), ("Euler", 2.0, 16), ("Euler", 7.0, 16), ("DPM++ 2M SDE", 7.0, 16))
FIGURES = {
    "rate": "rate", "Frechet distance, tone kept": "Frechet", "skin L* drift": "L*", "spread": "spread",
    "change of fine pictures, RMS": "fine",
}  # fmt: skip


def markdown(rows):
    """One line a constant and value, one column a cell: the figures of all groups."""
    found = {}
    for row in rows:
        if row["figure"] in FIGURES:
            cell = f"{row['sampler']}, CFG {row['cfg']:g}"
            line = found.setdefault((row["constant"], row["constant_value"]), {})
            line.setdefault(cell, {}).setdefault(row["figure"], []).append(row["value"])
    cells = list(next(iter(found.values())))
    lines = ["| constant | " + " | ".join(cells) + " |", "|" + "---|" * (1 + len(cells))]
    for (name, value), line in found.items():
        texts = []
        for cell in cells:
            parts = [f"{FIGURES[figure]} {_worst(values):.3f}" for figure, values in line[cell].items()]
            texts.append(", ".join(parts))
        lines.append(f"| {name} {value} | " + " | ".join(texts) + " |")
    return "\n".join(lines)


def _worst(values):
    return max(values, key=abs)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=50, help="pictures per group and cell")
    parser.add_argument("--seed", type=int, default=180_000_000)
    parser.add_argument("--groups", nargs="+", default=["Orvane", "Tavelu"])
    parser.add_argument("--preferences", type=Path, default=ROOT / "weights")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    preference = load_preference(args.preferences / "miniature-backdrop.safetensors")
    path, args.json = args.json, None  # the rows are written here, with the constants
    settings = dict(few=args.n, world="miniature", lora=None, without_tone=False)
    bench, rows = Bench(argparse.Namespace(**vars(args), **settings)), []
    changes = {("as they ship", ""): nullcontext()}
    for name, module in CONSTANTS.items():
        for value in (factor * getattr(module, name) for factor in FACTORS):
            changes[name, value] = mock.patch.object(module, name, value)
    for (name, value), change in changes.items():
        with change:
            for cell in CELLS:
                for group in args.groups:
                    bench.cell("backdrop", preference, group, cell)
        rows += [row | {"constant": name, "constant_value": value} for row in bench.rows[len(rows) :]]
        if path:
            path.write_text(json.dumps(rows, indent=1) + "\n")
    print(markdown(rows))


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
