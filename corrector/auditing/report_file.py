"""The file report.json, validated against the published schema, and what charts and pages look up in a report."""

import json

from ..axis.axis import axis_from_dict
from ..files import json_files
from ..files.json_files import UnreadableError, complaint
from ..files.whole_files import write_whole
from .plan import AuditError, report_schema

FORMAT = 1
LARGEST = 24 * 2**20  # bytes; a picture takes some 600


def write_report(report, path):
    """Write report.json atomically. Raises AuditError if the report does not match the schema."""
    if wrong := complaint(report, report_schema()):
        raise AuditError(f"The report does not match its own schema ({wrong}); please report this as a bug.")
    write_whole(path, json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path, missing, damaged, schema=None, **limits):
    """Content of a JSON file. Raises AuditError with one of two messages if it is missing or damaged.

    `schema`, `limits`: as for `json_files.read_json`.
    """
    try:
        return json_files.read_json(path, schema, **limits)
    except FileNotFoundError:
        raise AuditError(f"{path}: {missing}") from None
    except OSError as error:
        raise AuditError(f"{path}: it cannot be read ({error.strerror}).") from None
    except UnreadableError as error:
        raise AuditError(f"{path}: {damaged} ({str(error).rstrip('.')})") from None


def load_report(path):
    """Read a report. Raises AuditError if it is missing, incomplete, of a later version, or not a report."""
    report = read_json(
        path, "there is no such report; give the report.json that an audit wrote.",
        "incomplete, or not a report; run the audit again, which reuses its pictures.", largest=LARGEST,
    )  # fmt: skip
    later = report.get("format") if isinstance(report, dict) else None
    if type(later) is int and later > FORMAT:
        raise AuditError(f"{path}: format {later} is later than this RS-Corrector can read ({FORMAT}); update it.")
    wrong = complaint(report, report_schema())
    if not wrong:
        axis_from_dict(report["axis"], f"{path}: axis")
        wrong = _across_fields(report)
    if wrong:
        raise AuditError(f"{path}: not a report of an audit ({wrong}); give the report.json that an audit wrote.")
    return report


def _across_fields(report):
    """Checks across fields, which a schema cannot express -> what is wrong, or None."""
    groups, pictures, settings = report["axis"]["groups"], report["pictures"], report["settings"]
    names = [judge["name"] for judge in report["judges"]]
    if len(set(names)) < len(names):
        return "two judges have one name"
    for row in report["figures"]:
        if (row["low"] is None) != (row["high"] is None) or (row["value"] is None and row["low"] is not None):
            return "a figure has half of an interval"
    for group, judge, plain, after in rate_rows(report):
        for row in (plain, after) if settings["strengths"] else (plain,):
            if row is None or row["low"] is None or row["n"] < 1 or not 0 <= row["value"] <= 1:
                return f'it has no stereotype rate of "{group}" by the judge "{judge}"'
    try:
        twins_of(report)
    except KeyError:
        return "a picture has no plain twin"
    if any(entry["picture"] >= len(pictures) for entry in report["worse"]):
        return "it names a picture that it does not have"
    if any(not places_of(report, group, strength) for group in groups for strength in (0, *settings["strengths"])):
        return "a group has no pictures"
    return None


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
