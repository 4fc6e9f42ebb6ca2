"""The correction where people work: `python benchmarks/sampling_settings.py --json FILE`.

Cells of CFG scale, steps and sampler, through diffusers' own pipeline and schedulers, for the groups of each axis of a
drawn world. Corrected pictures are measured beside the plain ones of the same seeds, and beside what the model draws if
the prompt asks for the counter side. Wordings that no training saw.

Frechet distances are of 64 pooled latent features, over those of the plain pictures. *Tone kept*: to counter-prompt
pictures weighed so that their mean lightness of skin is the plain pictures', which is what correction aims at. *Fine
ones stay*: the same of the plain pictures if only those with the stereotype are replaced, by the counter prompts' own;
nothing that leaves fine pictures as they are can be much nearer. *Without tone*: of a correction without the tone push,
to counter-prompt pictures as they are.
"""

import argparse
import json
import logging
import sys
import time
from dataclasses import replace
from pathlib import Path

import diffusers
import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import tables  # noqa: E402
from benchmarks.worlds import WORLDS  # noqa: E402
from corrector.auditing import statistics as audit  # noqa: E402
from corrector.hosts.diffusers import corrected  # noqa: E402
from corrector.latents.statistics import features, frechet  # noqa: E402
from corrector.preference.file import load_preference  # noqa: E402

SAMPLERS = {
    "Euler": ("EulerDiscreteScheduler", dict(use_karras_sigmas=True)),
    "Euler ancestral": ("EulerAncestralDiscreteScheduler", {}),
    "DPM++ 2M": ("DPMSolverMultistepScheduler", dict(use_karras_sigmas=True)),
    "DPM++ 2M SDE": ("DPMSolverMultistepScheduler", dict(use_karras_sigmas=True, algorithm_type="sde-dpmsolver++")),
    "DDIM": ("DDIMScheduler", dict(clip_sample=False)),  # as in SD's own configuration
    "UniPC": ("UniPCMultistepScheduler", dict(use_karras_sigmas=True)),
    "LCM": ("LCMScheduler", {}),
}
CELLS = (  # sampler, CFG scale, steps
    *(("Euler", cfg, 16) for cfg in (2.0, 7.0, 1.0, 4.0, 9.0)),
    *(("Euler", 7.0, steps) for steps in (6, 8, 30, 50)),
    ("LCM", 1.0, 4),
    *((sampler, 7.0, 16) for sampler in ("Euler ancestral", "DPM++ 2M", "DPM++ 2M SDE", "DDIM", "UniPC")),
)
BATCH = 50
ENOUGH = 0.1  # share of counter-prompt pictures that weights must leave, as Kish's effective number
COLUMNS = {  # of the printed table: heading, figure, digits
    "plain rate": ("plain: rate", 2),
    "corrected": ("rate", 3),
    "counter prompts": ("counter prompts: rate", 3),
    "group kept": ("group kept", 3),
    "by counter prompts": ("counter prompts: group kept", 3),
    "skin L* drift": ("skin L* drift", 2),
    "counter prompt's": ("counter prompts: skin L* over plain", 1),
    "Frechet, tone kept": ("Frechet distance, tone kept", 3),
    "fine ones stay": ("Frechet distance, tone kept, if fine ones stay", 3),
    "without tone": ("Frechet distance, without tone", 3),
    "spread": ("spread", 3),
    "99th percentile": ("99th percentile", 3),
    "fine pictures": ("change of fine pictures, RMS", 3),
}

WORST = {  # of the printed summary: heading, figure, its best value, digits
    "corrected": ("rate", 0, 3),
    "group kept": ("group kept", 1, 2),
    "skin L* drift": ("skin L* drift", 0, 2),
    "counter prompt's": ("counter prompts: skin L* over plain", 0, 1),
    "spread": ("spread", 1, 2),
    "99th percentile": ("99th percentile", 1, 2),
    "fine pictures": ("change of fine pictures, RMS", 0, 2),
}


class Bench:
    def __init__(self, args):
        self.args, self.world, self.rows, self.started = args, WORLDS[args.world], [], time.time()
        options = {"lora": args.lora} if args.lora else {}
        self.host, self.drawn = self.world.host(**options), {}
        self.pipe, self.config = self.host.pipe, self.host.pipe.scheduler.config
        self.pipe.set_progress_bar_config(disable=True)

    def say(self, figure, group, measured, n, **about):
        self.rows.append(tables.row(figure, group, measured, n, self.args.seed, **about))
        if self.args.json:
            self.args.json.write_text(json.dumps(self.rows, indent=1) + "\n")  # after each row, if interrupted

    def sample(self, prompts, seeds, cell, preference=None):
        """Latents [N, C, H, W] on the CPU, in bfloat16 by autocast."""
        (kind, options), cfg, steps = SAMPLERS[cell[0]], *cell[1:]
        made = []
        for start in range(0, len(seeds), BATCH):
            self.pipe.scheduler = getattr(diffusers, kind).from_config(self.config, **options)
            noise = self.host.noise(seeds[start : start + BATCH])
            call = dict(
                prompt=prompts[start : start + BATCH], latents=noise, guidance_scale=cfg, num_inference_steps=steps,
                output_type="latent", generator=torch.Generator().manual_seed(seeds[start]),
            )  # fmt: skip
            with torch.autocast("cpu", torch.bfloat16):
                if preference is None:
                    made.append(self.pipe(**call).images)
                else:
                    with corrected(self.pipe, preference):
                        made.append(self.pipe(**call).images)
        return torch.cat(made).float()

    def without(self, prompts, seeds, cell):
        """`sample` without correction, once for the same arguments."""
        key = tuple(prompts), tuple(seeds), cell
        if key not in self.drawn:
            self.drawn[key] = self.sample(prompts, seeds, cell)
        return self.drawn[key]

    def seen(self, attribute, latents):
        """-> (labels of the attribute, labels of the group, lightness of skin)."""
        pictures = torch.cat([self.host.decode(part) for part in latents.split(BATCH)])
        read = self.host.reader.read(pictures)
        return read[attribute], read["group"], self.world.lightness(pictures)

    def cell(self, attribute, preference, group, cell):
        """Measure a cell: the rate on n pictures, the rest on `--few` of them."""
        stereotype, counter = self.world.sides[attribute]
        n, few = self.args.n, min(self.args.n, self.args.few)
        about = {"axis": attribute, "sampler": cell[0], "cfg": cell[1], "steps": cell[2]}
        base = self.args.seed + 100_000 * self.world.groups.index(group)
        prompts, seeds = self.world.prompts(group, n), list(range(base, base + n))
        asking = self.world.prompts(group, few, attribute, counter)
        ours = self.sample(prompts, seeds, cell, preference)
        plain, wanted = (self.without(texts, seeds[:few], cell) for texts in (prompts[:few], asking))
        labels, groups, tones = self.seen(attribute, ours)
        before, _, dark = self.seen(attribute, plain)
        asked, asked_groups, light = self.seen(attribute, wanted)
        fine = torch.tensor([label == counter for label in before])

        def say(figure, measured, count=few, **more):
            self.say(figure, group, measured, count, **about, **more)

        def rate(found, wrong):
            return audit.rate(sum(label in wrong for label in found), len(found))

        wrong = {stereotype, "unreadable"}
        say("plain: rate", rate(before, wrong))
        say("counter prompts: rate", rate(asked, wrong))
        say("rate", rate(labels, wrong), n)
        say("group kept", rate(groups, {group}), n)
        say("counter prompts: group kept", rate(asked_groups, {group}))
        say("skin L* drift", audit.mean(tones[:few] - dark))
        say("counter prompts: skin L* over plain", audit.mean(light - dark))
        weights, own = tilted(light, float(np.mean(dark))), features(wanted)
        replaced = torch.where(fine[:, None, None, None], plain, wanted)
        far, near, least = (frechet(features(some), own, weights) for some in (plain, ours[:few], replaced))
        effective = 1 / float(np.square(weights).sum())
        if effective > ENOUGH * few:  # otherwise the model hardly draws counter pictures of that tone
            kept = dict(plain=round(far, 2), effective_n=round(effective))
            say("Frechet distance, tone kept", (near / far,) * 3, **kept)
            say("Frechet distance, tone kept, if fine ones stay", (least / far,) * 3)
        if self.args.without_tone:
            toneless = replace(
                preference, calibrations=tuple(replace(one, tone=0.0) for one in preference.calibrations)
            )
            bare = self.sample(prompts[:few], seeds[:few], cell, toneless)
            far, near = (frechet(features(some), own) for some in (plain, bare))
            say("Frechet distance, without tone", (near / far,) * 3, plain=round(far, 2))
        say("spread", (float(ours[:few].std() / wanted.std()),) * 3)
        ends = [np.quantile(latents.abs(), 0.99) for latents in (ours[:few], wanted)]
        say("99th percentile", (float(ends[0] / ends[1]),) * 3)
        if fine.any():
            change = audit.latent_change(plain[fine], ours[:few][fine], plain.std())
            say("change of fine pictures, RMS", audit.mean(change), int(fine.sum()))
        where = f"{attribute}, {group}, {cell[0]}, CFG {cell[1]:g}, {cell[2]} steps"
        print(f"[{time.time() - self.started:5.0f} s] {where}", flush=True)


def tilted(values, wanted):
    """Weights [N], exp(a * value) up to a factor, with which the mean of `values` [N] is as near `wanted` as can be.

    They are those of the distribution nearest to the values' own that has this mean (exponential tilting).
    """
    from scipy.optimize import minimize_scalar

    centred = (values - values.mean()) / max(float(values.std()), 1e-9)

    def weights(a):
        raw = np.exp(a * centred - np.max(a * centred))
        return raw / raw.sum()

    best = minimize_scalar(lambda a: (weights(a) @ values - wanted) ** 2, bounds=(-4, 4), method="bounded")
    return weights(best.x)


def markdown(rows):
    """Rows of the benchmark as a table, one line a group and cell."""
    cells = {}
    for row in rows:
        where = row["axis"], row["group"], row["sampler"], row["cfg"], row["steps"]
        cells.setdefault(where, {})[row["figure"]] = row
    names = [name for name, (figure, _) in COLUMNS.items() if any(figure in found for found in cells.values())]
    heads = ["axis, group", "sampler, CFG, steps", "n", *names]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for (axis, group, sampler, cfg, steps), found in cells.items():
        texts = [f"{axis}, {group}", f"{sampler}, {cfg:g}, {steps}", str(found["rate"]["n"])]
        for figure, digits in (COLUMNS[name] for name in names):
            row = found.get(figure)
            texts.append("-" if row is None else _number(row, digits))
        lines.append("| " + " | ".join(texts) + " |")
    return "\n".join(lines)


def worst(rows):
    """Rows of the benchmark as a table, one line an axis and cell: each figure of the group where it is worst."""
    cells = {}
    for row in rows:
        where = row["axis"], row["sampler"], row["cfg"], row["steps"]
        cells.setdefault(where, {}).setdefault(row["figure"], []).append(row)
    lines = ["| axis | sampler, CFG, steps | " + " | ".join(WORST) + " |", "|" + "---|" * (len(WORST) + 2)]
    for (axis, sampler, cfg, steps), found in cells.items():
        texts = [axis, f"{sampler}, {cfg:g}, {steps}"]
        for figure, ideal, digits in WORST.values():
            values = [row["value"] for row in found.get(figure, ())]
            texts.append(f"{max(values, key=lambda value: abs(value - ideal)):.{digits}f}" if values else "-")
        lines.append("| " + " | ".join(texts) + " |")
    return "\n".join(lines)


def _number(row, digits):
    text = f"{row['value']:.{digits}f}"
    if row["low"] < row["high"]:  # not a bare number, and of more than one picture
        text += f" [{row['low']:.{digits}f}, {row['high']:.{digits}f}]"
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=100, help="corrected pictures per group and cell")
    parser.add_argument("--few", type=int, default=200, help="of them, that are drawn plain and for counter prompts")
    parser.add_argument("--seed", type=int, default=150_000_000)
    parser.add_argument("--world", choices=WORLDS, default="miniature")
    parser.add_argument("--axis", nargs="+", help="attributes; all of the world")
    parser.add_argument("--groups", nargs="+", help="all that the model draws as a stereotype in 5 %% or more")
    parser.add_argument("--cells", type=int, nargs="+", default=range(len(CELLS)), help="numbers of cells; all")
    parser.add_argument("--without-tone", action="store_true", help="also a correction without the tone push")
    parser.add_argument("--lora", type=Path, help="LoRA file that makes the miniature a derivative")
    parser.add_argument("--preferences", type=Path, default=ROOT / "weights", help="folder of WORLD-AXIS.safetensors")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    bench = Bench(args)
    for which in args.cells:
        for attribute in args.axis or bench.world.sides:
            preference = load_preference(args.preferences / f"{args.world}-{attribute}.safetensors")
            for group in preference.axis.groups:
                if group in (args.groups or [group]):
                    bench.cell(attribute, preference, group, CELLS[which])
    print(f"\nMeasured in {time.time() - bench.started:.0f} s.\n" + markdown(bench.rows) + "\n\n" + worst(bench.rows))


if __name__ == "__main__":
    main()
