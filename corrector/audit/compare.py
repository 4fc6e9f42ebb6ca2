"""Reports of several checkpoints or derivatives side by side: the same axis and settings, or a refusal."""

import html

from ..latent_space.drawing import STYLE
from .chart import rate_rows, title_of
from .plan import AuditError
from .statistics import gap


def compare(reports, names):
    """Reports, the first one against each other -> rows {group, judge, corrected, values, difference, low, high}.

    Differences are of independent pictures (Newcombe). Raises AuditError where axis, settings or judges do not agree.
    """
    first = reports[0]
    if len(reports) < 2:
        raise AuditError("Only one report was given; give two or more to compare.")
    for other, name in zip(reports[1:], names[1:], strict=True):
        if other["axis_hash"] != first["axis_hash"]:
            raise AuditError(
                f'{name} is of the axis "{title_of(other)}" ({other["axis_hash"]}) and {names[0]} of '
                f'"{title_of(first)}" ({first["axis_hash"]}); only reports of the same axis can be compared.'
            )
        for key, value in first["settings"].items():
            if other["settings"][key] != value:
                raise AuditError(
                    f'{name} has another "{key}" ({other["settings"][key]}) than {names[0]} ({value}); audit both with '
                    "the same settings."
                )
    shared = [j["name"] for j in first["judges"] if all(j["name"] in _judges(other) for other in reports)]
    if not shared:
        raise AuditError("These reports have no judge in common; audit both with the same kind of judge.")
    every = [{(group, judge): both for group, judge, *both in rate_rows(report)} for report in reports]
    rows = []
    for group in first["axis"]["groups"]:
        for judge in shared:
            for corrected in (False, True) if first["settings"]["strengths"] else (False,):
                found = [rates[group, judge][corrected] for rates in every]
                base = round(found[0]["value"] * found[0]["n"]), found[0]["n"]
                gaps = [gap((round(row["value"] * row["n"]), row["n"]), base) for row in found]
                rows.append({"group": group, "judge": judge, "corrected": corrected, "rates": found, "gaps": gaps})
    return rows


def _judges(report):
    return [judge["name"] for judge in report["judges"]]


def compare_table(rows, names):
    """Rows of `compare` -> text for the shell."""
    lines = ["Stereotype rates with 95 % Wilson intervals, and the difference to the first."]
    for row in rows:
        lines.append(f"{row['group']}, {row['judge']} judge, {'corrected' if row['corrected'] else 'plain'}")
        for name, rate, (value, low, high) in zip(names, row["rates"], row["gaps"], strict=True):
            line = f"  {name:<32}{rate['value']:.3f} [{rate['low']:.3f}, {rate['high']:.3f}]  n = {rate['n']}"
            lines.append(line + ("" if rate is row["rates"][0] else f"  {value:+.3f} [{low:+.3f}, {high:+.3f}]"))
    return "\n".join(lines)


def write_compare_page(rows, names, title, path):
    """The same as one self-contained page."""
    heads = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in ("Group", "Judge", "Pictures", *names))
    lines = ""
    for row in rows:
        cells = [row["group"], row["judge"], "corrected" if row["corrected"] else "plain"]
        for rate, (value, low, high) in zip(row["rates"], row["gaps"], strict=True):
            words = f"{rate['value']:.3f} [{rate['low']:.3f}, {rate['high']:.3f}], n = {rate['n']}"
            if rate is not row["rates"][0]:
                words += f"; {value:+.3f} [{low:+.3f}, {high:+.3f}]"
            cells.append(words)
        pairs = zip(("Group", "Judge", "Pictures", *names), cells, strict=True)
        lines += "<tr>" + "".join(
            f'<td data-name="{html.escape(name)}">{html.escape(cell)}</td>' for name, cell in pairs
        ) + "</tr>"  # fmt: skip
    path.write_text(
        f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>RS-Corrector: {html.escape(title)}, side by side</title>
<link rel="icon" href="data:,">
<style>{STYLE} @media (max-width: 700px) {{ td {{ white-space: normal; }}
td:last-child::before {{ content: attr(data-name) " "; }} }}</style>
</head>
<body>
<main>
<h1>{html.escape(title)}, side by side</h1>
<p class="said">Stereotype rates with 95 % Wilson intervals; after a semicolon the difference to the first model.</p>
<table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table>
</main>
</body>
</html>
""",
        encoding="utf-8",
    )
