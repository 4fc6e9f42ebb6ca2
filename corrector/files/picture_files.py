"""The one reader of pictures: PNG, JPEG and WebP only; for EPS, whatever its name, Pillow would start Ghostscript.

Of users' files only the metadata is read: no pixel is decoded.
"""

import io
import warnings

from PIL import Image
from PIL.PngImagePlugin import PngStream

from .json_files import UnreadableError, size_of

FORMATS = ("PNG", "JPEG", "WEBP")
LARGEST = 2**27  # bytes of a file
LARGEST_TEXT = 2**24  # bytes of a text in a PNG; workflows that hold pictures have some MB
LARGEST_HEADER = 2**20  # bytes before the pixels of a JPEG, for which Pillow takes quadratic time
LARGEST_EXIF = 2**16  # bytes, as many as a JPEG can hold; each entry may repeat them all
MOST = 100_000  # chunks of a PNG
TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"eXIf")
EXIF, USER_COMMENT = 0x8769, 0x9286  # tags of the group and of its entry


def open_picture(file):
    """A path or binary file that RS-Corrector wrote -> Pillow's Image."""
    return Image.open(file, formats=FORMATS)


def read_metadata(path):
    """A picture's file -> ({name: text}, EXIF user comment as text or bytes). Raises UnreadableError, or OSError."""
    size_of(path, LARGEST)
    with open(path, "rb") as file:
        kind = _format_of(file)
        try:
            info = _info_of_png(file) if kind == "PNG" else _info(file, kind)
            comment = _user_comment(info.get("exif", b""))
        except UnreadableError:
            raise
        except Exception:  # Pillow raises various exceptions for damaged files
            raise UnreadableError(f"it is a damaged {kind} picture; copy it again") from None
    return {name: text for name, text in info.items() if isinstance(text, str)}, comment


def _format_of(file):
    """One of FORMATS, by the first bytes of a file. Raises UnreadableError, which names another format."""
    start = file.read(16)  # as many as Pillow looks at
    file.seek(0)
    Image.init()
    kinds = [name for name, (_, accepts) in Image.OPEN.items() if accepts and len(start) == 16 and accepts(start)]
    if not set(kinds) & set(FORMATS):
        kind = f"a picture in the format {kinds[0]}" if kinds else "no picture"
        raise UnreadableError(f"it is {kind}, and a PNG, JPEG or WebP picture is expected; give one of these")
    return next(kind for kind in kinds if kind in FORMATS)


def _info_of_png(file):
    """As Pillow's `Image.info`, with the texts after the pixels."""
    file.seek(8)  # past the signature
    with PngStream(file) as stream:
        for _ in range(MOST):
            name, place, length = stream.read()
            if name == b"IEND":
                return stream.im_info
            if name not in TEXTS:
                file.seek(place + length + 4)  # past the checksum
                continue
            _check(length, LARGEST_TEXT, "a text in its metadata")
            stream.crc(name, stream.call(name, place, length))
    raise UnreadableError(f"it has more than {MOST} chunks")


def _info(file, kind):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # nothing is decompressed
        return Image.open(io.BytesIO(file.read(LARGEST_HEADER)) if kind == "JPEG" else file, formats=(kind,)).info


def _user_comment(data):
    """The user comment in the bytes of EXIF data, b"" if there is none."""
    _check(len(data), LARGEST_EXIF, "its EXIF data")
    exif = Image.Exif()
    exif.load(data)
    return exif.get_ifd(EXIF).get(USER_COMMENT, b"")


def _check(size, largest, what):
    if size > largest:
        raise UnreadableError(f"{what} has {size / 2**10:.0f} KB, and at most {largest // 2**10} KB are expected")
