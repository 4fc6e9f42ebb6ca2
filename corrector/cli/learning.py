"""`learn`, `calibrate`, `gate`, `combine`, `publish` and `inspect`: preference files from the command line."""

from __future__ import annotations

import json
from argparse import Namespace
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files.errors import visible
from .options import MOST_PICTURES, add_host_options, count, goal, open_host, seed, share, whole
from .read import sentence_about_own

if TYPE_CHECKING:
    from ..axis.axis import Axis
    from ..hosts.checkpoint import Checkpoint
    from ..miniature.flow_host import FlowMiniature
    from ..preference.preference import Preference


def add_commands(commands: Any) -> None:
    command = commands.add_parser("learn", help="learn and calibrate a preference from an axis file")
    option = command.add_argument
    option("axis", type=Path, help="an axis file, such as those in axes/")
    option("--out", type=Path, help="the file to write (weights/AXIS.safetensors)")
    option("--pairs", type=whole(2, MOST_PICTURES), default=16, help="pictures per side and group (%(default)s)")
    folder = "where pictures are saved as they are made; an interrupted run resumes from them (out/pairs/AXIS-SETTINGS)"
    option("--pairs-folder", type=Path, metavar="FOLDER", help=folder)
    option("--points", type=count, default=1000, help="points of its own runs to learn from (%(default)s)")
    until = "learn from ever more points in place of --points: for a time such as 10m or 1h, or until it is good"
    option("--until", type=goal, help=until)
    images = "plain pictures per group and CFG scale for calibration (%(default)s); 0 skips it"
    option("--calibration", type=whole(0, MOST_PICTURES), default=20, help=images)
    option("--seed", type=seed, default=0)
    add_host_options(command)
    command.set_defaults(run=learn)

    summary = "measure a preference on a checkpoint and save the result in its file"
    command = commands.add_parser("calibrate", help=summary)
    option = command.add_argument
    option("preference", type=Path, help="a preference file")
    option("--out", type=Path, help="the file to write; by default the same file")
    images = "plain pictures per group and CFG scale, and as many corrected ones (%(default)s)"
    option("--images", type=count, default=20, help=images)
    folder = "where pictures are saved as they are made; an interrupted run resumes from them"
    option("--pictures-folder", type=Path, metavar="FOLDER", help=folder)
    option("--target", type=share, default=0.95, help="report whether this target is reachable (%(default)s)")
    option("--seed", type=seed, default=1)
    add_host_options(command)
    command.set_defaults(run=calibrate)

    command = commands.add_parser("gate", help="train the gate of a preference again, for example on more aliases")
    option = command.add_argument
    option("preference", type=Path, help="a preference file")
    axis = "an axis file with other aliases, paraphrases and other values; by default the axis in the file"
    option("--axis", type=Path, help=axis)
    option("--out", type=Path, help="the file to write; by default the same file")
    option("--seed", type=seed, default=0)
    add_host_options(command, draws=False)
    command.set_defaults(run=gate)

    command = commands.add_parser("combine", help="combine preference files of several axes into one file")
    command.add_argument("preferences", type=Path, nargs="+", help="preference files, each of another axis")
    command.add_argument("--out", type=Path, required=True)
    command.set_defaults(run=combine)

    summary = "write a folder for a hub: a preference file, its model card and pictures; nothing is uploaded"
    command = commands.add_parser("publish", help=summary)
    command.add_argument("file", type=Path, help="a preference file")
    command.add_argument("folder", type=Path, help="the folder to write, new or empty")
    command.set_defaults(run=publish)

    summary = "print the metadata of a preference file as JSON, or what was done to a picture in sentences"
    command = commands.add_parser("inspect", help=summary)
    command.add_argument("file", type=Path, help="a preference file, or a picture that was made with one")
    command.set_defaults(run=inspect)


def learn(args: Namespace) -> None:
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


def _learn(axis: Axis, path: Path, host: Checkpoint | FlowMiniature, args: Namespace) -> None:
    from tqdm import tqdm

    from ..files.folders import AXES, HOME
    from ..gate.texts import gate_others
    from ..learning import learn as learning
    from ..learning.calibrate import scales
    from ..learning.cost import cost_of
    from ..learning.pairs import make_pairs, steps_of
    from ..learning.report import draw_report, report_path
    from ..learning.store import check_room, store_name
    from ..preference.file import save_preference
    from ..preference.updated_file import update_preference

    name = store_name(axis, args.seed, args.cfg, args.steps, host.identity)
    folder = args.pairs_folder or HOME / "out" / "pairs" / name
    folder.mkdir(parents=True, exist_ok=True)
    size, _ = check_room(folder, axis, args.pairs, host.shape)
    cost = cost_of(
        host, axis, host.shape, args.pairs, args.points, args.cfg, args.calibration, scales(args.cfg)
    )  # fmt: skip
    print(f"This takes {cost}{', and more until it ends' if args.until else ''}. Pairs: {size / 2**20:.1f} MB in "
          f"{folder}. All is kept if you stop.", flush=True)  # fmt: skip
    with tqdm(total=2 * args.pairs * len(axis.groups), desc="pairs", unit="picture") as bar:
        pairs = make_pairs(host, axis, args.pairs, args.seed, args.cfg, steps_of(host), folder=folder, batch=host.batch,
                           progress=lambda latents: bar.update(len(latents)))  # fmt: skip
    others: dict[str, Any] = gate_others(axis, AXES, host.space)

    def saved(preference: Preference) -> None:
        hash_, figures = save_preference(preference, path), preference.training
        print(f"Wrote {path} ({hash_}), not calibrated yet: learned from {figures['points']} points, it explains "
              f"{figures['update_r2']:.0%} of the model's update.", flush=True)  # fmt: skip

    preference = learning.learn(
        host, axis, args.pairs, args.seed, args.cfg, args.points, pairs, _stages(), folder, saved,
        args.until and args.until(), **others,
    )  # fmt: skip
    save_preference(preference, path)
    print(json.dumps(preference.training, indent=1), flush=True)
    for sentence in preference.weaknesses:
        print(f"This preference is weak: {sentence}.", flush=True)
    if args.calibration:
        args.seed += 1  # other pictures than the pairs
        few = steps_of(host)
        preference = _calibrated(host, preference, args.calibration, args, folder / "calibration", steps=few)
        print(f"Wrote {path} ({update_preference(preference, path, scales(args.cfg)).hash}).")
    latents = pairs.latents[:, :, :6]
    pictures = host.decode(latents.flatten(0, 2)).unflatten(0, latents.shape[:3])
    draw_report(preference, pairs, report_path(path), pictures)
    print(f"Wrote {path.with_suffix('.png')}: held-out figures, skin tones and pairs.")


def _stages():
    """-> progress(stage, done, total), one progress bar per stage."""
    from tqdm import tqdm

    bars = {}

    def progress(stage: str, done: int, total: int) -> None:
        if stage not in bars:
            bars[stage] = tqdm(total=total, desc=stage, mininterval=1)
        bars[stage].update(done - bars[stage].n)
        if done == total:
            bars.pop(stage).close()  # each state learns again

    return progress


def _calibrated(host, preference, images, args, folder, target=0.95, steps=None) -> Preference:
    """Calibrate on `images` plain pictures per group and CFG scale and print the result."""
    from tqdm import tqdm

    from ..learning.calibrate import calibrate, pictures_needed, scales

    cfgs = scales(args.cfg)
    total = pictures_needed(len(preference.axis.groups), images, cfgs)
    print(f"Calibration at CFG {' and '.join(f'{cfg:g}' for cfg in cfgs)}: at most {total} pictures, kept in {folder} "
          "if you stop.", flush=True)  # fmt: skip
    with tqdm(desc="calibration", unit="picture", total=total) as bar:
        preference = calibrate(host, preference, images, cfgs, args.seed, bar.update, folder, steps=steps)
    for calibration in preference.calibrations:
        print(*calibration.sentences(preference.axis.counter.description, target), sep="\n", flush=True)
    return preference


def calibrate(args: Namespace) -> None:
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
    in_place = path.resolve() == args.preference.resolve()
    if in_place and of_other_models(preference, host):
        raise PreferenceFileError(
            f"{args.preference.name}: calibrated on another checkpoint or LoRA, and that calibration would be lost; "
            "name another file with --out."
        )
    settings = preference.hash, args.images, args.seed, args.cfg, args.steps, host.identity
    name = f"{preference.axis.id}-{digest(settings)}"
    folder = args.pictures_folder or HOME / "out" / "calibrations" / name
    with nullcontext() if in_place else at_work(path, "a calibration"):
        preference = _calibrated(host, preference, args.images, args, folder, args.target)
        if in_place:  # other programs may have calibrated it at other CFG scales meanwhile
            written = update_preference(preference, path, scales(args.cfg)).hash
        else:
            written = save_preference(preference, path)
    print(f"Wrote {path} ({written}).")


def gate(args: Namespace) -> None:
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
        others: dict[str, Any] = gate_others(preference.axis, AXES, host.space)
        preference.gate, figures = host_gate(host, preference.axis, args.seed, **others)
        preference.training[GATE_FIGURES] = figures
        weak = [f"This gate is weak: {figures['weak']}."] if "weak" in figures else []
        print(json.dumps(figures, indent=1), *weak, sentence_about_own(preference, host), sep="\n", flush=True)
    in_place = path.resolve() == args.preference.resolve()
    hashes = [update_gate(p, path).hash for p in changed] if in_place else save_preferences(preferences, path)
    print(f"Wrote {path} ({', '.join(hashes)}).")


def _with_wordings(preferences: list[Preference], axis: Axis, args: Namespace) -> Preference:
    """The preference of an axis among several, with the wordings of that axis. Raises PreferenceFileError."""
    from ..preference.file import PreferenceFileError

    preference = next((preference for preference in preferences if preference.axis.id == axis.id), None)
    if preference is None:
        raise PreferenceFileError(
            f"{args.preference.name}: it has no preference of the axis {axis.id}, only of "
            f"{', '.join(preference.axis.id for preference in preferences)}; name the axis file of one of these."
        )
    if field := axis.differs(preference.axis):
        raise PreferenceFileError(
            f'{args.axis.name}: its "{field}" is not that of the preference in {args.preference.name}. A gate can be '
            'trained for other "aliases", "paraphrases" and "another"; for all else, learn the preference again.'
        )
    preference.axis = axis
    return preference


def combine(args: Namespace) -> None:
    """Combine preference files, each of another axis, into one."""
    from ..preference.file import check_writable, load_preferences, save_preferences

    check_writable(args.out)
    preferences = [preference for path in args.preferences for preference in load_preferences(path)]
    save_preferences(preferences, args.out)
    print(f"Wrote {args.out}: {', '.join(preference.name for preference in preferences)}.")


def publish(args: Namespace) -> None:
    """Write the folder that shows a preference file on a hub."""
    from ..learning.model_card import write_model_card

    print(f"Wrote {', '.join(write_model_card(args.file, args.folder))} in {args.folder}. Nothing was uploaded.")


def inspect(args: Namespace) -> None:
    """Print the metadata of a preference file as JSON, a list if it holds several; or what was done to a picture."""
    from ..preference.file import load_preferences
    from .pictures import describe, is_picture

    if is_picture(args.file):
        print("\n".join(describe(args.file)))
        return
    metadata = [
        {name: getattr(preference, name) for name in ("name", "hash", "space", "training")}
        | {"axis": preference.axis.to_dict(), "calibrations": [vars(c) for c in preference.calibrations]}
        | {"caveats": preference.caveats()}
        for preference in load_preferences(args.file)
    ]
    print(visible(json.dumps(metadata if len(metadata) > 1 else metadata[0], indent=1, ensure_ascii=False)))
