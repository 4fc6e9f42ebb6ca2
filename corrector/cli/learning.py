"""`learn`, `calibrate`, `gate`, `combine` and `inspect`: preference files from the command line."""

import json
from contextlib import nullcontext
from pathlib import Path

from ..files.errors import visible
from .options import MOST, add_host_options, count, open_host, seed, share, whole
from .read import sentence_about_own


def add_commands(commands):
    one = commands.add_parser("learn", help="learn and calibrate a preference from an axis file")
    one.add_argument("axis", type=Path, help="an axis file, such as those in axes/")
    one.add_argument("--out", type=Path, help="the file to write (weights/AXIS.safetensors)")
    one.add_argument("--pairs", type=whole(2, MOST), default=128, help="pictures per side and group (%(default)s)")
    folder = "where pairs are saved as they are made; an interrupted run resumes from them (out/pairs/AXIS-SETTINGS)"
    one.add_argument("--pairs-folder", type=Path, metavar="FOLDER", help=folder)
    one.add_argument("--points", type=count,
                     help="points of the checkpoint's own runs to learn from (8000)")  # fmt: skip
    images = "plain pictures per group and CFG scale for calibration (%(default)s); 0 skips it"
    one.add_argument("--calibration", type=whole(0, MOST), default=84, help=images)
    one.add_argument("--seed", type=seed, default=0)
    add_host_options(one)
    one.set_defaults(run=learn)

    one = commands.add_parser("calibrate", help="measure a preference on a checkpoint and save the result in its file")
    one.add_argument("preference", type=Path, help="a preference file")
    one.add_argument("--out", type=Path, help="the file to write; by default the same file")
    images = "plain pictures per group and CFG scale, and as many corrected ones (%(default)s)"
    one.add_argument("--images", type=count, default=84, help=images)
    folder = "where pictures are saved as they are made; an interrupted run resumes from them"
    one.add_argument("--pictures-folder", type=Path, metavar="FOLDER", help=folder)
    one.add_argument("--target", type=share, default=0.95, help="report whether this target is reachable (%(default)s)")
    one.add_argument("--seed", type=seed, default=1)
    add_host_options(one)
    one.set_defaults(run=calibrate)

    one = commands.add_parser("gate", help="train the gate of a preference again, for example on more aliases")
    one.add_argument("preference", type=Path, help="a preference file")
    axis = "an axis file with other aliases, paraphrases and other values; by default the axis in the file"
    one.add_argument("--axis", type=Path, help=axis)
    one.add_argument("--out", type=Path, help="the file to write; by default the same file")
    one.add_argument("--seed", type=seed, default=0)
    add_host_options(one, draws=False)
    one.set_defaults(run=gate)

    one = commands.add_parser("combine", help="combine preference files of several axes into one file")
    one.add_argument("preferences", type=Path, nargs="+", help="preference files, each of another axis")
    one.add_argument("--out", type=Path, required=True)
    one.set_defaults(run=combine)

    one = commands.add_parser(
        "inspect", help="print the metadata of a preference file as JSON, or what was done to a picture in sentences"
    )
    one.add_argument("file", type=Path, help="a preference file, or a picture that was made with one")
    one.set_defaults(run=inspect)


def learn(args):
    """Sample pairs, train, calibrate, and write the preference with its report as a picture beside it."""
    from ..axis.axis import load_axis
    from ..files.folders import HOME
    from ..files.whole_files import at_work
    from ..learning.report import report_path
    from ..learning.store import PairError
    from ..preference.file import check_writable

    axis = load_axis(args.axis)
    if args.pairs_folder and args.pairs_folder.exists() and not args.pairs_folder.is_dir():
        raise PairError(f"{args.pairs_folder}: this is a file; name a folder for the pairs.")
    path = args.out or HOME / "weights" / f"{axis.id}.safetensors"
    check_writable(path)
    report_path(path)
    with at_work(path, "a preference"):
        _learn(axis, path, open_host(args), args)


def _learn(axis, path, host, args):
    from tqdm import tqdm

    from ..files.folders import AXES, HOME
    from ..gate.texts import gate_others
    from ..learning import learn as learning
    from ..learning.calibrate import pictures_needed, scales
    from ..learning.pairs import make_pairs
    from ..learning.report import draw_report, report_path
    from ..learning.store import check_room, disk_use, store_name
    from ..preference.file import save_preference
    from ..preference.updated_file import update_preference

    total, size = 2 * args.pairs * len(axis.groups), disk_use(axis, args.pairs, host.shape) / 2**20
    name = store_name(axis, args.seed, args.cfg, args.steps, host.identity)
    folder = args.pairs_folder or HOME / "out" / "pairs" / name
    height, width = (8 * side for side in host.shape[1:])
    later = pictures_needed(len(axis.groups), args.calibration, scales(args.cfg)) if args.calibration else 0
    print(f"{total} pictures of {width} x {height} for the pairs: {size:.1f} MB on disk in {folder}, kept if you stop. "
          f"Calibration samples at most {later}.", flush=True)  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    check_room(folder, axis, args.pairs, host.shape)
    with tqdm(total=total, desc="pairs", unit="picture") as bar:
        pairs = make_pairs(host, axis, args.pairs, args.seed, args.cfg, args.steps, folder=folder, batch=host.batch,
                           progress=lambda latents: bar.update(len(latents)))  # fmt: skip
    preference, judge = learning.learn(
        host, axis, args.pairs, args.seed, args.cfg, points=args.points, pairs=pairs, progress=_stages(),
        **gate_others(axis, AXES, host.space),
    )  # fmt: skip
    preference.training["host"] = {**host.identity, "steps": args.steps}
    print(json.dumps(preference.training, indent=1), flush=True)
    for sentence in preference.weaknesses:
        print(f"This preference is weak: {sentence}.", flush=True)
    print(f"Wrote {path} ({save_preference(preference, path)}), not calibrated yet.", flush=True)
    if args.calibration:
        args.seed += 1  # other pictures than the pairs
        preference = _calibrated(host, preference, judge, args.calibration, args, folder / "calibration")
        print(f"Wrote {path} ({update_preference(preference, path, scales(args.cfg)).hash}).")
    shown = pairs.latents[:, :, :6]
    pictures = host.decode(shown.flatten(0, 2)).unflatten(0, shown.shape[:3])
    draw_report(preference, pairs, report_path(path), pictures)
    print(f"Wrote {path.with_suffix('.png')}: held-out figures, skin tones and pairs.")


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


def _calibrated(host, preference, judge, images, args, folder, target=0.95):
    """Calibrate on `images` plain pictures per group and CFG scale and print the result -> the preference."""
    from tqdm import tqdm

    from ..learning.calibrate import calibrate, pictures_needed, scales

    cfgs = scales(args.cfg)
    total = pictures_needed(len(preference.axis.groups), images, cfgs)
    print(f"Calibration at CFG {' and '.join(f'{cfg:g}' for cfg in cfgs)}: at most {total} pictures, kept in {folder} "
          "if you stop.", flush=True)  # fmt: skip
    with tqdm(desc="calibration", unit="picture", total=total) as bar:
        preference = calibrate(host, preference, judge, images, cfgs, args.seed, bar.update, folder)
    for calibration in preference.calibrations:
        print(*calibration.sentences(preference.axis.counter.description, target), sep="\n", flush=True)
    return preference


def calibrate(args):
    """Measure a preference's base rates and full-strength rates on a checkpoint and save them in its file."""
    from ..files.folders import HOME
    from ..files.whole_files import at_work
    from ..learning.calibrate import of_other_models, scales
    from ..learning.store import digest
    from ..preference.file import PreferenceFileError, check_writable, load_preference, save_preference
    from ..preference.updated_file import update_preference

    path, preference = args.out or args.preference, load_preference(args.preference)
    check_writable(path)
    host = open_host(args)
    preference.check_space(host.space, "this checkpoint")
    if preference.judge is None:
        raise PreferenceFileError(f"{args.preference.name}: it has no judge to calibrate with; learn it again.")
    same = path.resolve() == args.preference.resolve()
    if same and of_other_models(preference, host):
        raise PreferenceFileError(
            f"{args.preference.name}: calibrated on another checkpoint or LoRA, and that calibration would be lost; "
            "name another file with --out."
        )
    name = (
        f"{preference.axis.id}-{digest([preference.hash, args.images, args.seed, args.cfg, args.steps, host.identity])}"
    )
    folder = args.pictures_folder or HOME / "out" / "calibrations" / name
    with nullcontext() if same else at_work(path, "a calibration"):
        preference = _calibrated(host, preference, preference.judge, args.images, args, folder, args.target)
        if same:  # other programs may have calibrated it at other CFG scales meanwhile
            written = update_preference(preference, path, scales(args.cfg)).hash
        else:
            written = save_preference(preference, path)
    print(f"Wrote {path} ({written}).")


def gate(args):
    """Train the gates of a file's preferences again, from text alone; all else in the file stays as it is."""
    from ..axis.axis import load_axis
    from ..files.folders import AXES
    from ..gate.texts import gate_others
    from ..learning.learn import host_gate
    from ..preference.file import check_writable, load_preferences, save_preferences
    from ..preference.preference import GATE_FIGURES
    from ..preference.updated_file import update_gate

    path, preferences = args.out or args.preference, load_preferences(args.preference)
    check_writable(path)
    changed = [_with_wordings(preferences, load_axis(args.axis), args)] if args.axis else preferences
    host = open_host(args)
    for preference in changed:
        preference.check_space(host.space, "this checkpoint")
        print(f"Gate of {preference.name}: some 10,000 texts are encoded and learned.", flush=True)
        others = gate_others(preference.axis, AXES, host.space)
        preference.gate, figures = host_gate(host, preference.axis, args.seed, **others)
        preference.training[GATE_FIGURES] = figures
        weak = [f"This gate is weak: {figures['weak']}."] if "weak" in figures else []
        print(json.dumps(figures, indent=1), *weak, sentence_about_own(preference, host), sep="\n", flush=True)
    same = path.resolve() == args.preference.resolve()
    hashes = [update_gate(one, path).hash for one in changed] if same else save_preferences(preferences, path)
    print(f"Wrote {path} ({', '.join(hashes)}).")


def _with_wordings(preferences, axis, args):
    """The preference of an axis among some, with the wordings of that axis. Raises PreferenceFileError."""
    from ..preference.file import PreferenceFileError

    found = next((one for one in preferences if one.axis.id == axis.id), None)
    if found is None:
        raise PreferenceFileError(
            f"{args.preference.name}: it has no preference of the axis {axis.id}, only of "
            f"{', '.join(one.axis.id for one in preferences)}; name the axis file of one of these."
        )
    if field := axis.differs(found.axis):
        raise PreferenceFileError(
            f'{args.axis.name}: its "{field}" is not that of the preference in {args.preference.name}. A gate can be '
            'trained for other "aliases", "paraphrases" and "another"; for all else, learn the preference again.'
        )
    found.axis = axis
    return found


def combine(args):
    """Combine preference files, each of another axis, into one."""
    from ..preference.file import check_writable, load_preferences, save_preferences

    check_writable(args.out)
    preferences = [preference for path in args.preferences for preference in load_preferences(path)]
    save_preferences(preferences, args.out)
    print(f"Wrote {args.out}: {', '.join(preference.name for preference in preferences)}.")


def inspect(args):
    """Print the metadata of a preference file as JSON, a list if it holds several; or what was done to a picture."""
    from ..preference.file import load_preferences
    from .pictures import describe, is_picture

    if is_picture(args.file):
        print("\n".join(describe(args.file)))
        return
    said = [
        {name: getattr(preference, name) for name in ("name", "hash", "space", "training")}
        | {"axis": preference.axis.to_dict(), "calibrations": [vars(c) for c in preference.calibrations]}
        | {"caveats": preference.caveats()}
        for preference in load_preferences(args.file)
    ]
    print(visible(json.dumps(said if len(said) > 1 else said[0], indent=1, ensure_ascii=False)))
