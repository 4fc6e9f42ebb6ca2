"""The folder that shows a preference file on a hub: the file, its model card, and pictures. Nothing is uploaded."""

import base64
import hashlib
from pathlib import Path

from ..files.whole_files import write_whole
from ..latents.spaces import LATENT_SPACES
from ..pages.templates import write_page
from ..preference.file import SUFFIX, PreferenceFileError, load_preferences
from ..preference.modelspec import JPEG_URI, TAGS, distinct
from .calibrate import model_of
from .report import held_out, is_report


def write_model_card(path: Path, folder: Path) -> list[str]:
    """Write the folder of a preference file, made if it is not there -> the names of the files in it.

    Raises PreferenceFileError if the preference cannot be read, or if the folder holds other files.
    """
    preferences, data = load_preferences(path), path.read_bytes()
    _check_empty(folder)
    files = {f"{path.stem}{SUFFIX}": data}
    for preference in preferences:
        if preference.thumbnail:
            files[f"{preference.axis.id}.jpg"] = base64.b64decode(preference.thumbnail.removeprefix(JPEG_URI))
    if is_report(report := path.with_suffix(".png")):
        files["report.png"] = report.read_bytes()
    for name, content in files.items():
        write_whole(folder / name, content)
    cards = [
        dict(
            preference=preference, held_out=held_out(preference), space=LATENT_SPACES[preference.space].title,
            model=model_of(preference.training.get("host", {})),
        )
        for preference in preferences
    ]  # fmt: skip
    write_page(
        folder / "README.md", "model_card.md", cards=cards, files=list(files), sha256=hashlib.sha256(data).hexdigest(),
        licences=distinct(preference.axis.licence for preference in preferences), tags=TAGS,
    )  # fmt: skip
    return [*files, "README.md"]


def _check_empty(folder: Path) -> None:
    """Raises PreferenceFileError if a folder is a file, or holds files other than hidden ones (of a git repository)."""
    if folder.exists() and not folder.is_dir():
        raise PreferenceFileError(f"{folder}: this is a file; name a folder for the model card.")
    names = sorted(file.name for file in folder.iterdir()) if folder.exists() else []
    if others := [name for name in names if not name.startswith(".")]:
        raise PreferenceFileError(
            f"{folder}: the folder holds other files ({others[0]}), which would be replaced, or published with the "
            "preference; name an empty or a new one."
        )
