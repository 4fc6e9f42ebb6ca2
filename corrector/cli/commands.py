"""The shell's door: `python -m corrector demo | learn | calibrate | audit | inspect` and their kin."""

import argparse
import json
import time
from functools import partial
from pathlib import Path

from ..latent_space.whole_files import FULL, why_not
from . import audit as cli_audit

ROOT = Path(__file__).resolve().parents[2]
DEMO_SEED = 2026


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m corrector", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("demo", help="draw the same portraits before and after correction, and say by how much")
    one.add_argument("--json", type=Path, help="write the figures to this file")
    one.add_argument("--out", type=Path, default=ROOT / "out", help="folder of the picture and the page")
    one.add_argument("--images", type=int, default=32, help="pictures a group")
    one = commands.add_parser("learn", help="learn and calibrate a preference from an axis file")
    one.add_argument("axis", type=Path)
    one.add_argument("--out", type=Path, help="the file to write; by default weights/<axis id>.safetensors")
    one.add_argument("--pairs", type=_count, default=200, help="pictures a side and group")
    one.add_argument(
        "--pairs-folder", type=Path,
        help="keep the pairs here as they come; stopped, it goes on from there (out/pairs/AXIS-SETTINGS)",
    )  # fmt: skip
    one.add_argument(
        "--match", action=argparse.BooleanOptionalAction, default=True,
        help="learn the side only from pictures of matching skin tones (the default)",
    )  # fmt: skip
    one.add_argument("--teacher", type=_count, help="pushes of the checkpoint's own to learn from (8000)")
    one.add_argument(
        "--calibration", type=lambda text: 0 if text == "0" else _count(text), default=400,
        help="pictures a group; 0 leaves it for later",
    )  # fmt: skip
    one.add_argument("--seed", type=int, default=0)
    _add_host_options(one)
    one = commands.add_parser("calibrate", help="measure a preference on a checkpoint, and write it into its file")
    one.add_argument("preference", type=Path)
    one.add_argument("--out", type=Path, help="the file to write; by default the same")
    one.add_argument("--images", type=_count, default=400, help="pictures a group")
    one.add_argument(
        "--narrow", type=float, default=0.03, metavar="W",
        help="stop at 200 or more where the 95 %% interval of the base rate is within W either side (0.03); 0 never",
    )  # fmt: skip
    one.add_argument("--target", type=float, default=0.95, help="the share of which it says whether it is in reach")
    one.add_argument("--seed", type=int, default=1)
    _add_host_options(one)
    one = commands.add_parser("combine", help="put the preferences of several files, an axis each, into one file")
    one.add_argument("preferences", type=Path, nargs="+")
    one.add_argument("--out", type=Path, required=True)
    cli_audit.add_commands(commands, _add_host_options, _count)
    one = commands.add_parser("inspect", help="print what a preference file says of itself")
    one.add_argument("file", type=Path)
    args = parser.parse_args(argv)
    try:
        audits = {
            "audit": partial(cli_audit.run_audit, host_of=_host),
            "merge": partial(cli_audit.merge, host_of=_host),
        }
        audits |= {"compare": cli_audit.compare, "raters": cli_audit.raters}
        own = {"demo": demo, "learn": learn, "calibrate": calibrate, "combine": combine, "inspect": inspect}
        (own | audits)[args.command](args)
    except _refusals() as refusal:
        raise SystemExit(f"{parser.prog} {args.command}: {refusal}") from None
    except OSError as error:
        if not error.filename and error.errno not in FULL:
            raise  # no file's fault
        where = f"{error.filename}: " if error.filename else ""
        raise SystemExit(f"{parser.prog} {args.command}: {where}{why_not(error)}.") from None


def _refusals():
    from ..axis.axis import AxisError
    from ..hosts.checkpoint_files import CheckpointError
    from ..hosts.lora import LoraError
    from ..learning.store import PairError
    from ..preference.file import PreferenceFileError
    from ..preference.prompt_gate import GateError

    return AxisError, CheckpointError, GateError, LoraError, PairError, PreferenceFileError, *cli_audit.refusals()


def _add_host_options(parser):
    parser.add_argument("--checkpoint", type=Path, help="a folder in diffusers' format; by default the miniature")
    parser.add_argument("--lora", type=Path, help="a LoRA file on top of it: a derivative")
    parser.add_argument("--steps", type=_count, default=16, help="sampling steps")
    parser.add_argument("--cfg", type=float, help="by default 2 for the miniature and 7 for a checkpoint")
    parser.add_argument("--size", type=_size, metavar="WxH", help="of the pictures; by default the checkpoint's own")
    parser.add_argument("--bf16", action="store_true", help="compute in bfloat16: half the memory, and often faster")


def _count(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'"{text}" is not a number of 1 or more')
    return int(text)


def _size(text):
    try:
        width, height = map(int, text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f'"{text}" is not a size; write width x height, as 768x512') from None
    return width, height


def _host(args):
    """The checkpoint that was asked for, or the miniature; and the CFG scale."""
    from ..hosts.checkpoint import Checkpoint
    from ..miniature.host import Miniature
    from ..miniature.model import WEIGHTS

    other = args.checkpoint or args.size
    if other:
        host = Checkpoint(args.checkpoint or WEIGHTS, args.bf16, size=args.size, lora=args.lora)
    else:
        host = Miniature(bf16=args.bf16, lora=args.lora)
    host.steps = args.steps
    if args.cfg is None:
        args.cfg = 2.0 if host.space == "miniature" else 7.0
    return host


def demo(args):
    """Every group of the miniature, plain and corrected by both shipped preferences, from the same seeds."""
    from ..correction.decision import summary
    from ..correction.update import Settings
    from ..latent_space import drawing as figures
    from ..latent_space.statistics import rate
    from ..learning.calibrate import sample_corrected
    from ..miniature.host import Miniature, pictures_to_uint8
    from ..miniature.prompts import HELD_OUT_NEUTRAL, held_out
    from ..miniature.world import GROUPS
    from ..preference.file import load_preference

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
    """Pairs, preference, gate, judge, calibration, file, and the report beside it as a picture."""
    from tqdm import tqdm

    from ..axis.axis import load_axis
    from ..learning import learn as learning
    from ..learning.pairs import make_pairs
    from ..learning.report import draw_report
    from ..learning.store import disk_use, store_name
    from ..preference.file import save_preference

    axis = load_axis(args.axis)
    path, host = _file(args.out or ROOT / "weights" / f"{axis.id}.safetensors"), _host(args)
    total, size = 2 * args.pairs * len(axis.groups), disk_use(axis, args.pairs, host.shape) / 2**20
    name = store_name(axis, args.pairs, args.seed, args.cfg, args.steps, host.batch, host.identity)
    folder = args.pairs_folder or ROOT / "out" / "pairs" / name
    height, width = (8 * side for side in host.shape[1:])
    print(f"{total} pictures of {width} x {height} for the pairs: {size:.1f} MB on disk in {folder}, kept if this is "
          f"stopped. Calibration makes at least {2 * args.calibration * len(axis.groups)}.", flush=True)  # fmt: skip
    with tqdm(total=total, desc="pairs", unit="picture") as bar:
        pairs = make_pairs(host, axis, args.pairs, args.seed, args.cfg, args.steps, folder=folder, batch=host.batch,
                           progress=lambda latents: bar.update(len(latents)))  # fmt: skip
    others = learning.gate_others(axis, ROOT / "axes", host.space)
    preference, judge = learning.learn(
        host, axis, args.pairs, args.seed, args.cfg, teacher_count=args.teacher, pairs=pairs, match=args.match,
        progress=_stages(), **others,
    )  # fmt: skip
    preference.training["host"] = {**host.identity, "steps": args.steps}
    print(json.dumps(preference.training, indent=1), flush=True)
    if preference.training.get("weak"):
        print(f"This preference is weak: {preference.training['weak']}.", flush=True)
    print(f"Wrote {path} ({save_preference(preference, path)}), not calibrated yet.", flush=True)
    if args.calibration:
        args.seed += 1  # other pictures than the pairs
        preference = _calibrated(host, preference, judge, args.calibration, args)
        print(f"Wrote {path} ({save_preference(preference, path)}).")
    shown = pairs.latents[:, :, :6]
    pictures = host.decode(shown.flatten(0, 2)).unflatten(0, shown.shape[:3])
    draw_report(preference, pairs, path.with_suffix(".png"), pictures)
    print(f"Wrote {path.with_suffix('.png')}: held-out curves, skin tones and pairs.")


def _file(path):
    """The path of a file to write, as it is. Raises PreferenceFileError at once where a folder lies there."""
    from ..preference.file import PreferenceFileError

    if path.is_dir():
        raise PreferenceFileError(f"{path}: this is a folder; name the file to write, as {path / 'mine.safetensors'}.")
    return path


def _stages():
    """-> progress(stage, done, total), a bar a stage."""
    from tqdm import tqdm

    bars = {}

    def progress(stage, done, total):
        if stage not in bars:
            bars[stage] = tqdm(total=total, desc=stage, mininterval=1)
        bar = bars[stage]
        bar.update(done - bar.n)
        if done == total:
            bar.close()

    return progress


def _calibrated(host, preference, judge, images, args, narrow=0.0, target=0.95):
    """The preference with its calibrations on `images` pictures a group, which are printed."""
    from tqdm import tqdm

    from ..learning.calibrate import calibrate

    with tqdm(desc="calibration", unit="picture") as bar:
        preference = calibrate(host, preference, judge, images, args.cfg, args.seed, progress=bar.update, narrow=narrow)
    for measured in preference.calibrations:
        print(measured, measured.reach(target), sep="\n", flush=True)
    return preference


def calibrate(args):
    """A preference's base rates and full-strength rates on a checkpoint, written into its file."""
    from ..learning.calibrate import of_other_models
    from ..preference.file import PreferenceFileError, load_preference, save_preference

    if not 0 < args.target <= 1 or not 0 <= args.narrow < 0.5:
        raise PreferenceFileError("--target is a share above 0 and at most 1, --narrow one of 0 and below 0.5.")
    path, preference, host = _file(args.out or args.preference), load_preference(args.preference), _host(args)
    if preference.space != host.space:
        raise PreferenceFileError(
            f'{args.preference.name}: made for "{preference.space}", and this checkpoint is "{host.space}"; use one '
            "made for this model."
        )
    if preference.judge is None:
        raise PreferenceFileError(f"{args.preference.name}: it has no judge to calibrate with; learn it again.")
    if of_other_models(preference, host) and path.resolve() == args.preference.resolve():
        raise PreferenceFileError(
            f"{args.preference.name}: it is calibrated on another checkpoint or LoRA, whose figures would be lost; "
            "write this one's into a file of its own with --out."
        )
    preference = _calibrated(host, preference, preference.judge, args.images, args, args.narrow, args.target)
    print(f"Wrote {path} ({save_preference(preference, path)}).")


def combine(args):
    """Several files, an axis each, as one."""
    from ..preference.file import load_preferences, save_preferences

    preferences = [preference for path in args.preferences for preference in load_preferences(path)]
    save_preferences(preferences, _file(args.out))
    print(f"Wrote {args.out}: {', '.join(preference.name for preference in preferences)}.")


def inspect(args):
    """The metadata of a preference file, as readable JSON; a list where it holds several."""
    from ..preference.file import load_preferences

    said = []
    for preference in load_preferences(args.file):
        says = {name: getattr(preference, name) for name in ("name", "hash", "space", "training")}
        says |= {"axis": preference.axis.to_dict(), "calibrations": [vars(c) for c in preference.calibrations]}
        said.append(says)
    print(json.dumps(said if len(said) > 1 else said[0], indent=1, ensure_ascii=False))
