"""`audit`, `merge`, `compare` and `raters`: audits from the command line."""

import argparse
from pathlib import Path

from ..files.errors import visible
from ..files.folders import HOME
from .options import add_host_options, cfg, count, number, open_host, seed, share


def add_commands(commands):
    one = commands.add_parser(
        "audit", help="measure what a checkpoint draws for the groups of an axis, plain and corrected by preferences"
    )
    _add_audit_options(one)
    one.add_argument("--shard", type=_shard, default=(0, 1), metavar="I/N", help="only the I-th of N parts; then merge")
    one.set_defaults(run=run_audit)
    one = commands.add_parser("merge", help="merge the shards of an audit; give the same options as for the audit")
    _add_audit_options(one)
    one.add_argument(
        "--from", type=Path, nargs="+", default=[], dest="folders", help="--out folders of shards made elsewhere"
    )
    one.set_defaults(run=merge)
    one = commands.add_parser("compare", help="compare the reports of several checkpoints")
    one.add_argument("reports", type=Path, nargs="+", metavar="report.json")
    one.add_argument("--out", type=Path, metavar="FILE", help="also write the comparison to this HTML file")
    one.set_defaults(run=compare)
    one = commands.add_parser("raters", help="add the answers from an audit's blind page to its report")
    one.add_argument("folder", type=Path, help="the audit's folder of one axis, with report.json and blind-key.json")
    one.add_argument("answers", type=Path, nargs="+", metavar="answers.json")
    one.set_defaults(run=raters)


def _add_audit_options(parser):
    parser.add_argument("axis", type=Path, nargs="+", metavar="AXIS")
    parser.add_argument("--preference", type=Path, nargs="+", default=[], metavar="FILE", help="correct with these")
    parser.add_argument("--judge", type=Path, metavar="FILE", help="use the judge of this preference file")
    parser.add_argument(
        "--clip", type=Path, metavar="FOLDER", help="also judge with this CLIP model, a folder in transformers' format"
    )
    parser.add_argument("--images", type=count, default=100, help="neutral pictures per group, at most (%(default)s)")
    parser.add_argument(
        "--explicit", type=count, help="pictures per group and side that ask for that side (a quarter of --images)"
    )
    parser.add_argument(
        "--narrow", type=number(0, 1), default=0.0, metavar="W",
        help="stop a cell once its 95 %% intervals are +-W or narrower; 0 never stops early",
    )  # fmt: skip
    parser.add_argument(
        "--strength",
        type=number(0, 100),
        nargs="+",
        default=[1.0],
        help="the audit's strength, then others to sweep (1)",
    )
    parser.add_argument("--target", type=share, default=1.0, help="target share of the counter side (%(default)s)")
    parser.add_argument(
        "--sweep-cfg", type=cfg, nargs="+", default=[], help="other CFG scales to sweep, neutral prompts only"
    )
    parser.add_argument("--seed", type=seed, default=0)
    parser.add_argument("--out", type=Path, default=HOME / "out" / "audit", help="one folder per axis is made in it")
    add_host_options(parser)


def _shard(text):
    try:
        index, total = map(int, text.split("/"))
    except ValueError:
        raise argparse.ArgumentTypeError(f'"{text}" is not a shard; write I/N, such as 1/8') from None
    if not 1 <= index <= total:
        raise argparse.ArgumentTypeError(f'"{text}" is not a shard; I goes from 1 to N')
    return index - 1, total


def run_audit(args):
    """Sample, judge and report."""
    from tqdm import tqdm

    host = open_host(args)
    for path in args.axis:
        run, folder = _prepared(args, path, host)
        with tqdm(desc=run.plan.axis.id, unit="picture") as bar:

            def progress(done, total, latents, bar=bar):
                bar.total = total
                bar.update(done - bar.n)

            store = run.run(folder / "pictures", args.shard, progress)
        if args.shard[1] > 1:
            print(f"Shard {args.shard[0] + 1} of {args.shard[1]} is done; after the last one, run merge.")
        else:
            _finish(run, store, folder)


def merge(args):
    """The report of shards from one or several folders."""
    from ..auditing.plan import AuditError, AuditStore

    host = open_host(args)
    for path in args.axis:
        run, folder = _prepared(args, path, host)
        store = AuditStore(folder / "pictures", run.settings)
        for other in args.folders:
            places = (other / run.plan.axis.id / "pictures", other / "pictures", other)
            found = next((place for place in places if (place / "settings.json").is_file()), None)
            if found is None:
                raise AuditError(f"{other}: no shard of this audit found; give the --out folder of a shard.")
            store.take(AuditStore(found, run.settings))
        _finish(run, store, folder)


def _prepared(args, path, host):
    """-> (Audit of one axis, the folder that it writes to)."""
    from ..auditing.whole import prepared
    from ..axis.axis import load_axis
    from ..preference.file import load_preference

    axis, preferences = load_axis(path), [load_preference(file) for file in args.preference]
    judge, folder = args.judge and load_preference(args.judge), args.out / axis.id
    run = prepared(
        host, axis, preferences, folder, judge, args.clip, images=args.images, explicit=args.explicit, seed=args.seed,
        cfgs=(args.cfg, *args.sweep_cfg), strengths=tuple(args.strength), target=args.target, steps=args.steps,
        narrow=args.narrow,
    )  # fmt: skip
    return run, folder


def _finish(run, store, folder):
    """Write report and pages, and print the table."""
    from ..auditing.chart import report_table
    from ..auditing.whole import finished

    print(visible(report_table(finished(run, store, folder))))
    print(f"\nWrote {folder / 'report.json'}, {folder / 'audit.html'}, chart.png and grid.png beside it.")


def compare(args):
    """Print reports side by side, and write them to a page if asked."""
    from ..auditing.compare import compare as compared
    from ..auditing.compare import compare_table, write_compare_page
    from ..auditing.report_file import load_report, title_of

    reports = [load_report(path) for path in args.reports]
    names = [f"{path.parent.parent.name}/{path.parent.name}" for path in args.reports]
    rows = compared(reports, names)
    print(visible(compare_table(rows, names)))
    if args.out:
        write_compare_page(rows, names, title_of(reports[0]), args.out)
        print(f"Wrote {args.out}.")


def raters(args):
    """Add people's answers to the report and its page, and print a summary."""
    from ..auditing.blind import read_answers, said_by_people
    from ..auditing.chart import draw_chart
    from ..auditing.page import write_audit_page
    from ..auditing.report_file import load_report, write_report

    report = load_report(args.folder / "report.json")
    people = said_by_people(report, *read_answers(args.folder, args.answers))
    report, thumbnails = {**report, "people": people}, _thumbnails(report, args.folder / "pictures")
    write_report(report, args.folder / "report.json")
    write_audit_page(report, thumbnails, args.folder / "audit.html", draw_chart(report))
    print(visible("\n".join(people["words"])))


def _thumbnails(report, folder):
    """The thumbnails of a report's pictures, from the store of its audit."""
    from ..auditing.plan import AuditStore, Plan
    from ..auditing.report_file import read_json
    from ..axis.axis import axis_from_dict

    gone = "the pictures of this audit are missing; run the audit again."
    store = AuditStore(folder, read_json(folder / "settings.json", gone, gone))
    settings = {name: tuple(v) if isinstance(v, list) else v for name, v in report["settings"].items()}
    return store.collect(Plan(axis_from_dict(report["axis"]), **settings), report["judges"][0]["name"])[2]
