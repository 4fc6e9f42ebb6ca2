"""The pictures of an audit's page: those that got worse, and before above after by group."""

import base64
import html
import io

MOST_PICTURES = 400  # on a page; the report has the others
MOST_WORSE = 40


def worse(report, thumbnails):
    if not report["settings"]["strengths"]:
        return ""
    if not report["worse"]:
        return "<p>None of the corrected pictures got worse by any measure here.</p>"
    figures = "".join(
        _figure(report, thumbnails, one["picture"], "; ".join(one["why"])) for one in report["worse"][:MOST_WORSE]
    )
    after = sum(p["strength"] == report["settings"]["strengths"][0] for p in report["pictures"])
    count = f"{len(report['worse'])} of {after} corrected pictures; {min(MOST_WORSE, len(report['worse']))} are shown."
    return f'<p class="soft">{count} Before above after.</p><div class="grid">{figures}</div>'


def _figure(report, thumbnails, place, words=""):
    """One corrected picture below its plain twin, or a plain one alone."""
    picture = report["pictures"][place]
    caption = html.escape(f"{picture['prompt']} (seed {picture['seed']})" + (f". {words}" if words else ""))
    twin = _twin_place(report, picture)
    images = ""
    for when, index in (("Before", twin), ("After", place)) if picture["strength"] else (("Plain", place),):
        data = base64.b64encode(thumbnails[index]).decode()
        width, height = _size(thumbnails[index])
        images += (f'<img loading="lazy" decoding="async" src="data:image/jpeg;base64,{data}" '
                   f'alt="{when}: {caption}" width="{width}" height="{height}">')  # fmt: skip
    return f"<figure>{images}<figcaption>{caption}</figcaption></figure>"


def _size(thumbnail):
    from PIL import Image

    return Image.open(io.BytesIO(thumbnail)).size


def _twin_place(report, picture):
    """Where the plain picture of the same prompt and seed is: plain ones stand first in their chunk."""
    keys = "group", "kind", "cfg", "index"
    plain = [i for i, p in enumerate(report["pictures"]) if p["strength"] == 0]
    return next(i for i in plain if all(report["pictures"][i][key] == picture[key] for key in keys))


def pictures(report, thumbnails):
    """Before above after by group, as many as fit; those that got worse are counted in."""
    settings, parts = report["settings"], []
    main = settings["strengths"][0] if settings["strengths"] else 0.0
    each = 2 if main else 1
    shown = each * min(MOST_WORSE, len(report["worse"]))
    groups = report["axis"]["groups"]
    most = max(1, (MOST_PICTURES - shown) // each // len(groups))
    for group in groups:
        places = [
            i
            for i, p in enumerate(report["pictures"])
            if (p["group"], p["kind"], p["cfg"], p["strength"]) == (group, "neutral", settings["cfgs"][0], main)
        ]
        figures = "".join(_figure(report, thumbnails, place) for place in places[:most])
        above = "Before above after. " if main else ""
        count = f"{above}{min(most, len(places))} of {len(places)}."
        parts.append(f'<h3>{html.escape(group)}</h3><p class="soft">{count}</p>'
                     f'<div class="grid">{figures}</div>')  # fmt: skip
    return "".join(parts)
