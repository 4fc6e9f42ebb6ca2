"""`learn`, `calibrate`, `combine` and `inspect`: preference files from the command line."""

import argparse
import json
from pathlib import Path

from .options import add_host_options, count, open_host


def add_commands(commands):
    one = commands.add_parser("learn", help="learn and calibrate a preference from an axis file")
    one.add_argument("axis", type=Path)
    one.add_argument("--out", type=Path, help="the file to write (weights/AXIS.safetensors)")
    one.add_argument("--pairs", type=count, default=200, help="pictures per side and group (%(default)s)")
    folder = "where pairs are saved as they are made; an interrupted run resumes from them (out/pairs/AXIS-SETTINGS)"
    one.add_argument("--pairs-folder", type=Path, metavar="FOLDER", help=folder)
    match = "learn the side only from pictures with matching skin tones (the default)"
    one.add_argument("--match", action=argparse.BooleanOptionalAction, default=True, help=match)
    one.add_argument("--teacher", type=count, help="number of the checkpoint's own pushes to learn from (8000)")
    images = "pictures per group for calibration (%(default)s); 0 skips it"
    one.add_argument("--calibration", type=lambda text: 0 if text == "0" else count(text), default=400, help=images)
    one.add_argument("--seed", type=int, default=0)
    add_host_options(one)
    one.set_defaults(run=learn)

    one = commands.add_parser("calibrate", help="measure a preference on a checkpoint and save the result in its file")
    one.add_argument("preference", type=Path)
    one.add_argument("--out", type=Path, help="the file to write; by default the same file")
    one.add_argument("--images", type=count, default=400, help="pictures per group, at most (%(default)s)")
    one.add_argument("--narrow", type=float, default=0.03, metavar="W",
                     help="stop after 200 pictures or more once the base rate's 95 %% interval is +-W or narrower "
                     "(%(default)s); 0 never stops early")  # fmt: skip
    one.add_argument("--target", type=float, default=0.95, help="report whether this target is reachable (%(default)s)")
    one.add_argument("--seed", type=int, default=1)
    add_host_options(one)
    one.set_defaults(run=calibrate)

    one = commands.add_parser("combine", help="combine preference files of several axes into one file")
    one.add_argument("preferences", type=Path, nargs="+")
    one.add_argument("--out", type=Path, required=True)
    one.set_defaults(run=combine)

    one = commands.add_parser("inspect", help="print the metadata of a preference file as JSON")
    one.add_argument("file", type=Path)
    one.set_defaults(run=inspect)


def learn(args):
    """Sample pairs, train, calibrate, and write the preference with its report as a picture beside it."""
    from tqdm import tqdm

    from ..axis.axis import load_axis
    from ..latent_space.folders import AXES, HOME
    from ..learning import learn as learning
    from ..learning.gate_texts import gate_others
    from ..learning.pairs import make_pairs
    from ..learning.report import draw_report
    from ..learning.store import disk_use, store_name
    from ..preference.file import save_preference

    axis = load_axis(args.axis)
    path, host = _file(args.out or HOME / "weights" / f"{axis.id}.safetensors"), open_host(args)
    total, size = 2 * args.pairs * len(axis.groups), disk_use(axis, args.pairs, host.shape) / 2**20
    name = store_name(axis, args.pairs, args.seed, args.cfg, args.steps, host.batch, host.identity)
    folder = args.pairs_folder or HOME / "out" / "pairs" / name
    height, width = (8 * side for side in host.shape[1:])
    print(f"{total} pictures of {width} x {height} for the pairs: {size:.1f} MB on disk in {folder}, kept if you stop. "
          f"Calibration samples at least {2 * args.calibration * len(axis.groups)}.", flush=True)  # fmt: skip
    with tqdm(total=total, desc="pairs", unit="picture") as bar:
        pairs = make_pairs(host, axis, args.pairs, args.seed, args.cfg, args.steps, folder=folder, batch=host.batch,
                           progress=lambda latents: bar.update(len(latents)))  # fmt: skip
    preference, judge = learning.learn(
        host, axis, args.pairs, args.seed, args.cfg, teacher_count=args.teacher, pairs=pairs, match=args.match,
        progress=_stages(), **gate_others(axis, AXES, host.space),
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
    """A path to write to, unchanged. Raises PreferenceFileError if it is a folder."""
    from ..preference.file import PreferenceFileError

    if path.is_dir():
        raise PreferenceFileError(f"{path}: this is a folder; name the file to write, as {path / 'mine.safetensors'}.")
    return path


def _stages():
    """-> progress(stage, done, total), one progress bar per stage."""
    from tqdm import tqdm

    bars = {}

    def progress(stage, done, total):
        if stage not in bars:
            bars[stage] = tqdm(total=total, desc=stage, mininterval=1)
        bars[stage].update(done - bars[stage].n)
        if done == total:
            bars[stage].close()

    return progress


def _calibrated(host, preference, judge, images, args, narrow=0.0, target=0.95):
    """Calibrate on `images` pictures per group and print the result -> the calibrated preference."""
    from tqdm import tqdm

    from ..learning.calibrate import calibrate

    with tqdm(desc="calibration", unit="picture") as bar:
        preference = calibrate(host, preference, judge, images, args.cfg, args.seed, progress=bar.update, narrow=narrow)
    for measured in preference.calibrations:
        print(measured, measured.reach(target), sep="\n", flush=True)
    return preference


def calibrate(args):
    """Measure a preference's base rates and full-strength rates on a checkpoint and save them in its file."""
    from ..learning.calibrate import of_other_models
    from ..preference.file import PreferenceFileError, load_preference, save_preference

    if not 0 < args.target <= 1 or not 0 <= args.narrow < 0.5:
        raise PreferenceFileError("--target must be above 0 and at most 1, --narrow at least 0 and below 0.5.")
    path, preference, host = _file(args.out or args.preference), load_preference(args.preference), open_host(args)
    preference.check_space(host.space, "this checkpoint")
    if preference.judge is None:
        raise PreferenceFileError(f"{args.preference.name}: it has no judge to calibrate with; learn it again.")
    if of_other_models(preference, host) and path.resolve() == args.preference.resolve():
        raise PreferenceFileError(
            f"{args.preference.name}: calibrated on another checkpoint or LoRA, and that calibration would be lost; "
            "name another file with --out."
        )
    preference = _calibrated(host, preference, preference.judge, args.images, args, args.narrow, args.target)
    print(f"Wrote {path} ({save_preference(preference, path)}).")


def combine(args):
    """Combine preference files, each of another axis, into one."""
    from ..preference.file import load_preferences, save_preferences

    preferences = [preference for path in args.preferences for preference in load_preferences(path)]
    save_preferences(preferences, _file(args.out))
    print(f"Wrote {args.out}: {', '.join(preference.name for preference in preferences)}.")


def inspect(args):
    """Print the metadata of a preference file as JSON; a list if it holds several preferences."""
    from ..preference.file import load_preferences

    said = [
        {name: getattr(preference, name) for name in ("name", "hash", "space", "training")}
        | {"axis": preference.axis.to_dict(), "calibrations": [vars(c) for c in preference.calibrations]}
        for preference in load_preferences(args.file)
    ]
    print(json.dumps(said if len(said) > 1 else said[0], indent=1, ensure_ascii=False))
