"""What learning takes, and what each of its states does: evaluations of the model, and pictures.

In both drawn worlds and on the flow miniature. Pictures are those of all groups at CFG 2 and 7 in 16 steps of Euler; a
row has the worst group. All states but the last are not calibrated. The gate of the first seed serves all.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

import corrector
from benchmarks.cells import SEED, measure
from benchmarks.measuring import Options, number
from benchmarks.records import ROOT, Row
from benchmarks.studio import Cell, axis_of, studio_of
from corrector.learning.pairs import steps_of
from corrector.preference.preference import Preference

LEARNED = {"miniature": "backdrop", "second": "work", "flow": "backdrop"}  # attribute by world
SEEDS = (0, 1, 2)
CFGS = (2.0, 7.0)
FIGURES = {  # of a cell, with the value that is best
    "corrected": 0.0, "unreadable": 0.0, "skin L* drift": 0.0, "spread": 1.0, "99th percentile": 1.0,
    "change of fine pictures": 0.0,
}  # fmt: skip


def states(options: Options) -> Iterator[Row]:
    """Each state of learning, and the default one calibrated."""
    for world, attribute in LEARNED.items():
        gate = None
        for seed in SEEDS[: 1 if options.quick else None]:
            studio, axis = studio_of(world, ""), axis_of(world, attribute)
            made: list[tuple[str, Preference, int]] = []

            def kept(preference: Preference, first=studio.rows, made=made, studio=studio) -> None:
                made.append((f"{preference.training['points']} points", preference, studio.rows - first))

            points = 384 if options.quick else 1000
            quick = dict(steps=1, check=False) if gate else {}
            corrector.learn(studio.host, axis, seed=seed, points=points, saved=kept, **quick)
            gate = gate or made[0][1].gate
            state, last, evaluations = made[-1]
            first = studio.rows - evaluations
            calibrated = corrector.calibrate(studio.host, last, steps=steps_of(studio.host))  # as `learn` on the shell
            made.append((f"{state}, calibrated", calibrated, studio.rows - first))
            for state, preference, evaluations in made:
                yield _measured(world, attribute, seed, state, replace(preference, gate=gate), evaluations, options)


def _measured(world, attribute, seed, state, preference, evaluations, options):
    name = f"learning-{world}-{attribute}"
    (ROOT / "runs").mkdir(exist_ok=True)
    corrector.save_preferences([preference], ROOT / "runs" / f"{name}.safetensors")
    figures = {"evaluations": number(evaluations), "update R2": number(preference.training["update_r2"])}
    cells = [
        Cell(attribute, group, world, cfg=cfg, learned=name, n=options.count(24), seed=SEED + 1000 * seed)
        for group in axis_of(world, attribute).groups[: 1 if options.quick else None]
        for cfg in CFGS
    ]
    studio = studio_of(world, "")
    measured = [measure(cell).figures for cell in cells]
    studio.drawn = {key: drawn for key, drawn in studio.drawn.items() if not key[-1]}  # without what this one drew
    for figure, best in FIGURES.items():
        values = [row[figure] for row in measured if figure in row and not math.isnan(row[figure].value)]
        if values:
            figures[figure] = max(values, key=lambda each: abs(each.value - best))
    return Row({"world": world, "axis": attribute, "state": state}, figures, seed)


PARTS = {"states": states}
