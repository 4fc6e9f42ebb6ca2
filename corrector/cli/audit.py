"""`audit`, `merge`, `compare` and `raters`: audits from the command line."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files.errors import visible
from ..files.folders import HOME
from .options import add_host_options, cfg, count, number, open_host, seed, share

if TYPE_CHECKING:
    from ..auditing.plan import AuditStore
    from ..auditing.run import Audit


def add_commands(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "audit", help="measure what a checkpoint draws for the groups of an axis, plain and corrected by preferences"
    )
    _add_audit_options(parser)
    shard = "only the I-th of N parts; then merge"
    parser.add_argument("--shard", type=_shard, default=(0, 1), metavar="I/N", help=shard)
    parser.set_defaults(run=run_audit)
    parser = commands.add_parser("merge", help="merge the shards of an audit; give the same options as for the audit")
    _add_audit_options(parser)
    folders = "--out folders of shards made elsewhere"
    parser.add_argument("--from", type=Path, nargs="+", default=[], dest="folders", help=folders)
    parser.set_defaults(run=merge)
    parser = commands.add_parser("compare", help="compare the reports of several checkpoints")
    parser.add_argument("reports", type=Path, nargs="+", metavar="report.json")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the comparison to this HTML file")
    parser.set_defaults(run=compare)
    parser = commands.add_parser("raters", help="add the answers from an audit's blind page to its report")
    parser.add_argument("folder", type=Path, help="the audit's folder of one axis, with report.json and blind-key.json")
    parser.add_argument("answers", type=Path, nargs="+", metavar="answers.json")
    parser.set_defaults(run=raters)


def _add_audit_options(parser):
    add = parser.add_argument
    add("axis", type=Path, nargs="+", metavar="AXIS")
    what = "correct with these: preference files, or axes (files or names), for which the checkpoint itself is asked"
    add("--preference", type=Path, nargs="+", default=[], metavar="FILE", help=what)
    add("--clip", type=Path, metavar="FOLDER", help="also judge with this CLIP model, a folder in transformers' format")
    add("--images", type=count, default=100, help="neutral pictures per group, at most (%(default)s)")
    add("--explicit", type=count, help="pictures per group and side that ask for that side (a quarter of --images)")
    narrow = "stop a cell once its 95 %% intervals are +-W or narrower; 0 never stops early"
    add("--narrow", type=number(0, 1), default=0.0, metavar="W", help=narrow)
    strength = "the audit's strength, then others to sweep (1)"
    add("--strength", type=number(0, 100), nargs="+", default=[1.0], help=strength)
    add("--target", type=share, default=1.0, help="target share of the counter side (%(default)s)")
    add("--sweep-cfg", type=cfg, nargs="+", default=[], help="other CFG scales to sweep, neutral prompts only")
    add("--seed", type=seed, default=0)
    add("--out", type=Path, default=HOME / "out" / "audit", help="one folder per axis is made in it")
    add_host_options(parser)


def _shard(text):
    try:
        index, total = map(int, text.split("/"))
    except ValueError:
        raise argparse.ArgumentTypeError(f'"{text}" is not a shard; write I/N, such as 1/8') from None
    if not 1 <= index <= total:
        raise argparse.ArgumentTypeError(f'"{text}" is not a shard; I goes from 1 to N')
    return index - 1, total


def run_audit(args: argparse.Namespace) -> None:
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
            _publish(run, store, folder)


def merge(args: argparse.Namespace) -> None:
    """The report of shards from one or several folders."""
    from ..auditing.plan import AuditError, AuditStore

    host = open_host(args)
    for path in args.axis:
        run, folder = _prepared(args, path, host)
        store = AuditStore(folder / "pictures", run.settings)
        for shard in args.folders:
            places = (shard / run.plan.axis.id / "pictures", shard / "pictures", shard)
            pictures = next((place for place in places if (place / "settings.json").is_file()), None)
            if pictures is None:
                raise AuditError(f"{shard}: no shard of this audit found; give the --out folder of a shard.")
            store.take(AuditStore(pictures, run.settings))
        _publish(run, store, folder)


def _prepared(args, path, host) -> tuple[Audit, Path]:
    """-> (Audit of one axis, the folder that it writes to)."""
    from ..auditing.whole import prepared
    from ..axis.axis import load_axis
    from ..hosts.given import preferences_of

    axis, preferences = load_axis(path), preferences_of(args.preference, lambda: host)
    run = prepared(
        host, axis, preferences, args.clip, images=args.images, explicit=args.explicit, seed=args.seed,
        cfgs=(args.cfg, *args.sweep_cfg), strengths=tuple(args.strength), target=args.target, steps=args.steps,
        narrow=args.narrow,
    )  # fmt: skip
    return run, args.out / axis.id


def _publish(run: Audit, store: AuditStore, folder: Path) -> None:
    from ..auditing.chart import report_table
    from ..auditing.page import publish

    report, _ = publish(run, store, folder)
    print(visible(report_table(report)))
    print(f"\nWrote {folder / 'report.json'}, {folder / 'audit.html'}, chart.png and grid.png beside it.")


def compare(args: argparse.Namespace) -> None:
    """Print reports side by side, and write them to a page if asked."""
    from ..auditing import compare as comparison
    from ..auditing.report_file import load_report, title_of

    reports = [load_report(path) for path in args.reports]
    names = [f"{path.parent.parent.name}/{path.parent.name}" for path in args.reports]
    rows = comparison.compare(reports, names)
    print(visible(comparison.compare_table(rows, names)))
    if args.out:
        comparison.write_compare_page(rows, names, title_of(reports[0]), args.out)
        print(f"Wrote {args.out}.")


def raters(args: argparse.Namespace) -> None:
    """Add people's answers to the report and its page, and print a summary."""
    from ..auditing.blind import read_answers
    from ..auditing.page import write_audit_page
    from ..auditing.plan import AuditStore, Plan
    from ..auditing.raters import evaluate
    from ..auditing.report_file import load_report, read_json, write_report
    from ..axis.axis import axis_from_dict

    report = load_report(args.folder / "report.json")
    people = evaluate(report, *read_answers(args.folder, args.answers))
    pictures, gone = args.folder / "pictures", "the pictures of this audit are missing; run the audit again."
    store = AuditStore(pictures, read_json(pictures / "settings.json", gone, gone))
    settings: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in report["settings"].items()}
    plan = Plan(axis_from_dict(report["axis"]), **settings)
    *_, thumbnails = store.collect(plan, report["judges"][0]["name"])
    report["people"] = people
    write_report(report, args.folder / "report.json")
    write_audit_page(report, thumbnails, args.folder / "audit.html")
    print(visible("\n".join(people["words"])))
