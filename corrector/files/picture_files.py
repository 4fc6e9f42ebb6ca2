"""The one reader of pictures: PNG, JPEG and WebP only; for EPS, whatever its name, Pillow would start Ghostscript.

Of users' files only the metadata is read: no pixel is decoded. Pillow limits the texts of a PNG to 64 MB.
"""

import io
import warnings
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from .json_files import UnreadableError, size_of

FORMATS = ("PNG", "JPEG", "WEBP")
LARGEST_PICTURE = 2**27  # bytes of a file
LARGEST_JPEG_HEADER = 2**20  # bytes before the pixels of a JPEG, for which Pillow takes quadratic time
LARGEST_EXIF = 2**16  # bytes, as many as a JPEG can hold; each entry may repeat them all
EXIF, USER_COMMENT = 0x8769, 0x9286  # tags of the group and of its entry


def open_picture(file: Path | str | BinaryIO) -> Image.Image:
    """A path or binary file that RS-Corrector wrote -> Pillow's Image."""
    return Image.open(file, formats=FORMATS)


def read_metadata(path: Path | str) -> tuple[dict[str, str], str | bytes]:
    """A picture's file -> ({name: text}, EXIF user comment as text or bytes). Raises UnreadableError, or OSError."""
    size_of(path, LARGEST_PICTURE)
    with open(path, "rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # nothing is decompressed
        kind = _format_of(file)
        try:
            info = open_picture(io.BytesIO(file.read(LARGEST_JPEG_HEADER)) if kind == "JPEG" else file).info
            exif = Image.Exif()
            if len(info.get("exif", b"")) <= LARGEST_EXIF:
                exif.load(info.get("exif", b""))
            comment = exif.get_ifd(EXIF).get(USER_COMMENT, b"")
        except Exception:  # Pillow raises various exceptions for damaged files
            raise UnreadableError(f"it is a damaged {kind} picture; copy it again") from None
    return {str(name): text for name, text in info.items() if isinstance(text, str)}, comment


def _format_of(file: BinaryIO) -> str:
    """One of FORMATS, by the first bytes of a file. Raises UnreadableError, which names another format."""
    start = file.read(16)  # as many as Pillow looks at
    file.seek(0)
    Image.init()
    kinds = [name for name, (_, accepts) in Image.OPEN.items() if accepts and len(start) == 16 and accepts(start)]
    if not set(kinds) & set(FORMATS):
        kind = f"a picture in the format {kinds[0]}" if kinds else "no picture"
        raise UnreadableError(f"it is {kind}, and a PNG, JPEG or WebP picture is expected; give one of these")
    return next(kind for kind in kinds if kind in FORMATS)
