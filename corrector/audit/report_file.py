"""The file report.json, validated against the published schema, and what charts and pages look up in a report."""

import json
from functools import cache
from pathlib import Path

from ..latent_space.whole_files import write_whole
from .plan import AuditError

FORMAT = 1
SCHEMA = Path(__file__).with_name("audit-report.schema.json")


@cache
def _validator():
    from jsonschema import Draft202012Validator

    return Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))


def write_report(report, path):
    """Write report.json atomically. Raises AuditError if the report does not match the schema."""
    if wrong := complaint(report):
        raise AuditError(f"The report does not match its own schema ({wrong}); please report this as a bug.")
    write_whole(path, json.dumps(report, indent=1, ensure_ascii=False) + "\n")


def complaint(report):
    """The first violation of the schema as text, or None."""
    error = next(_validator().iter_errors(report), None)
    return error and f"{'.'.join(map(str, error.absolute_path)) or 'report'}: {error.message[:160]}"


def read_json(path, missing, damaged):
    """Content of a JSON file. Raises AuditError with one of two messages if it is missing or damaged."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AuditError(f"{path}: {missing}") from None
    except (OSError, ValueError):
        raise AuditError(f"{path}: {damaged}") from None


def load_report(path):
    """Read a report. Raises AuditError if it is missing, incomplete, of a later version, or not a report."""
    report = read_json(
        path, "there is no such report; give the report.json that an audit wrote.",
        "incomplete, or not a report; run the audit again, which reuses its pictures.",
    )  # fmt: skip
    later = report.get("format") if isinstance(report, dict) else None
    if isinstance(later, int) and later > FORMAT:
        raise AuditError(f"{path}: format {later} is later than this RS-Corrector can read ({FORMAT}); update it.")
    if wrong := complaint(report):
        raise AuditError(f"{path}: not a report of an audit ({wrong}); give the report.json that an audit wrote.")
    return report


def title_of(report):
    return report["axis"].get("title", report["axis"]["id"])


def figure(report, name, group, strength, judge=None):
    """The row of a figure at the first CFG scale, or None."""
    keys, wanted = ("figure", "group", "strength", "judge", "cfg"), (name, group, strength, judge)
    wanted += (report["settings"]["cfgs"][0],)
    return next((row for row in report["figures"] if tuple(row[key] for key in keys) == wanted), None)


def rate_rows(report):
    """Stereotype rates at the first CFG scale and strength: [(group, judge, plain row, corrected row or None)]."""
    strengths = 0.0, *(report["settings"]["strengths"][:1] or [None])
    return [
        (group, judge["name"], *(figure(report, "stereotype rate", group, s, judge["name"]) for s in strengths))
        for group in report["axis"]["groups"]
        for judge in report["judges"]
    ]


def interval(row):
    """A row of figures as text, such as "0.900 [0.769, 0.960]"; "" if it is None or has no value."""
    if row is None or row["value"] is None:
        return ""
    return f"{row['value']:.3f}" + ("" if row["low"] is None else f" [{row['low']:.3f}, {row['high']:.3f}]")


def share(row):
    """A rate with its interval as text, such as "90% [77%, 96%]"."""
    return f"{row['value']:.0%} [{row['low']:.0%}, {row['high']:.0%}]"


def places_of(report, group, strength):
    """Indices into report["pictures"] of a group's neutral pictures at the first CFG scale and one strength."""
    wanted = group, "neutral", report["settings"]["cfgs"][0], strength
    keys = "group", "kind", "cfg", "strength"
    return [place for place, p in enumerate(report["pictures"]) if tuple(p[key] for key in keys) == wanted]


def twins_of(report):
    """For each of report["pictures"], the index of the plain one with the same prompt and seed."""
    keys = [tuple(picture[key] for key in ("group", "kind", "cfg", "index")) for picture in report["pictures"]]
    plain = {key: i for i, (key, p) in enumerate(zip(keys, report["pictures"], strict=True)) if p["strength"] == 0}
    return [plain[key] for key in keys]
