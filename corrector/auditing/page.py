"""The report of an audit as one self-contained HTML page, pictures and charts included."""

import html

from ..files.whole_files import write_whole
from ..pages.drawing import bar_html, data_uri, document, figure_html, png, table_html
from .chart import draw_chart
from .report import build
from .report_file import figure, interval, places_of, rate_rows, title_of, twins_of, write_report

MOST_PICTURES = 400  # on a page; the report lists the others
MOST_WORSE = 40


def publish(run, store, folder):
    """Write report.json, audit.html and chart.png -> (report, thumbnails).

    Args:
        run: the Audit.
        store: the AuditStore that its `run` returned.
        folder: Path to write to.
    """
    records, features, thumbnails = store.collect(run.plan, run.judges[0].name)
    report = build(run, records, features)
    write_report(report, folder / "report.json")
    chart = draw_chart(report)
    write_audit_page(report, thumbnails, folder / "audit.html", chart)
    write_whole(folder / "chart.png", png(chart))
    return report, thumbnails


def write_audit_page(report, thumbnails, path, chart):
    """Write the page of a report.

    Args:
        report: dict as `build` makes it; with "people" if raters have answered the blind page.
        thumbnails: JPEG bytes, one per entry of report["pictures"].
        path: the HTML file; it is replaced atomically.
        chart: uint8 [H, W, 3] from `draw_chart`.
    """
    parts = [
        ("findings", "Findings", _findings(report)),
        ("worse", "Pictures that got worse", _worse(report, thumbnails)),
        ("rates", "How often the stereotype is drawn", _rates(report, chart)),
        ("changed", "What else changed", _changed(report)),
        ("people", "What people say", _people(report)),
        ("sweep", "By CFG scale and strength", _sweep(report)),
        ("judges", "Who judged", _judges(report)),
        ("pictures", "Pictures", _pictures(report, thumbnails)),
        ("figures", "All figures", _figures(report)),
    ]
    parts = [part for part in parts if part[2]]
    links = " ".join(f'<a href="#{name}">{heading}</a>' for name, heading, _ in parts)
    sections = "\n".join(
        f'<section id="{name}" aria-labelledby="{name}-h"><h2 id="{name}-h">{heading}</h2>{body}</section>'
        for name, heading, body in parts
    )
    body = f"""<h1>Audit: {html.escape(title_of(report))}</h1>
<p class="said">{html.escape(_summary(report))}</p>
<nav aria-label="Parts of this page">{links}</nav>
{sections}"""
    write_whole(path, document(f"audit: {title_of(report)}", body))


def _summary(report):
    settings, names = report["settings"], ", ".join(p["name"] for p in report["preferences"])
    where = f"the checkpoint {report['host'].get('checkpoint', '')}, and on no other"
    if report["validated_on"] == "the miniature":
        where = "the miniature, a small model with planted stereotypes of invented peoples; nothing here was measured "
        where += "on Stable Diffusion"
    corrected = f", and corrected by {names} at strength {settings['strengths'][0]:g}" if names else ""
    return (
        f"Pictures for prompts that name one of {', '.join(report['axis']['groups'])} and ask for neither side: plain"
        f"{corrected}. The stereotype is {report['axis']['stereotype']['description']}, the counter side "
        f"{report['axis']['counter']['description']}. CFG {settings['cfgs'][0]:g}, {settings['steps']} steps, seed "
        f"{settings['seed']}. Measured on {where}. A group is what the prompt names: nobody is classified by race."
    )


def _findings(report):
    lines = ""
    for f in report["findings"]:
        head = html.escape(f"{f['level'].capitalize()}: {f['name']}.")
        lines += f'<li class="{f["level"]}"><b>{head}</b> {html.escape(f["words"])}</li>'
    return f'<ul class="findings">{lines}</ul>' if lines else "<p>Nothing stands out; see the figures.</p>"


def _rates(report, chart):
    wide, narrow = (data_uri(png(drawn)) for drawn in (chart, draw_chart(report, narrow=True)))
    rows, texts = [], []
    for group, judge, plain, after in rate_rows(report):
        names = html.escape(group), html.escape(judge)
        rows.append([*names, interval(plain), interval(after), plain["n"], bar_html(plain, after)])
        texts.append(f"{group}, {judge} judge: {plain['value']:.2f}" + (f" to {after['value']:.2f}" if after else ""))
    return (
        '<p class="soft">Share of pictures, with 95 % Wilson intervals. <b class="plain">&#9679; plain</b>, '
        '<b class="corrected">&#9670; corrected</b>.</p>'
        f"{table_html(('Group', 'Judge', 'Plain', 'Corrected', 'n', 'Chart'), rows, 'Stereotype rates')}"
        f'<picture><source media="(max-width: 700px)" srcset="{narrow}">'
        f'<img class="chart" src="{wide}" alt="Stereotype rates and skin lightness before and after. '
        f'{html.escape("; ".join(texts))}"></picture>'
    )


CHANGED = (
    "group kept", "asked for stereotype: obeyed", "asked for counter: obeyed", "skin L* drift", "skin ITA drift",
    "skin hue drift", "variety, over plain", "distance to other groups, over plain", "structure kept (SSIM)",
    "sharpness, over plain", "denoising error, over plain",
    "denoising error, over the model's own counter pictures",
)  # fmt: skip


def _changed(report):
    """Side effects of the correction by group, at the first CFG scale and strength."""
    if not report["settings"]["strengths"]:
        return ""
    groups, strength = report["axis"]["groups"], report["settings"]["strengths"][0]
    judges, rows = [None, *(judge["name"] for judge in report["judges"])], []  # None: figures without a judge
    for name in CHANGED:
        by_judge = ((figure(report, name, group, strength, judge) for judge in judges) for group in groups)
        found = [next(filter(None, rows_of_group), None) for rows_of_group in by_judge]
        if any(found):
            unit = next(filter(None, found))["unit"]
            unit = "" if unit in name else f' <span class="soft">({unit})</span>'
            rows.append([html.escape(name) + unit, *map(interval, found)])
    return (
        '<p class="soft">Corrected against plain on the same seeds, with 95 % intervals. A drift of 0 and a ratio of 1 '
        f"mean no change.</p>{table_html(('Figure', *groups), rows, 'What else changed, by group', 'by-group')}"
    )


def _sweep(report):
    """Stereotype rates by the first judge at every CFG scale and strength, if the audit has a sweep."""
    settings = report["settings"]
    if len(settings["cfgs"]) == 1 and len(settings["strengths"]) < 2:
        return ""
    columns = ["Group", "CFG", "Plain", *(f"Strength {strength:g}" for strength in settings["strengths"])]
    judge, rates = report["judges"][0]["name"], {}
    for row in report["figures"]:
        if row["figure"] == "stereotype rate" and row["judge"] == judge:
            rates[row["group"], row["cfg"], row["strength"]] = interval(row)
    rows = [
        [html.escape(group), f"{cfg:g}", *(rates.get((group, cfg, s), "") for s in (0.0, *settings["strengths"]))]
        for group in report["axis"]["groups"]
        for cfg in settings["cfgs"]
    ]
    return table_html(columns, rows, f"Stereotype rates by the {judge} judge")


def _judges(report):
    lines = ""
    for judge in report["judges"]:
        asked, off = judge["agrees_with_explicit_prompts"], judge.get("rate_minus_the_readers", {})
        words = [f"{judge['what'][:1].upper()}{judge['what'][1:]} (from {judge['source']})."]
        if judge["cross_fitted_accuracy"] is not None:
            words.append(f"Correct on {judge['cross_fitted_accuracy']:.1%} of pictures that it was not trained on.")
        words.append(f"Agrees with prompts that ask for a side in {interval(asked)} of {asked['n']} pictures.")
        if off:
            values = ", ".join(f"{value:+.3f} ({name})" for name, value in off.items())
            words.append(f"Its stereotype rate minus the reader's: {values}.")
        lines += f"<dt>{html.escape(judge['name'])}</dt><dd>{html.escape(' '.join([*words, judge['caveat']]))}</dd>"
    return f"<dl>{lines}</dl>"


def _people(report):
    lines = "".join(f"<li>{html.escape(words)}</li>" for words in report.get("people", {}).get("words", ()))
    return lines and f"<ul>{lines}</ul>"


def _worse(report, thumbnails):
    """The corrected pictures that got worse, with the reasons; "" if nothing was corrected."""
    strengths, worse = report["settings"]["strengths"][:1], report["worse"]
    if not strengths:
        return ""
    if not worse:
        return "<p>No corrected picture got worse by any of the measures here.</p>"
    shown = worse[:MOST_WORSE]
    drawn = _drawn(report, thumbnails, [entry["picture"] for entry in shown], ["; ".join(e["why"]) for e in shown])
    after = sum(picture["strength"] == strengths[0] for picture in report["pictures"])
    count = f"{len(worse)} of {after} corrected pictures; {len(shown)} are shown."
    return f'<p class="soft">{count} Before above after.</p>{drawn}'


def _pictures(report, thumbnails):
    """Plain above corrected pictures by group, at most MOST_PICTURES including those that got worse."""
    strengths, groups, parts = report["settings"]["strengths"], report["axis"]["groups"], ""
    each = 2 if strengths else 1
    shown = each * min(MOST_WORSE, len(report["worse"]))
    most = max(1, (MOST_PICTURES - shown) // each // len(groups))
    for group in groups:
        places = places_of(report, group, strengths[0] if strengths else 0.0)
        count = f"{'Before above after. ' if strengths else ''}{min(most, len(places))} of {len(places)}."
        drawn = _drawn(report, thumbnails, places[:most])
        parts += f'<h3>{html.escape(group)}</h3><p class="soft">{count}</p>{drawn}'
    return parts


def _drawn(report, thumbnails, places, words=None):
    """A grid of pictures with prompt, seed and some words each: corrected ones below their plain twins."""
    figures, twins = "", twins_of(report)
    for place, said in zip(places, words or [""] * len(places), strict=True):
        picture, twin = report["pictures"][place], thumbnails[twins[place]]
        caption = f"{picture['prompt']} (seed {picture['seed']})" + (f". {said}" if said else "")
        both = {"Before": twin, "After": thumbnails[place]} if picture["strength"] else {"Plain": twin}
        figures += figure_html(both, caption)
    return f'<div class="grid">{figures}</div>'


def _figures(report):
    columns = ("Figure", "Group", "Judge", "CFG", "Strength", "Value", "95 % interval", "n", "Unit")
    rows = []
    for row in report["figures"]:
        interval = "" if row["low"] is None else f"{row['low']:.3f} to {row['high']:.3f}"
        cfg, strength, value = ("" if row[key] is None else f"{row[key]:.4g}" for key in ("cfg", "strength", "value"))
        cells = row["figure"], row["group"] or "", row["judge"] or "", cfg, strength, value, interval
        rows.append([html.escape(str(cell)) for cell in (*cells, row["n"], row["unit"])])
    summary = f"<summary>{len(rows)} figures with intervals and n</summary>"
    return f"<details>{summary}{table_html(columns, rows, 'All figures')}</details>"
