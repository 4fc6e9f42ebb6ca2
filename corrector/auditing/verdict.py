"""The verdict of a report in two or three lines, for where there is no room for a page."""

from .report_file import rate_rows

MOST_GROUPS = 4


def verdict(report):
    """-> (level, sentence) each, with the levels of findings: rates by the first judge, failures, notes."""
    side, judge = report["axis"]["stereotype"]["description"], report["judges"][0]["name"]
    rates = [
        f"{group} {plain['value']:.0%}" + (f" → {after['value']:.0%}" if after else "")
        for group, of, plain, after in rate_rows(report)
        if of == judge
    ]
    more = [f"and {len(rates) - MOST_GROUPS} more groups"] if len(rates) > MOST_GROUPS else []
    lines = [("said", f"{side}: {', '.join(rates[:MOST_GROUPS] + more)}")]
    found = {level: _named(report, level) for level in ("failure", "note")}
    if found["failure"]:
        lines.append(("failure", f"failures: {found['failure']}"))
    elif report["settings"]["strengths"]:
        lines.append(("success", "no failure found"))
    if found["note"]:
        lines.append(("note", f"notes: {found['note']}"))
    return lines


def _named(report, level):
    """The findings of a level by name, with their groups: "lightens skin (Orvane), does nothing (Tavelu)"."""
    groups = {}
    for finding in report["findings"]:
        if finding["level"] == level:
            groups.setdefault(finding["name"], []).append(finding["group"])
    return ", ".join(name + (f" ({', '.join(own)})" if all(own) else "") for name, own in groups.items())
