"""HTML cards on the page that describe the selected preferences: a verdict in one line, and details to unfold."""

from collections.abc import Mapping, Sequence
from html import escape

from ..corrector.files.errors import RSCorrectorError
from ..corrector.latents.spaces import LATENT_SPACES
from ..corrector.preference.preference import Preference
from ..corrector.preference.text import Text
from .host import check_space
from .preferences import NONE, Loaded, Shelf, together


def card(shelf: Shelf, names: Sequence[str], space: str | None) -> str:
    """HTML for the files `names`, with warnings if they do not fit the loaded model's latent space."""
    parts: list[str] = []
    files: list[Loaded] = []

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
        attempt(check_space, preference, space or preference.space)
        caveats = [sentence for sentence in preference.caveats() if sentence != preference.gate_weakness]
        parts += [warning(f"{preference.name}: {sentence}") for sentence in caveats]
        parts.append(_details(preference))
    return "".join(parts)


def warning(sentence: str) -> str:
    style = "border-left: 4px solid #d97706; padding: 0.4em 0.8em; margin: 0.4em 0;"
    return f'<div class="rs-corrector-warning" style="{style}">{escape(sentence)}</div>'


def reading(read: Mapping[str, str]) -> str:
    """HTML for what was read in a job's prompts, as from `readings_of_run`: the sentences, and why to unfold."""
    sentences, why = ("<br>".join(map(escape, texts)) for texts in (read, read.values()))
    return f"<details><summary>Last job: {sentences}</summary>{why}</details>" if read else ""


def _details(preference: Preference) -> str:
    axis = preference.axis
    asks = isinstance(preference.source, Text)
    rows = {
        "Stereotype": f"{axis.stereotype.description}, corrected to {axis.counter.description}",
        "Hash": preference.hash,
        "Groups": ", ".join(axis.groups),
        "Made for": "any checkpoint" if asks else LATENT_SPACES[preference.space].title,
        **({} if asks else _measured(preference)),
        "Scope": axis.scope,
        "Author, licence": ", ".join(text for text in (axis.author, axis.licence) if text),
    }
    body = "".join(
        f'<tr><th style="text-align: left; padding-right: 1em; vertical-align: top">{name}</th>'
        f"<td>{escape(str(text))}</td></tr>"
        for name, text in rows.items()
        if text
    )
    effect = "asks the loaded model, without learning; a run of 20 steps takes about half as long again"
    head = f"<b>{escape(axis.title)}</b>: {escape(effect if asks else preference.effect)}"
    return f'<details class="rs-corrector-card"><summary>{head}</summary><table>{body}</table></details>'


def _measured(preference: Preference) -> dict[str, str]:
    """What learning and calibration say of a preference, by the names of rows."""
    training = preference.training
    accuracy = "not measured"
    if "update_r2" in training:
        accuracy = f"explains {training['update_r2']:.0%} of the model's own updates at held-out points"
    rates = "; ".join(
        f"{calibration.group} at CFG {calibration.cfg:g}: {calibration.base_rate:.0%} plain, "
        f"{calibration.full_rate:.0%} corrected"
        for calibration in preference.calibrations
    )
    return {
        "Accuracy": accuracy,
        "Beware": preference.gate_weakness,
        "Validated on": training.get("validated_on") or "its own training pictures only",
        "Calibrated": rates or "no: its rates and the drift of skin tone are unknown",
    }
