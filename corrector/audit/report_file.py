"""Write and read report.json, validated against the published schema."""

import json
from functools import cache
from pathlib import Path

from ..latent_space.whole_files import write_whole
from .plan import AuditError

FORMAT = 1
SCHEMA = Path(__file__).with_name("audit-report.schema.json")


@cache
def report_schema():
    """The schema of reports (JSON Schema, draft 2020-12)."""
    return json.loads(SCHEMA.read_text(encoding="utf-8"))


def write_report(report, path):
    """Write report.json atomically. Raises AuditError if the report does not match the schema."""
    if wrong := complaint(report):
        raise AuditError(f"The report does not match its own schema ({wrong}); please report this as a bug.")
    write_whole(path, json.dumps(report, indent=1, ensure_ascii=False) + "\n")


def complaint(report):
    """The first violation of the schema as text, or None."""
    from jsonschema import Draft202012Validator

    error = next(Draft202012Validator(report_schema()).iter_errors(report), None)
    return error and f"{'.'.join(map(str, error.absolute_path)) or 'report'}: {error.message[:160]}"


def load_report(path):
    """Read a report. Raises AuditError if it is missing, incomplete, of a later version, or not a report."""
    path = Path(path)
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AuditError(f"{path}: there is no such report; give the report.json that an audit wrote.") from None
    except (OSError, ValueError):
        raise AuditError(
            f"{path}: incomplete, or not a report; run the audit again, which reuses its pictures."
        ) from None
    later = report.get("format") if isinstance(report, dict) else None
    if isinstance(later, int) and later > FORMAT:
        raise AuditError(f"{path}: format {later} is later than this RS-Corrector can read ({FORMAT}); update it.")
    if wrong := complaint(report):
        raise AuditError(f"{path}: not a report of an audit ({wrong}); give the report.json that an audit wrote.")
    return report
