"""The one reader of JSON, for all files: limits are checked before anything is built, then a schema (json_schema.py).

Whatever the bytes are, they are read in linear time, or refused with an UnreadableError.
"""

import json
import re
import stat
from codecs import BOM_UTF8
from pathlib import Path

import numpy as np

from .errors import RSCorrectorError
from .json_schema import complaint

LARGEST = 2**20  # bytes
MOST = 20_000  # commas, that is entries of lists and objects
DEEPEST = 32  # nested brackets
LONGEST_NUMBER = 40  # digits in a row
STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)', re.DOTALL)  # the last one may lack its end
DIGITS = re.compile(rb"[0-9]{%d}" % (LONGEST_NUMBER + 1))
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class UnreadableError(RSCorrectorError):
    """A file that is not what it should be. The message says why, in half a sentence without the file's name."""


def size_of(path, largest):
    """The size of a file. Raises UnreadableError if it is no file or larger than `largest` bytes, or OSError."""
    try:
        status = Path(path).stat()
    except ValueError:  # a zero character, or half of a surrogate pair
        raise UnreadableError("its name is one that no file can have") from None
    if not stat.S_ISREG(status.st_mode):
        kind = "folder" if stat.S_ISDIR(status.st_mode) else "device"
        raise UnreadableError(f"it is a {kind}, not a file")
    _check_size(status.st_size, largest)
    return status.st_size


def read_bytes(path, largest=LARGEST):
    """The content of a file. Raises as `size_of`."""
    size_of(path, largest)
    with open(path, "rb") as file:
        data = file.read(largest + 1)
    _check_size(len(data), largest)
    return data


def _check_size(size, largest):
    if size > largest:
        raise UnreadableError(f"its size is {size / 2**20:.1f} MB, and at most {largest / 2**20:g} MB are expected")


def read_json(path, schema=None, largest=LARGEST, most=MOST):
    """A JSON file -> its content. Raises UnreadableError as `parse_json`, or OSError.

    Args:
        path: of the file, in UTF-8 with or without a byte order mark.
        schema: for `json_schema.complaint`, or None.
        largest: most bytes.
        most: most entries of all lists and objects together.
    """
    return parse_json(read_bytes(path, largest), schema, largest, most)


def parse_json(data, schema=None, largest=LARGEST, most=MOST):
    """Bytes or text -> the JSON value. Raises UnreadableError if it breaks a limit, is no JSON or breaks the schema.

    All numbers are finite, and all texts can be written as UTF-8.
    """
    data = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else bytes(data)
    _check_size(len(data), largest)
    data = data.removeprefix(BOM_UTF8)
    _check_structure(STRING.sub(b'""', data), most)
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_number, parse_float=_number)
        if SURROGATE.search(data):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeDecodeError:
        raise UnreadableError("not a text file in UTF-8; save it in that encoding") from None
    except UnicodeEncodeError:
        raise UnreadableError("it holds half of a character (a lone surrogate); write that text again") from None
    except json.JSONDecodeError as error:
        raise UnreadableError(f"not valid JSON (line {error.lineno}): {error.msg}") from None
    if schema and (wrong := complaint(value, schema)):
        raise UnreadableError(wrong)
    return value


def _check_structure(bare, most):
    """Check JSON without the content of its strings, before it is parsed."""
    brackets = bare.translate(None, NOT_BRACKETS)
    if bare.count(b",") > most or len(brackets) > 8 * most:
        raise UnreadableError(f"it has more than {most} entries")
    if DIGITS.search(bare):
        raise UnreadableError(f"it has a number of more than {LONGEST_NUMBER} digits")
    codes = np.frombuffer(brackets, dtype=np.uint8)
    steps = np.where((codes == ord("[")) | (codes == ord("{")), 1, -1).astype(np.int32)
    if steps.cumsum().max(initial=0) > DEEPEST:
        raise UnreadableError(f"its brackets are nested too deeply (more than {DEEPEST} levels)")


def _number(text):
    if not np.isfinite(number := float(text)):
        raise UnreadableError(f'it has the number "{text}", and only finite numbers are expected')
    return number
