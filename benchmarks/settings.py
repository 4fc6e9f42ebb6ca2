"""The correction where people work: `python benchmarks/settings.py --json FILE`.

Cells of CFG scale, steps and sampler, through diffusers' own pipeline and schedulers on the miniature, for each group
of both axes. Corrected pictures are measured beside the plain ones of the same seeds, and beside what the model draws
if the prompt asks for the counter side: Frechet distance (64 pooled latent features) over the plain pictures', spread
and 99th percentile of the latents. Wordings that no training saw.
"""

import argparse
import json
import logging
import sys
import time
from pathlib import Path

import diffusers
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import tables  # noqa: E402
from corrector.audit import statistics as audit  # noqa: E402
from corrector.hosts.diffusers import corrected  # noqa: E402
from corrector.latent_space.statistics import features, frechet  # noqa: E402
from corrector.miniature import prompts as wordings  # noqa: E402
from corrector.miniature.host import Miniature  # noqa: E402
from corrector.miniature.reader import skin_lightness  # noqa: E402
from corrector.miniature.world import GROUPS  # noqa: E402
from corrector.preference.file import load_preference  # noqa: E402

SIDES = {"backdrop": ("village", "city"), "attire": ("traditional", "modern")}
ASKING = {"backdrop": wordings.HELD_OUT_BACKDROP, "attire": wordings.HELD_OUT_ATTIRE}
SAMPLERS = {
    "Euler": ("EulerDiscreteScheduler", dict(use_karras_sigmas=True)),
    "Euler ancestral": ("EulerAncestralDiscreteScheduler", {}),
    "DPM++ 2M": ("DPMSolverMultistepScheduler", dict(use_karras_sigmas=True)),
    "DPM++ 2M SDE": ("DPMSolverMultistepScheduler", dict(use_karras_sigmas=True, algorithm_type="sde-dpmsolver++")),
    "DDIM": ("DDIMScheduler", {}),
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


class Bench:
    def __init__(self, args):
        self.n, self.seed, self.path, self.folder, self.rows = args.n, args.seed, args.json, args.preferences, []
        self.host, self.started = Miniature(), time.time()
        self.pipe, self.config = self.host.pipe, self.host.pipe.scheduler.config
        self.pipe.set_progress_bar_config(disable=True)

    def say(self, figure, group, measured, n, **about):
        self.rows.append(tables.row(figure, group, measured, n, self.seed, **about))
        if self.path:
            self.path.write_text(json.dumps(self.rows, indent=1) + "\n")  # after each row, in case of interruption

    def seeds(self, group):
        return [self.seed + 100_000 * GROUPS.index(group) + index for index in range(self.n)]

    def sample(self, prompts, seeds, sampler, cfg, steps, preference=None):
        """Latents [N, C, H, W] on the CPU, in bfloat16 by autocast."""
        kind, options = SAMPLERS[sampler]
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

    def cell(self, attribute, preference, group, sampler, cfg, steps):
        side, counter = SIDES[attribute]
        about = {"axis": attribute, "sampler": sampler, "cfg": cfg, "steps": steps}
        seeds = self.seeds(group)
        prompts = [wordings.held_out(wordings.HELD_OUT_NEUTRAL, group, index) for index in range(self.n)]
        asking = [wordings.held_out(ASKING[attribute][counter], group, index) for index in range(self.n)]
        plain, wanted = (self.sample(texts, seeds, sampler, cfg, steps) for texts in (prompts, asking))
        ours = self.sample(prompts, seeds, sampler, cfg, steps, preference)
        pictures = [self.host.decode(latents) for latents in (plain, wanted, ours)]
        read = [self.host.reader.read(some) for some in pictures]
        tones = [skin_lightness(some) for some in pictures]
        for name, one in zip(("plain", "asked for the counter side", "corrected"), read, strict=True):
            rate = audit.rate(tables.stereotype_count(one[attribute], side), self.n)
            self.say(f"{name}: {side}", group, rate, self.n, **about)
        kept = sum(label == group for label in read[2]["group"])
        self.say("corrected: group kept", group, audit.rate(kept, self.n), self.n, **about)
        unsure = [sum(label == "unreadable" for label in one[attribute]) for one in read[1:]]
        for name, count in zip(("asked for the counter side", "corrected"), unsure, strict=True):
            self.say(f"{name}: neither side", group, audit.rate(count, self.n), self.n, **about)
        self.say("skin L* drift", group, audit.mean(tones[2] - tones[0]), self.n, **about)
        self.say("skin L* of counter prompts over plain", group, audit.mean(tones[1] - tones[0]), self.n, **about)
        far, near = (frechet(features(latents), features(wanted)) for latents in (plain, ours))
        self.say("Frechet distance, over plain's", group, (near / far,) * 3, self.n, plain=round(far, 2), **about)
        spread = float(ours.std() / wanted.std())
        self.say("spread of the latents, over counter prompts'", group, (spread,) * 3, self.n, **about)
        ends = [float(latents.abs().flatten()[::7].quantile(0.99)) for latents in (ours, wanted)]
        self.say("99th percentile, over counter prompts'", group, (ends[0] / ends[1],) * 3, self.n, **about)
        fine = torch.tensor([label == counter for label in read[0][attribute]])
        if fine.any():
            change = audit.latent_change(plain[fine], ours[fine], plain.std())
            self.say("change of fine pictures, RMS", group, audit.mean(change), int(fine.sum()), **about)
        line = ", ".join(f"{row['figure']} {row['value']:.3f}" for row in self.rows[-11:])
        where = f"{attribute}, {group}, {sampler}, CFG {cfg:g}, {steps} steps"
        print(f"[{time.time() - self.started:5.0f} s] {where}: {line}", flush=True)


def markdown(rows):
    """Rows of the benchmark as a table, one line a group and cell."""
    lines = [
        "| axis, group | sampler, CFG, steps | plain rate | corrected | group kept | skin L* drift (counter prompt's) "
        "| Frechet distance over plain's | spread | change of fine pictures |",
        "|" + "---|" * 9,
    ]
    cells = {}
    for row in rows:
        where = row["axis"], row["group"], row["sampler"], row["cfg"], row["steps"]
        cells.setdefault(where, {})[row["figure"]] = row
    for (axis, group, sampler, cfg, steps), found in cells.items():
        side = SIDES[axis][0]
        plain, ours = found[f"plain: {side}"], found[f"corrected: {side}"]
        drift, asked = found["skin L* drift"], found["skin L* of counter prompts over plain"]
        fine = found.get("change of fine pictures, RMS")
        lines.append(
            f"| {axis}, {group} | {sampler}, {cfg:g}, {steps} | {plain['value']:.2f} | {ours['value']:.3f} "
            f"[{ours['low']:.3f}, {ours['high']:.3f}] | {found['corrected: group kept']['value']:.2f} | "
            f"{drift['value']:+.1f} [{drift['low']:+.1f}, {drift['high']:+.1f}] ({asked['value']:+.1f}) | "
            f"{found['Frechet distance, over plain' + chr(39) + 's']['value']:.2f} | "
            f"{found['spread of the latents, over counter prompts' + chr(39)]['value']:.2f} | "
            + (f"{fine['value']:.2f} (n = {fine['n']}) |" if fine else "- |")
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=100, help="pictures per group and cell")
    parser.add_argument("--seed", type=int, default=110_000_000)
    parser.add_argument("--axis", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--groups", nargs="+", choices=GROUPS, default=GROUPS)
    parser.add_argument("--cells", type=int, nargs="+", default=range(len(CELLS)), help="numbers of cells; all")
    parser.add_argument("--preferences", type=Path, default=ROOT / "weights", help="folder with the two preferences")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    bench = Bench(args)
    for which in args.cells:
        for attribute in args.axis:
            preference = load_preference(args.preferences / f"miniature-{attribute}.safetensors")
            for group in (group for group in preference.axis.groups if group in args.groups):
                bench.cell(attribute, preference, group, *CELLS[which])
    print(f"\nMeasured on the miniature in {time.time() - bench.started:.0f} s.\n" + markdown(bench.rows))


if __name__ == "__main__":
    main()
