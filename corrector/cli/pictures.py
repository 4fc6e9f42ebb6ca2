"""`inspect` for pictures: what the correction did to a picture, by its metadata, in sentences."""

import re
from pathlib import Path

from PIL import Image

from ..correction.record import RECORD_FORMAT, RECORD_KEY
from ..files.errors import RSCorrectorError, printable
from ..files.json_files import UnreadableError, parse_json
from ..files.picture_files import read_metadata

NOTHING = (
    "The picture carries nothing of RS-Corrector: it was not corrected, or a program that saved it later removed its "
    "metadata."
)
LONGEST = 100_000  # characters of an infotext's line of settings that are read
# Values with commas are JSON strings. The limit on keys keeps the search linear.
INFOTEXT = re.compile(r'RS-Corrector (\w[\w \-/]{0,40}): ("(?:\\.|[^\\"])*"|[^,]*)')


def is_picture(path: Path) -> bool:
    """Whether the name of a file is that of a picture."""
    return path.suffix.lower() in Image.registered_extensions()


def describe(path: Path) -> list[str]:
    """What the correction did to a picture -> sentences. Raises RSCorrectorError if it cannot be read."""
    try:
        text, comment = read_metadata(path)
    except UnreadableError as error:
        raise RSCorrectorError(f"{path}: {error}.") from None
    record = text.get(RECORD_KEY)
    said = _of_webui(text.get("parameters", "") or _decoded(comment)) if record is None else _of_comfyui(path, record)
    return [printable(sentence) for sentence in said]


def _of_comfyui(path, text):
    try:
        record = parse_json(text)
        corrections = record["corrections"] if record["format"] == RECORD_FORMAT else record[None]
        return [
            (f"Correction {number}: " if len(corrections) > 1 else "")
            + _sentence(preference, correction["strength"], correction["target"])
            for number, correction in enumerate(corrections, 1)
            for preference in correction["preferences"]
        ]
    except (ValueError, TypeError, KeyError, AttributeError):
        raise RSCorrectorError(
            f'The entry "{RECORD_KEY}" in the metadata of {path} is damaged, or another version of RS-Corrector wrote '
            f"it; this version reads format {RECORD_FORMAT}."
        ) from None


def _sentence(preference, strength, target):
    settings = f"strength {strength:g}" + (f", target {target:g}" if target < 1 else "")
    what = "was corrected" if preference["corrected"] else f"was left alone, because {preference['reason']}"
    return f"The picture {what} (preference {preference['name']} [{preference['hash']}], {settings})."


def _of_webui(infotext):
    """Settings and result in an infotext of Automatic1111 or Forge."""
    line = infotext.strip().rpartition("\n")[2][:LONGEST]
    values = {key: _unquoted(value) for key, value in INFOTEXT.findall(line)}
    if not values:
        return [NOTHING]
    result = values.pop("result", None)
    settings = ", ".join(f"{key} {value}" for key, value in values.items() if key != "error")
    sentences = [f"The result was: {result}."] if result else []
    sentences += [f"RS-Corrector reported an error: {values['error']}"] if "error" in values else []
    return [*sentences, f"The settings were: {settings}."]


def _unquoted(value):
    try:
        return str(parse_json(value)) if value.startswith('"') else value
    except ValueError:
        return value


def _decoded(comment):
    """The user comment of a JPEG or WebP file as text; the WebUIs write UTF-16, more significant byte first."""
    if isinstance(comment, str):
        return comment
    code, text = comment[:8], comment[8:]
    return text.decode("utf-16-be" if code.startswith(b"UNICODE") else "utf-8", errors="replace")
