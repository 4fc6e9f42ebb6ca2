"""How well the first step of a run tells how its pictures come out: `python benchmarks/chances.py --json FILE`.

The miniature and its derivatives, with the preferences that ship, which are calibrated on the miniature: the share of
counter pictures that is drawn, beside what chances say and the calibration's base rate; and how well the lean tells
pictures apart, with what guidance adds and without (the area under the ROC curve). Wordings that no training saw.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.stats import mannwhitneyu

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import derivatives, tables  # noqa: E402
from benchmarks.worlds import MINIATURE  # noqa: E402
from corrector.auditing import statistics as audit  # noqa: E402
from corrector.correction.decision import chances_of, groups_of  # noqa: E402
from corrector.correction.sampled import first_leans, readings_of  # noqa: E402
from corrector.preference.file import load_preference  # noqa: E402

MODELS = {"miniature": {}} | {
    name: {"lora": derivatives.FOLDER / f"miniature-{name}.safetensors"} for name in ("print", "rates")
}


def area(lean, counter):
    """The probability that a counter picture leans more to its side than another one; None without both kinds."""
    if counter.all() or not counter.any():
        return None
    return float(mannwhitneyu(lean[counter], lean[~counter]).statistic / (counter.sum() * (~counter).sum()))


def measured(host, preference, attribute, group, n, seed, cfg):
    """Figures of a group at a CFG scale -> {figure: (value, low, high)}."""
    counter, prompts = MINIATURE.sides[attribute][1], MINIATURE.prompts(group, n)
    seeds = range(seed + 100_000 * MINIATURE.groups.index(group), seed + 100_000 * MINIATURE.groups.index(group) + n)
    conditioning = host.encode(prompts)
    read = host.reader.read(host.decode(host.sample(conditioning, seeds, cfg)))[attribute]
    drawn, groups = np.array([label == counter for label in read]), groups_of(readings_of(preference, conditioning))
    lean = first_leans(host, preference, conditioning, seeds, cfg)
    bare = replace(preference, calibrations=tuple(replace(c, lean_guidance=0.0) for c in preference.calibrations))
    belief = first_leans(host, bare, conditioning, seeds, cfg)
    said = chances_of(preference, groups, cfg, lean)
    known = preference.calibration(group, cfg)
    found = {
        "drawn": audit.rate(int(drawn.sum()), n),
        "by chances": audit.mean(said.numpy()),
        "base rate": (known.base_rate, *known.base_interval),
    }
    areas = {"told apart": area(lean.numpy(), drawn), "told apart by belief alone": area(belief.numpy(), drawn)}
    return found | {name: (value,) * 3 for name, value in areas.items() if value is not None}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--seed", type=int, default=310_000_000)
    parser.add_argument("--cfg", type=float, nargs="+", default=(2.0, 7.0))
    parser.add_argument("--models", nargs="+", choices=MODELS, default=tuple(MODELS))
    parser.add_argument("--json", type=Path)
    args, rows = parser.parse_args(), []
    for name in args.models:
        host = MINIATURE.host(**MODELS[name])
        for attribute in MINIATURE.sides:
            preference = load_preference(ROOT / "weights" / f"miniature-{attribute}.safetensors")
            for group in preference.axis.groups:
                for cfg in args.cfg:
                    about = {"model": name, "axis": attribute, "cfg": cfg}
                    found = measured(host, preference, attribute, group, args.n, args.seed, cfg)
                    rows += [tables.row(one, group, value, args.n, args.seed, **about) for one, value in found.items()]
                    said = ", ".join(f"{figure} {value:.3f}" for figure, (value, *_) in found.items())
                    print(f"{name}, {attribute}, {group}, CFG {cfg:g}: {said}", flush=True)
                    if args.json:
                        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
