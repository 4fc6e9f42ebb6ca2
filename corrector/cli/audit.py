"""The shell's door to audits: `python -m corrector audit | merge | compare | raters`."""

import argparse
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def add_commands(commands, add_host_options, count):
    """Register the audit's commands. `add_host_options(parser)` and `count(text)` are the other commands' own."""
    one = commands.add_parser(
        "audit", help="what a checkpoint draws for the groups of an axis; with a preference, the same corrected"
    )
    _add_audit_options(one, add_host_options, count)
    one.add_argument("--shard", type=_shard, default=(0, 1), metavar="I/N", help="only the I-th of N parts; then merge")
    one = commands.add_parser("merge", help="join the shards of an audit: the same options as the audit, no sampling")
    _add_audit_options(one, add_host_options, count)
    one.add_argument(
        "--from", type=Path, nargs="+", default=[], dest="folders", help="folders of shards made elsewhere"
    )
    one = commands.add_parser("compare", help="reports of several checkpoints side by side")
    one.add_argument("reports", type=Path, nargs="+", metavar="report.json")
    one.add_argument("--out", type=Path, help="write a page there")
    one = commands.add_parser("raters", help="read back what people answered on the blind page of an audit")
    one.add_argument("folder", type=Path, help="the audit's folder of one axis, with report.json and blind-key.json")
    one.add_argument("answers", type=Path, nargs="+", metavar="answers.json")


def _add_audit_options(parser, add_host_options, count):
    parser.add_argument("axis", type=Path, nargs="+", metavar="AXIS")
    parser.add_argument("--preference", type=Path, nargs="+", default=[], metavar="FILE", help="correct with these")
    parser.add_argument("--judge", type=Path, metavar="FILE", help="a preference file whose judge is asked")
    parser.add_argument(
        "--clip", type=Path, metavar="FOLDER", help="a CLIP model in transformers' format: a judge by words"
    )
    parser.add_argument("--images", type=count, default=100, help="neutral pictures a group, at most")
    parser.add_argument("--explicit", type=count, help="pictures that ask for each side, a group; by default a quarter")
    parser.add_argument("--narrow", type=float, default=0.0, metavar="W",
                        help="stop a cell when half of its 95 %% intervals is W or less; 0 samples all")  # fmt: skip
    parser.add_argument("--strength", type=float, nargs="+", default=[1.0], help="the first is the audit's own")
    parser.add_argument("--target", type=float, default=1.0, help="share of the counter side to correct to")
    parser.add_argument(
        "--sweep-cfg", type=float, nargs="+", default=[], help="further CFG scales, neutral prompts only"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "audit", help="a folder; each axis gets one in it")
    add_host_options(parser)


def _shard(text):
    try:
        index, total = map(int, text.split("/"))
    except ValueError:
        raise argparse.ArgumentTypeError(f'"{text}" is not a shard; write I/N, as 1/8') from None
    if not 1 <= index <= total:
        raise argparse.ArgumentTypeError(f'"{text}" is not a shard; I goes from 1 to N')
    return index - 1, total


def run_audit(args, host_of):
    """`audit`: sample, judge, report. `host_of(args)` gives the checkpoint that was asked for."""
    from tqdm import tqdm

    host = host_of(args)
    for path in args.axis:
        run, folder = _audit(args, path, host)
        with tqdm(desc=run.plan.axis.id, unit="picture") as bar:

            def progress(done, total, latents, bar=bar):
                bar.total = total
                bar.update(done - bar.n)

            store = run.run(folder / "pictures", args.shard, progress)
        if args.shard[1] > 1:
            print(f"Shard {args.shard[0] + 1} of {args.shard[1]} is done; when all are: python -m corrector merge ...")
        else:
            _finish(run, store, folder)


def merge(args, host_of):
    """`merge`: the report of shards that were made in one folder, or are brought from several."""
    from ..audit.plan import AuditError, open_store

    host = host_of(args)
    for path in args.axis:
        run, folder = _audit(args, path, host)
        store = open_store(folder / "pictures", run.settings)
        for other in args.folders:
            found = next(
                (f for f in (other / run.plan.axis.id / "pictures", other / "pictures", other) if _is(f)), None
            )
            if found is None:
                raise AuditError(f"{other}: no shard of an audit is there; give the --out folder of a shard.")
            store.take(open_store(found, run.settings))
        _finish(run, store, folder)


def _is(folder):
    return (folder / "settings.json").is_file()


def _audit(args, path, host):
    """-> (Audit of one axis, its folder)."""
    from ..audit.plan import AuditError, Plan
    from ..audit.run import Audit
    from ..axis.axis import load_axis
    from ..preference.file import load_preference

    axis, preferences = load_axis(path), [load_preference(file) for file in args.preference]
    for preference in preferences:
        if preference.space != host.space:
            raise AuditError(
                f'The preference "{preference.name}" was made for "{preference.space}", and this checkpoint is '
                f'"{host.space}"; use one made for this model.'
            )
    plan = Plan(
        axis, args.images, args.explicit, args.seed, (args.cfg, *args.sweep_cfg),
        tuple(args.strength) if preferences else (), args.target, args.steps, args.narrow,
    )  # fmt: skip
    folder = args.out / axis.id
    judges = [_latent_judge(args, host, axis, preferences, folder)]
    if args.clip:
        from ..audit.clip import clip_judge

        judges.append(clip_judge(args.clip, axis))
    if axis.id in ("miniature-backdrop", "miniature-attire") and hasattr(host, "reader"):
        from ..audit.judges import ReaderJudge

        judges.append(ReaderJudge(host.reader, axis))
    return Audit(host, plan, judges, preferences), folder


def _latent_judge(args, host, axis, preferences, folder):
    """The judge of --judge, else of the preference of this axis, else one that is trained for this audit."""
    from ..audit.judges import JUDGE_PAIRS, latent_judge, trained_judge
    from ..audit.plan import AuditError
    from ..learning.pairs import make_pairs
    from ..preference.file import load_preference

    own = [p for p in preferences if p.axis.id == axis.id and p.judge is not None]
    if args.judge or own:
        source = load_preference(args.judge) if args.judge else own[0]
        if source.axis.id != axis.id or source.space != host.space:
            raise AuditError(
                f'The judge of "{source.name}" tells the sides of "{source.axis.title}" in {source.space} latents, and '
                f'the audit is of "{axis.title}" in {host.space} latents; give a judge of that.'
            )
        return latent_judge(source, [p.hash for p in preferences])
    seed = args.seed + 1_000_003  # other pictures than any that are audited
    pairs = make_pairs(host, axis, JUDGE_PAIRS, seed, args.cfg, args.steps, folder=folder / "judge-pairs",
                       batch=host.batch)  # fmt: skip
    return trained_judge(pairs, seed)


def _finish(run, store, folder):
    """Report, page, chart, grid, blind page; and the table on the shell."""
    from PIL import Image

    from ..audit.blind import write_blind_page
    from ..audit.chart import draw_grid, report_table
    from ..audit.page import publish

    report, thumbnails = publish(run, store, folder)
    Image.fromarray(draw_grid(report, thumbnails)).save(folder / "grid.png")
    if report["settings"]["strengths"]:
        write_blind_page(report, thumbnails, folder)
    print(report_table(report))
    print(f"\nWrote {folder / 'report.json'}, {folder / 'audit.html'}, chart.png and grid.png beside it.")


def compare(args):
    """`compare`: reports side by side."""
    from ..audit.chart import title_of
    from ..audit.compare import compare as compared
    from ..audit.compare import compare_table, write_compare_page
    from ..audit.report_file import load_report

    reports = [load_report(path) for path in args.reports]
    names = [f"{path.parent.parent.name}/{path.parent.name}" for path in args.reports]
    rows = compared(reports, names)
    print(compare_table(rows, names))
    if args.out:
        write_compare_page(rows, names, title_of(reports[0]), args.out)
        print(f"Wrote {args.out}.")


def raters(args):
    """`raters`: what people answered, printed, and into the report and its page."""
    from ..audit.blind import read_answers, said_by_people
    from ..audit.chart import draw_chart
    from ..audit.page import write_audit_page
    from ..audit.report_file import load_report, write_report

    report = load_report(args.folder / "report.json")
    people = said_by_people(report, *read_answers(args.folder, args.answers))
    report, thumbnails = {**report, "people": people}, _thumbnails(report, args.folder / "pictures")
    write_report(report, args.folder / "report.json")
    write_audit_page(report, thumbnails, args.folder / "audit.html", draw_chart(report))
    print("\n".join(people["words"]))


def _thumbnails(report, folder):
    """The thumbnails of a report's pictures, from the store that it was made of."""
    import json

    from ..audit.plan import AuditError, Plan, open_store
    from ..axis.axis import axis_from_dict

    settings = {name: tuple(v) if isinstance(v, list) else v for name, v in report["settings"].items()}
    try:
        known = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise AuditError(f"{folder}: the pictures of this audit are not there; run the audit again.") from None
    plan = Plan(axis_from_dict(report["axis"]), **settings)
    return open_store(folder, known).collect(plan, report["judges"][0]["name"])[2]


def refusals():
    """What the commands refuse in a sentence."""
    from ..audit.plan import AuditError
    from ..preference.networks import PreferenceError

    return AuditError, PreferenceError
