"""The file report.json, validated against the published schema, and what charts and pages look up in a report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from ..axis.axis import axis_from_dict
from ..files import json_files
from ..files.json_files import UnreadableError, complaint
from ..files.whole_files import write_whole
from .plan import AuditError, report_schema

Report: TypeAlias = Mapping[str, Any]  # as audit-report.schema.json describes it

REPORT_FORMAT = 1
LARGEST_REPORT = 24 * 2**20  # bytes; a picture takes some 600
VERDICT_GROUPS = 4  # in a verdict


def write_report(report: dict[str, Any], path: Path) -> None:
    """Write report.json atomically. Raises AuditError if the report does not match the schema."""
    if wrong := complaint(report, report_schema()):
        raise AuditError(f"The report does not match its own schema ({wrong}); please report this as a bug.")
    write_whole(path, json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, missing: str, damaged: str, schema: dict | None = None, **limits: int) -> Any:
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


def load_report(path: Path) -> dict[str, Any]:
    """Read a report. Raises AuditError if it is missing, incomplete, of a later version, or not a report."""
    report = read_json(
        path, "there is no such report; give the report.json that an audit wrote.",
        "incomplete, or not a report; run the audit again, which reuses its pictures.",
        largest=LARGEST_REPORT,
    )  # fmt: skip
    version = report.get("format") if isinstance(report, dict) else None
    if type(version) is int and version > REPORT_FORMAT:
        raise AuditError(
            f"{path}: format {version} is later than this RS-Corrector can read ({REPORT_FORMAT}); update it."
        )
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
    for group, judge, *rows in rate_rows(report):
        for row in rows if settings["strengths"] else rows[:1]:
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


def title_of(report: Report) -> str:
    """The title of the report's axis."""
    return report["axis"].get("title", report["axis"]["id"])


def figure(report: Report, name: str, group: str, strength: float | None, judge: str | None = None) -> dict | None:
    """The row of a figure at the first CFG scale, or None."""
    keys = "figure", "group", "strength", "judge", "cfg"
    values = name, group, strength, judge, report["settings"]["cfgs"][0]
    return next((row for row in report["figures"] if tuple(row[key] for key in keys) == values), None)


def rate_rows(report: Report) -> list[tuple[str, str, Any, Any]]:
    """Stereotype rates at the first CFG scale and strength: [(group, judge, plain row, corrected row or None)]."""
    plain, corrected = 0.0, next(iter(report["settings"]["strengths"]), None)

    def row(group, judge, strength):
        return figure(report, "stereotype rate", group, strength, judge)

    return [
        (group, judge["name"], row(group, judge["name"], plain), row(group, judge["name"], corrected))
        for group in report["axis"]["groups"]
        for judge in report["judges"]
    ]


def share(row: Mapping[str, Any]) -> str:
    """A rate with its interval as text, such as "90% [77%, 96%]"."""
    return f"{row['value']:.0%} [{row['low']:.0%}, {row['high']:.0%}]"


def places_of(report: Report, group: str, strength: float) -> list[int]:
    """Indices into report["pictures"] of a group's neutral pictures at the first CFG scale and one strength."""
    cell = group, "neutral", report["settings"]["cfgs"][0], strength
    keys = "group", "kind", "cfg", "strength"
    return [place for place, p in enumerate(report["pictures"]) if tuple(p[key] for key in keys) == cell]


def twins_of(report: Report) -> list[int]:
    """For each of report["pictures"], the index of the plain one with the same prompt and seed."""
    keys = [tuple(picture[key] for key in ("group", "kind", "cfg", "index")) for picture in report["pictures"]]
    plain = {key: i for i, (key, p) in enumerate(zip(keys, report["pictures"], strict=True)) if p["strength"] == 0}
    return [plain[key] for key in keys]


def verdict(report: Report) -> list[tuple[str, str]]:
    """Rates by the first judge, failures and notes -> (level, sentence) each, for where there is no room for a page."""
    judge, groups = report["judges"][0]["name"], len(report["axis"]["groups"])
    rates = [
        f"{group} {plain['value']:.0%}" + (f" → {after['value']:.0%}" if after else "")
        for group, name, plain, after in rate_rows(report)
        if name == judge
    ]
    more_groups = [f"and {groups - VERDICT_GROUPS} more groups"] if groups > VERDICT_GROUPS else []
    side = report["axis"]["stereotype"]["description"]
    lines = [("said", f"{side}: {', '.join(rates[:VERDICT_GROUPS] + more_groups)}")]
    if failures := _named(report, "failure"):
        lines.append(("failure", f"failures: {failures}"))
    elif report["settings"]["strengths"]:
        lines.append(("success", "no failure found"))
    if notes := _named(report, "note"):
        lines.append(("note", f"notes: {notes}"))
    return lines


def _named(report, level):
    """The findings of a level by name, with their groups: "lightens skin (Orvane), does nothing (Tavelu)"."""
    groups = {}
    for finding in report["findings"]:
        if finding["level"] == level:
            groups.setdefault(finding["name"], []).append(finding["group"])
    return ", ".join(name + (f" ({', '.join(names)})" if all(names) else "") for name, names in groups.items())
