"""report.json: written whole, held to the published schema, and read back with a sentence for all that is not one."""

import json
from functools import cache
from pathlib import Path

from ..latent_space.whole_files import write_whole
from .plan import AuditError

FORMAT = 1
SCHEMA = Path(__file__).with_name("audit-report.schema.json")


@cache
def report_schema():
    """The published schema of reports (JSON Schema, draft 2020-12)."""
    return json.loads(SCHEMA.read_text(encoding="utf-8"))


def write_report(report, path):
    """Write report.json whole or not at all. Raises AuditError where it breaks the published schema."""
    wrong = complaint(report)
    if wrong:
        raise AuditError(f"The report breaks its own schema ({wrong}); please file this as a bug.")
    write_whole(path, json.dumps(report, indent=1, ensure_ascii=False) + "\n")


def complaint(report):
    """What breaks the published schema, or None."""
    from jsonschema import Draft202012Validator

    error = next(Draft202012Validator(report_schema()).iter_errors(report), None)
    return error and f"{'.'.join(map(str, error.absolute_path)) or 'report'}: {error.message[:160]}"


def load_report(path):
    """Read one report. Raises AuditError when it is missing, cut off, of a later version, or not a report."""
    path = Path(path)
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AuditError(f"{path}: there is no such report; give the report.json that an audit wrote.") from None
    except (OSError, ValueError):
        raise AuditError(
            f"{path}: cut off, or not a report; run the audit again, which samples nothing twice."
        ) from None
    if not isinstance(report, dict) or not isinstance(report.get("format"), int):
        raise AuditError(f"{path}: not a report of an audit; give the report.json that an audit wrote.")
    if report["format"] > FORMAT:
        raise AuditError(
            f"{path}: format {report['format']} is later than this RS-Corrector knows ({FORMAT}); update it."
        )
    if wrong := complaint(report):
        raise AuditError(f"{path}: not a report of an audit ({wrong}); run the audit again.")
    return report
