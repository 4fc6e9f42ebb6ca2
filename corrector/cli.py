"""The shell's door: `python -m corrector demo | learn | inspect`."""

import argparse
import json
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DEMO_SEED = 2026


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m corrector", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("demo", help="draw the same portraits before and after correction, and say by how much")
    one.add_argument("--json", type=Path, help="write the figures to this file")
    one.add_argument("--out", type=Path, default=ROOT / "out", help="folder of the picture and the page")
    one.add_argument("--images", type=int, default=32, help="pictures a group")
    one = commands.add_parser("learn", help="learn and calibrate a preference for the miniature from an axis file")
    one.add_argument("axis", type=Path)
    one.add_argument("--out", type=Path, help="the file to write; by default weights/<axis id>.safetensors")
    one.add_argument("--pairs", type=int, default=200, help="pictures a side and group")
    one.add_argument("--calibration", type=int, default=400, help="pictures a group")
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--bf16", action="store_true", help="compute in bfloat16: faster on CPUs that have it")
    one = commands.add_parser("inspect", help="print what a preference file says of itself")
    one.add_argument("file", type=Path)
    args = parser.parse_args(argv)
    {"demo": demo, "learn": learn, "inspect": inspect}[args.command](args)


def demo(args):
    """Every group of the miniature, plain and corrected by both shipped preferences, from the same seeds."""
    from . import figures
    from .audit import rate
    from .calibration import sample_corrected
    from .correction import Settings, summary
    from .files import load_preference
    from .miniature.host import Miniature, pictures_to_uint8
    from .miniature.prompts import HELD_OUT_NEUTRAL, held_out
    from .miniature.world import GROUPS

    started = time.time()
    host = Miniature()
    preferences = [
        load_preference(ROOT / "weights" / f"miniature-{axis}.safetensors") for axis in ("backdrop", "attire")
    ]
    rows, grids = [], []
    for group in GROUPS:
        seeds = [DEMO_SEED + index for index in range(args.images)]
        prompts = [held_out(HELD_OUT_NEUTRAL, group, index) for index in range(args.images)]
        plain = host.decode(host.sample(host.encode(prompts), seeds))
        latents, reasons = sample_corrected(host, prompts, seeds, preferences, Settings())
        corrected = host.decode(latents)
        read = [host.reader.read(pictures) for pictures in (plain, corrected)]
        for preference, why in zip(preferences, reasons, strict=True):
            print(f"{group}: {summary(preference, why)}", flush=True)
            attribute = preference.axis.id.removeprefix("miniature-")
            side = {"backdrop": "village", "attire": "traditional"}[attribute]
            counts = [sum(label in (side, "unreadable") for label in labels[attribute]) for labels in read]
            before, (after, low, high) = rate(counts[0], args.images)[0], rate(counts[1], args.images)
            row = dict(figure=f"{attribute}: {side}", group=group, plain=before, corrected=after, low=low, high=high)
            rows.append(row | dict(n=args.images, seed=DEMO_SEED, unit="share", model="miniature"))
        before, after = (pictures_to_uint8(pictures[:8]) for pictures in (plain, corrected))
        captions = [f"{prompt} (seed {seed})" for prompt, seed in zip(prompts[:8], seeds[:8], strict=True)]
        grids.append(dict(title=group, before=before, after=after, captions=captions))
    print(f"\n{'stereotype':<24}{'group':<10}{'plain':>7}{'corrected':>11}   95 % interval     n   seed")
    for r in rows:
        print(f"{r['figure']:<24}{r['group']:<10}{r['plain']:>7.2f}{r['corrected']:>11.2f}   "
              f"[{r['low']:.2f}, {r['high']:.2f}]  {r['n']:>6}   {r['seed']}")  # fmt: skip
    args.out.mkdir(parents=True, exist_ok=True)
    figures.draw_demo(rows, grids, args.out / "demo.png")
    figures.write_page(rows, grids, args.out / "demo.html")
    print(f"\nMeasured on the miniature, in {time.time() - started:.0f} s. Wrote {args.out / 'demo.png'} and "
          f"{args.out / 'demo.html'}.")  # fmt: skip
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


def learn(args):
    """Pairs from the miniature, preference, gate, judge, calibration, file."""
    from .axis import load_axis
    from .calibration import calibrate
    from .files import save_preference
    from .learning import learn as learn_preference
    from .learning import other_wordings
    from .miniature.host import Miniature
    from .miniature.world import GROUPS

    axis, host = load_axis(args.axis), Miniature(bf16=args.bf16)
    others = other_wordings(axis, ROOT / "axes", GROUPS)
    preference, judge = learn_preference(host, axis, args.pairs, args.seed, **others)
    print(json.dumps(preference.training, indent=1), flush=True)
    preference = calibrate(host, preference, judge, args.calibration, seed=args.seed + 1)
    for calibration in preference.calibrations:
        print(calibration, flush=True)
    path = args.out or ROOT / "weights" / f"{axis.id}.safetensors"
    print(f"Wrote {path} ({save_preference(preference, path)}).")


def inspect(args):
    """The metadata of a preference file, as readable JSON."""
    from .files import load_preference

    preference = load_preference(args.file)
    says = {name: getattr(preference, name) for name in ("name", "hash", "space", "training")}
    says |= {"axis": preference.axis.to_dict(), "calibrations": [vars(c) for c in preference.calibrations]}
    print(json.dumps(says, indent=1, ensure_ascii=False))
