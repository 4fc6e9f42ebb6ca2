"""The one reader of JSON, for all files: limits are checked before anything is built, then a schema.

Whatever the bytes are, they are read in linear time, or refused with an UnreadableError.

Schemas are checked here, since A1111 and Forge install no package for an extension. The checker knows the keywords of
JSON Schema (draft 2020-12) that our schemas use; tests hold it against the package jsonschema. Two rules are stricter:
1.0 is not an integer, and "$" in a pattern does not match before a final newline.
"""

import json
import re
import stat
from codecs import BOM_UTF8
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from .errors import RSCorrectorError, short

LARGEST_JSON = 2**20  # bytes
MOST_ENTRIES = 20_000  # commas, that is entries of lists and objects
DEEPEST_NESTING = 32  # brackets
LONGEST_NUMBER = 40  # digits in a row
STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)', re.DOTALL)  # the last one may lack its end
DIGITS = re.compile(rb"[0-9]{%d}" % (LONGEST_NUMBER + 1))
EXPONENT = re.compile(rb"[eE]\+?[0-9]{3}")  # without one, a number within LONGEST_NUMBER is finite
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))

TYPES: dict[str, tuple[type, ...]] = {  # Python's types for "type" in a schema
    "string": (str,), "array": (list,), "object": (dict,), "null": (type(None),), "boolean": (bool,), "integer": (int,),
    "number": (int, float),
}  # fmt: skip
KIND_NAMES = {
    "string": "text", "array": "a list", "object": "an object", "null": "null", "boolean": "true or false",
    "integer": "a whole number", "number": "a number",
}  # fmt: skip
SIZE_LIMITS = {  # the types to which each keyword applies
    "minimum": (int, float), "maximum": (int, float), "minLength": (str,), "maxLength": (str,), "minItems": (list,),
    "maxItems": (list,), "maxProperties": (dict,),
}  # fmt: skip
WORDS = {  # what is said of a value that breaks a keyword, if the schema has no words for it
    "type": "must be {limit}",
    "minItems": "has {size} entries; it needs at least {limit}",
    "maxItems": "has {size} entries; keep {limit} at most",
    "maxProperties": "has {size} entries; keep {limit} at most",
    "maxLength": "has {size} characters; shorten it to {limit} at most",
    "minimum": "is {size}; it must be at least {limit}",
    "maximum": "is {size}; it must be at most {limit}",
    "uniqueItems": 'has "{size}" twice; remove one',
}
BROKEN = "is not as it must be: {limit}"


class UnreadableError(RSCorrectorError):
    """A file that is not what it should be. The message says why, in half a sentence without the file's name."""


def size_of(path: Path | str, largest: int) -> int:
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


def read_bytes(path: Path | str, largest: int = LARGEST_JSON) -> bytes:
    """The content of a file. Raises as `size_of`."""
    size_of(path, largest)
    with open(path, "rb") as file:
        data = file.read(largest + 1)
    _check_size(len(data), largest)
    return data


def _check_size(size: int, largest: int) -> None:
    if size > largest:
        raise UnreadableError(f"its size is {size / 2**20:.1f} MB, and at most {largest / 2**20:g} MB are expected")


def read_json(
    path: Path | str, schema: dict | None = None, largest: int = LARGEST_JSON, most: int = MOST_ENTRIES
) -> Any:
    """A JSON file -> its content. Raises UnreadableError as `parse_json`, or OSError.

    Args:
        path: of the file, in UTF-8 with or without a byte order mark.
        schema: for `complaint`, or None.
        largest: most bytes.
        most: most entries of all lists and objects together.
    """
    return parse_json(read_bytes(path, largest), schema, largest, most)


def parse_json(
    data: bytes | str, schema: dict | None = None, largest: int = LARGEST_JSON, most: int = MOST_ENTRIES
) -> Any:
    """Bytes or text -> the JSON value. Raises UnreadableError if it breaks a limit, is no JSON or breaks the schema.

    All numbers are finite, and all texts can be written as UTF-8.
    """
    data = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    _check_size(len(data), largest)
    data = data.removeprefix(BOM_UTF8)
    bare = STRING.sub(b'""', data)
    _check_structure(bare, most)
    number = _finite_number if EXPONENT.search(bare) else None
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_finite_number, parse_float=number)
        if SURROGATE.search(data):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeDecodeError:
        raise UnreadableError("not a text file in UTF-8; save it in that encoding") from None
    except UnicodeEncodeError:
        raise UnreadableError("it holds half of a character (a lone surrogate); write that text again") from None
    except json.JSONDecodeError as error:
        raise UnreadableError(f"not valid JSON (line {error.lineno}): {error.msg}") from None
    if schema and (error := complaint(value, schema)):
        raise UnreadableError(error)
    return value


def _check_structure(bare: bytes, most: int) -> None:
    """Check JSON without the content of its strings, before it is parsed."""
    brackets = bare.translate(None, NOT_BRACKETS)
    if bare.count(b",") > most or len(brackets) > 8 * most:
        raise UnreadableError(f"it has more than {most} entries")
    if DIGITS.search(bare):
        raise UnreadableError(f"it has a number of more than {LONGEST_NUMBER} digits")
    codes = np.frombuffer(brackets, dtype=np.uint8)
    steps = np.where((codes == ord("[")) | (codes == ord("{")), 1, -1).astype(np.int32)
    if steps.cumsum().max(initial=0) > DEEPEST_NESTING:
        raise UnreadableError(f"its brackets are nested too deeply (more than {DEEPEST_NESTING} levels)")


def _finite_number(text: str) -> float:
    if not np.isfinite(number := float(text)):
        raise UnreadableError(f'it has the number "{text}", and only finite numbers are expected')
    return number


def complaint(value: Any, schema: dict) -> str | None:
    """The first error in a JSON value as a sentence with the field and how to fix it, or None.

    Errors of a value itself come before those of its parts. "errorMessage" in a schema may give the words for a
    keyword, after the field's name.
    """
    waiting = [(value, schema, "")]  # with the name of each value, such as ".counter.phrases[0]"
    while waiting:
        value, part, path = waiting.pop()
        if "$ref" in part:
            part = {**schema["$defs"][part["$ref"].removeprefix("#/$defs/")], **part}
        if keyword := _broken_keyword(value, part):
            return _sentence(keyword, value, part, path)
        if "allOf" in part or isinstance(value, list | dict):
            waiting += reversed(_parts(value, part, path))
    return None


def _parts(value: Any, schema: dict, path: str) -> list[tuple[Any, dict, str]]:
    """The parts of a value that a schema describes: [(value, schema, name)]."""
    parts = [(value, part, path) for part in schema.get("allOf", ())]
    if isinstance(value, list) and "items" in schema:
        parts += [(item, schema["items"], f"{path}[{index}]") for index, item in enumerate(value)]
    elif isinstance(value, dict):
        fields = schema.get("properties", {})
        parts += [(value[name], part, f"{path}.{name}") for name, part in fields.items() if name in value]
        if others := schema.get("additionalProperties"):
            parts += [(value[name], others, f"{path}.{name[:60]}") for name in value if name not in fields]
    return parts


def _broken_keyword(value: Any, schema: dict) -> str | None:
    """The first keyword in a schema that a value itself breaks, apart from its parts."""
    for keyword, limit in schema.items():
        broken = False
        if keyword == "type":
            kinds = (limit,) if isinstance(limit, str) else limit
            broken = not isinstance(value, tuple(map(TYPES.__getitem__, kinds)))
            broken |= isinstance(value, bool) and "boolean" not in kinds
        elif keyword in SIZE_LIMITS and isinstance(value, SIZE_LIMITS[keyword]):
            size = value if isinstance(value, int | float) else len(value)
            broken = size < limit if keyword.startswith("min") else size > limit
        elif keyword == "pattern":
            broken = isinstance(value, str) and not _compiled(limit).search(value)
        elif keyword in ("const", "enum"):
            allowed = [limit] if keyword == "const" else limit
            broken = (type(value), value) not in [(type(one), one) for one in allowed]
        elif keyword == "uniqueItems":
            broken = isinstance(value, list) and len(set(map(json.dumps, value))) < len(value)
        elif keyword == "required":
            broken = isinstance(value, dict) and not value.keys() >= set(limit)
        elif keyword == "additionalProperties":
            broken = limit is False and isinstance(value, dict) and not value.keys() <= schema["properties"].keys()
        if broken:
            return keyword
    return None


def _sentence(keyword: str, value: Any, schema: dict, path: str) -> str:
    """The error of a value that breaks a keyword, in the words of the schema or in general ones."""
    limit, name, prefix = schema[keyword], path.removeprefix("."), f"{path[1:]}." if path else ""
    size = short(value) if isinstance(value, bool | int | float) else len(value or "")
    match keyword:
        case "required":
            return f'the field "{prefix}{next(field for field in limit if field not in value)}" is missing; add it.'
        case "additionalProperties":
            unknown = min(value.keys() - schema["properties"].keys())
            return f'unknown field "{prefix}{short(unknown)}"; known are {", ".join(sorted(schema["properties"]))}.'
        case "type":
            limit = " or ".join(KIND_NAMES[kind] for kind in ([limit] if isinstance(limit, str) else limit))
        case "uniqueItems":
            size = short(next(item for index, item in enumerate(value) if item in value[:index]))
    words = schema.get("errorMessage", {}).get(keyword) or WORDS.get(keyword, BROKEN).format(size=size, limit=limit)
    return f'"{name or "it"}" {words}.'


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern.removesuffix("$") + r"\Z" if pattern.endswith("$") else pattern)
