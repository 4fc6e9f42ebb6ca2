"""The cards of what is picked, for the page: what each preference is for, how good it is, on what it was validated."""

from html import escape

from ..corrector.correction.update import CorrectionError
from ..corrector.preference.file import PreferenceFileError
from .host import TITLES, mismatch
from .preferences import NONE, together


def card(shelf, names, space):
    """Names of files, and the loaded model's latent space or None -> HTML; nothing of a file is trusted."""
    parts, files = [], []
    for name in dict.fromkeys(name for name in names if name and name != NONE):
        try:
            files.append(shelf.load(name))
        except PreferenceFileError as error:
            parts.append(warning(str(error)))
    try:
        together(files)
    except CorrectionError as error:
        parts.append(warning(str(error)))
    for preference in (preference for loaded in files for preference in loaded.preferences):
        if space and (wrong := mismatch(preference, space)):
            parts.append(warning(wrong))
        parts.append(_table(preference))
    return "".join(parts)


def warning(sentence):
    """A sentence that must be seen."""
    style = "border-left: 4px solid #d97706; padding: 0.4em 0.8em; margin: 0.4em 0;"
    return f'<div class="rs-corrector-warning" style="{style}">{escape(sentence)}</div>'


def _table(preference):
    rows = [
        ("Stereotype", f"{preference.axis.stereotype.description}, corrected to {preference.axis.counter.description}"),
        ("Groups", ", ".join(preference.axis.groups)),
        ("Made for", TITLES.get(preference.space, preference.space)),
        ("Accuracy", accuracy(preference.training)),
        ("Validated on", preference.training.get("validated_on") or "nothing but its own training pictures"),
        ("Calibrated", calibrated(preference.calibrations)),
        ("Scope", preference.axis.scope),
        ("Author, licence", ", ".join(text for text in (preference.axis.author, preference.axis.licence) if text)),
    ]
    head = f"{preference.axis.title} [{preference.hash}]"
    body = "".join(
        f'<tr><th style="text-align: left; padding-right: 1em; vertical-align: top">{escape(name)}</th>'
        f"<td>{escape(str(text))}</td></tr>"
        for name, text in rows
        if text
    )
    return f'<div class="rs-corrector-card"><b>{escape(head)}</b><table>{body}</table></div>'


def accuracy(training):
    """Held-out accuracy of the log-odds in the worst of the groups, by the noise at which it was measured."""
    curves = list((training.get("held_out_accuracy_and_confidence") or {}).values())
    if not curves:
        return "not measured"
    worst = {sigma: min(curve[sigma][0] for curve in curves if sigma in curve) for sigma in curves[0]}
    return ", ".join(f"{share:.0%} at sigma {float(sigma):g}" for sigma, share in worst.items())


def calibrated(calibrations):
    """What the plain model draws and what full strength gives, by group."""
    if not calibrations:
        return "no: its rates and the drift of skin tone are unknown"
    return "; ".join(
        f"{known.group} at CFG {known.cfg:g}: {known.base_rate:.0%} by itself, {known.full_rate:.0%} corrected"
        for known in calibrations
    )
