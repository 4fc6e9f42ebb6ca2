"""The one reader of JSON, for all files: size and nesting are checked before anything is built, then a schema.

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
DEEPEST_NESTING = 32  # brackets
STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)', re.DOTALL)  # the last one may lack its end
NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
EXPONENT = re.compile(rb"[eE]\+?[0-9]{3}|[0-9]{200}")  # a number without one is finite

TYPES: dict[str, tuple[type, ...]] = {  # Python's types for "type" in a schema
    "string": (str,), "array": (list,), "object": (dict,), "null": (type(None),), "boolean": (bool,), "integer": (int,),
    "number": (int, float),
}  # fmt: skip
TYPE_NAMES = {
    "string": "text", "array": "a list", "object": "an object", "null": "null", "boolean": "true or false",
    "integer": "a whole number", "number": "a number",
}  # fmt: skip
SIZE_LIMITS = {  # the types to which each keyword applies
    "minimum": (int, float), "maximum": (int, float), "minLength": (str,), "maxLength": (str,), "minItems": (list,),
    "maxItems": (list,), "maxProperties": (dict,),
}  # fmt: skip
COMPLAINTS = {  # what is said of a value that breaks a keyword, if the schema has no words for it
    "type": "must be {limit}",
    "minItems": "has {size} entries; it needs at least {limit}",
    "maxItems": "has {size} entries; keep {limit} at most",
    "maxProperties": "has {size} entries; keep {limit} at most",
    "maxLength": "has {size} characters; shorten it to {limit} at most",
    "minimum": "is {size}; it must be at least {limit}",
    "maximum": "is {size}; it must be at most {limit}",
    "uniqueItems": 'has "{size}" twice; remove one',
    "enum": 'is "{size}"; it must be one of {limit}',
}
OTHER_COMPLAINT = "is not valid ({keyword} {limit})"


class UnreadableError(RSCorrectorError):
    """A file that is not what it should be. The message says why, in half a sentence without the file's name."""


def size_of(path: Path | str, largest: int) -> int:
    """The size of a file. Raises UnreadableError if it is no file or larger than `largest` bytes, or OSError."""
    try:
        status = Path(path).stat()
    except ValueError:  # a zero character, or half of a surrogate pair
        raise UnreadableError("its name is one that no file can have") from None
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableError(f"it is a {'folder' if stat.S_ISDIR(status.st_mode) else 'device'}, not a file")
    _check_size(status.st_size, largest)
    return status.st_size


def read_bytes(path: Path | str, largest: int = LARGEST_JSON) -> bytes:
    """The content of a file. Raises as `size_of`."""
    size_of(path, largest)
    with open(path, "rb") as file:
        return file.read(largest)


def _check_size(size: int, largest: int) -> None:
    if size > largest:
        raise UnreadableError(f"its size is {size / 2**20:.1f} MB, and at most {largest / 2**20:g} MB are expected")


def read_json(path: Path | str, schema: dict | None = None, largest: int = LARGEST_JSON) -> Any:
    """A JSON file of at most `largest` bytes -> its content. Raises UnreadableError as `parse_json`, or OSError."""
    return parse_json(read_bytes(path, largest), schema, largest)


def parse_json(data: bytes | str, schema: dict | None = None, largest: int = LARGEST_JSON) -> Any:
    """JSON, in UTF-8 with or without a byte order mark -> its value.

    All numbers are finite, and all texts can be written as UTF-8. Raises UnreadableError if it is larger than `largest`
    bytes, is no JSON or breaks the schema.
    """
    data = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    _check_size(len(data), largest)
    data = data.removeprefix(BOM_UTF8)
    bare = STRING.sub(b'""', data)
    brackets = np.frombuffer(bare.translate(None, NOT_BRACKETS), dtype=np.uint8)
    depths = np.where((brackets == ord("[")) | (brackets == ord("{")), 1, -1).cumsum()
    if depths.max(initial=0) > DEEPEST_NESTING:
        raise UnreadableError(f"its brackets are nested too deeply (more than {DEEPEST_NESTING} levels)")
    parse_number = _finite_number if EXPONENT.search(bare) else None
    try:
        value = json.loads(
            data.decode("utf-8"), parse_constant=_finite_number, parse_float=parse_number, parse_int=parse_number
        )
        if rb"\u" in data:
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


def _finite_number(text: str) -> float:
    if not np.isfinite(number := float(text)):
        raise UnreadableError(f'it has the number "{short(text)}", and only finite numbers are expected')
    return int(text) if text.lstrip("-").isdigit() else number


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
            broken = (type(value), value) not in [(type(choice), choice) for choice in allowed]
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
    limit, prefix = schema[keyword], f"{path[1:]}." if path else ""
    if keyword == "required":
        return f'the field "{prefix}{next(name for name in limit if name not in value)}" is missing; add it.'
    if keyword == "additionalProperties":
        unknown = min(value.keys() - schema["properties"].keys())
        return f'unknown field "{prefix}{short(unknown)}"; known are {", ".join(sorted(schema["properties"]))}.'
    if keyword == "type":
        limit = " or ".join(TYPE_NAMES[kind] for kind in ([limit] if isinstance(limit, str) else limit))
    size = len(value) if isinstance(value, str | list | dict) else short(value)
    if keyword == "enum":
        size, limit = short(value), ", ".join(map(str, limit))
    if keyword == "uniqueItems":
        size = short(next(item for index, item in enumerate(value) if item in value[:index]))
    general = COMPLAINTS.get(keyword, OTHER_COMPLAINT).format(
        keyword=keyword, size=size, limit=limit if keyword in COMPLAINTS else short(limit)
    )
    return f'"{path.removeprefix(".") or "it"}" {schema.get("errorMessage", {}).get(keyword, general)}.'


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern.removesuffix("$") + r"\Z" if pattern.endswith("$") else pattern)
