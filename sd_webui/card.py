"""HTML cards on the page that describe the selected preferences: a verdict in one line, and details to unfold."""

from html import escape

from ..corrector.files.errors import RSCorrectorError
from .host import check_space
from .preferences import NONE, together


def card(shelf, names, space):
    """HTML for the files `names` on a Shelf, with warnings if they do not fit the loaded model's latent space."""
    parts, files = [], []

    def attempt(call, *args):
        try:
            return call(*args)
        except RSCorrectorError as error:
            parts.append(warning(str(error)))

    for name in dict.fromkeys(name for name in names if name and name != NONE):
        if loaded := attempt(shelf.load, name):
            files.append(loaded)
    attempt(together, files)
    for preference in (preference for loaded in files for preference in loaded.preferences):
        if space:
            attempt(check_space, preference, space)
        caveats = [sentence for sentence in preference.caveats() if sentence != preference.gate_weakness]
        parts += [warning(f"{preference.name}: {sentence}") for sentence in caveats]
        parts.append(_table(preference))
    return "".join(parts)


def warning(sentence):
    style = "border-left: 4px solid #d97706; padding: 0.4em 0.8em; margin: 0.4em 0;"
    return f'<div class="rs-corrector-warning" style="{style}">{escape(sentence)}</div>'


def _table(preference):
    rows = [
        ("Stereotype", f"{preference.axis.stereotype.description}, corrected to {preference.axis.counter.description}"),
        ("Hash", preference.hash),
        ("Groups", ", ".join(preference.axis.groups)),
        ("Made for", f"{preference.space} latents"),
        ("Accuracy", accuracy(preference.training)),
        ("Beware", preference.gate_weakness),
        ("Validated on", preference.training.get("validated_on") or "its own training pictures only"),
        ("Calibrated", calibrated(preference.calibrations)),
        ("Scope", preference.axis.scope),
        ("Author, licence", ", ".join(text for text in (preference.axis.author, preference.axis.licence) if text)),
    ]
    body = "".join(
        f'<tr><th style="text-align: left; padding-right: 1em; vertical-align: top">{escape(name)}</th>'
        f"<td>{escape(str(text))}</td></tr>"
        for name, text in rows
        if text
    )
    head = f"<b>{escape(preference.axis.title)}</b>: {escape(verdict(preference))}"
    return f'<details class="rs-corrector-card"><summary>{head}</summary><table>{body}</table></details>'


def verdict(preference):
    """One line: how often the counter side is drawn without and with the preference, over its groups and CFG scales."""
    known = preference.calibrations
    if not known:
        return "not calibrated, so how well it works is unknown"
    plain, corrected = (_span([getattr(one, rate) for one in known]) for rate in ("base_rate", "full_rate"))
    scales = ", ".join(f"{cfg:g}" for cfg in sorted({one.cfg for one in known}))
    return f"{preference.axis.counter.description} in {corrected} of pictures, {plain} without it (CFG {scales})"


def _span(rates):
    low, high = f"{min(rates):.0%}", f"{max(rates):.0%}"
    return high if low == high else f"{low.rstrip('%')}–{high}"


def accuracy(training):
    """What held-out points say."""
    if "update_r2" not in training:
        return "not measured"
    return f"explains {training['update_r2']:.0%} of the model's own updates at held-out points"


def calibrated(calibrations):
    """By group, the share of counter pictures without correction and at full strength."""
    if not calibrations:
        return "no: its rates and the drift of skin tone are unknown"
    return "; ".join(
        f"{known.group} at CFG {known.cfg:g}: {known.base_rate:.0%} plain, {known.full_rate:.0%} corrected"
        for known in calibrations
    )
