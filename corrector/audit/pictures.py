"""The pictures of an audit's page: those that got worse, then plain above corrected by group."""

import base64
import html

from .chart import decoded, places_of

MOST_PICTURES = 400  # on a page; the report lists the others
MOST_WORSE = 40


def worse(report, thumbnails):
    """HTML of the pictures that got worse, with the reasons; "" if nothing was corrected."""
    if not report["settings"]["strengths"]:
        return ""
    if not report["worse"]:
        return "<p>No corrected picture got worse by any of the measures here.</p>"
    shown = report["worse"][:MOST_WORSE]
    figures = "".join(_figure(report, thumbnails, entry["picture"], "; ".join(entry["why"])) for entry in shown)
    after = sum(p["strength"] == report["settings"]["strengths"][0] for p in report["pictures"])
    count = f"{len(report['worse'])} of {after} corrected pictures; {len(shown)} are shown."
    return f'<p class="soft">{count} Before above after.</p><div class="grid">{figures}</div>'


def _figure(report, thumbnails, place, words=""):
    """A corrected picture below its plain twin, or a plain picture alone."""
    picture = report["pictures"][place]
    caption = html.escape(f"{picture['prompt']} (seed {picture['seed']})" + (f". {words}" if words else ""))
    twin = _twin_place(report, picture)
    images = ""
    for when, index in (("Before", twin), ("After", place)) if picture["strength"] else (("Plain", place),):
        data = base64.b64encode(thumbnails[index]).decode()
        height, width, _ = decoded(thumbnails[index]).shape
        images += (f'<img loading="lazy" decoding="async" src="data:image/jpeg;base64,{data}" '
                   f'alt="{when}: {caption}" width="{width}" height="{height}">')  # fmt: skip
    return f"<figure>{images}<figcaption>{caption}</figcaption></figure>"


def _twin_place(report, picture):
    """The index of the plain picture with the same prompt and seed."""
    twin = {**{key: picture[key] for key in ("group", "kind", "cfg", "index")}, "strength": 0}
    return next(i for i, p in enumerate(report["pictures"]) if all(p[key] == value for key, value in twin.items()))


def pictures(report, thumbnails):
    """HTML of plain above corrected pictures by group, at most MOST_PICTURES including those that got worse."""
    settings, parts = report["settings"], []
    main = settings["strengths"][0] if settings["strengths"] else 0.0
    each = 2 if main else 1
    shown = each * min(MOST_WORSE, len(report["worse"]))
    groups = report["axis"]["groups"]
    most = max(1, (MOST_PICTURES - shown) // each // len(groups))
    for group in groups:
        places = places_of(report, group, main)
        figures = "".join(_figure(report, thumbnails, place) for place in places[:most])
        above = "Before above after. " if main else ""
        count = f"{above}{min(most, len(places))} of {len(places)}."
        parts.append(f'<h3>{html.escape(group)}</h3><p class="soft">{count}</p>'
                     f'<div class="grid">{figures}</div>')  # fmt: skip
    return "".join(parts)
