"""img2img and inpainting: `python benchmarks/from_pictures.py --json FILE`.

The start is a picture that the miniature drew with the stereotype. At each denoise it is drawn again plainly,
corrected, and with a prompt that asks for the counter side: what the correction does there, beside what words do.
Inpainting draws all but the face and the body again. Through diffusers' pipelines, Euler.
"""

import argparse
import json
import logging
import sys
from pathlib import Path

import diffusers
import torch
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionInpaintPipeline

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import tables  # noqa: E402
from benchmarks.worlds import MINIATURE  # noqa: E402
from corrector.auditing import statistics as audit  # noqa: E402
from corrector.hosts.diffusers import corrected  # noqa: E402
from corrector.preference.file import load_preference  # noqa: E402

DENOISE = (0.3, 0.5, 0.7, 0.9)
STEPS = 16  # of a whole run; a denoise below 1 takes its part of them
KINDS = {"img2img": StableDiffusionImg2ImgPipeline, "inpainting": StableDiffusionInpaintPipeline}
PERSON = (slice(24, None), slice(32, 96))  # rows and columns of a picture that inpainting keeps


class Bench:
    def __init__(self, args):
        self.args, self.host, self.rows = args, MINIATURE.host(), []
        kind, options = diffusers.EulerDiscreteScheduler, dict(use_karras_sigmas=True)
        self.scheduler = lambda: kind.from_config(self.host.pipe.scheduler.config, **options)
        self.mask = torch.ones(args.n, 1, 128, 128)
        self.mask[(..., *PERSON)] = 0

    def drawn(self, pipe, prompts, preference=None, **options):
        """Pictures [N, 3, H, W] in -1..1."""
        pipe.set_progress_bar_config(disable=True)
        pipe.scheduler = self.scheduler()
        call = dict(prompt=prompts, guidance_scale=self.args.cfg, num_inference_steps=STEPS, output_type="pt")
        call["generator"] = [torch.Generator().manual_seed(self.args.seed + i) for i in range(len(prompts))]
        with torch.autocast("cpu", torch.bfloat16):
            if preference is None:
                return pipe(**call, **options).images.float() * 2 - 1
            with corrected(pipe, preference):
                return pipe(**call, **options).images.float() * 2 - 1

    def read(self, pictures):
        return self.host.reader.read(pictures)["backdrop"], MINIATURE.lightness(pictures)

    def group(self, preference, group):
        asking = MINIATURE.prompts(group, self.args.n, "backdrop", "city")
        prompts = MINIATURE.prompts(group, self.args.n)
        village = MINIATURE.prompts(group, self.args.n, "backdrop", "village")
        start = self.drawn(self.host.pipe, village, height=128, width=128)
        tone = self.read(start)[1]
        for kind, maker in KINDS.items():
            pipe = maker(**self.host.pipe.components, requires_safety_checker=False)
            own = {"mask_image": self.mask, "height": 128, "width": 128} if kind == "inpainting" else {}
            for denoise in DENOISE:
                options = dict(image=(start + 1) / 2, strength=denoise, **own)
                ways = {"plain": (prompts, None), "corrected": (prompts, preference), "counter prompt": (asking, None)}
                for way, (texts, used) in ways.items():
                    labels, tones = self.read(self.drawn(pipe, texts, used, **options))
                    rate = audit.rate(tables.stereotype_count(labels, "village"), len(labels))
                    about = dict(kind=kind, denoise=denoise, cfg=self.args.cfg)
                    about["drift"] = round(float((tones - tone).mean()), 2)
                    self.rows.append(tables.row(way, group, rate, len(labels), self.args.seed, **about))
                print(f"{kind}, {group}, denoise {denoise}", flush=True)


def markdown(rows):
    cells = {}
    for row in rows:
        cells.setdefault((row["kind"], row["group"], row["denoise"]), {})[row["figure"]] = row
    ways = ("plain", "corrected", "counter prompt")
    heads = ["", "group", "denoise", *(f"village, {way}" for way in ways), *(f"skin L*, {way}" for way in ways)]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for (kind, group, denoise), found in cells.items():
        rates = [f"{found[way]['value']:.2f}" for way in ways] + [f"{found[way]['drift']:+.1f}" for way in ways]
        lines.append("| " + " | ".join([kind, group, str(denoise), *rates]) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=50, help="pictures per group and cell")
    parser.add_argument("--cfg", type=float, default=7.0)
    parser.add_argument("--seed", type=int, default=170_000_000)
    parser.add_argument("--groups", nargs="+", default=["Orvane", "Tavelu"])
    parser.add_argument("--preferences", type=Path, default=ROOT / "weights")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    bench = Bench(args)
    for group in args.groups:
        bench.group(load_preference(args.preferences / "miniature-backdrop.safetensors"), group)
        if args.json:
            args.json.write_text(json.dumps(bench.rows, indent=1) + "\n")
    print(markdown(bench.rows))


if __name__ == "__main__":
    main()
