"""Checks a JSON value against a schema, and says the first error as a sentence with the field and how to fix it.

It knows the keywords of JSON Schema (draft 2020-12) that our schemas use. Tests hold it against the package
jsonschema, which would be one more dependency of artists' ComfyUIs, and takes minutes for the report of a long audit.
Two rules are stricter: 1.0 is not an integer, and "$" in a pattern does not match before a final newline.
"""

import json
import re
from functools import cache

from .errors import short

KINDS = {
    "string": (str, "text"), "array": (list, "a list"), "object": (dict, "an object"), "null": (type(None), "null"),
    "boolean": (bool, "true or false"), "integer": (int, "a whole number"), "number": (int | float, "a number"),
}  # fmt: skip
TESTS = {
    "const": lambda value, limit: value == limit and type(value) is type(limit),
    "enum": lambda value, limit: any(value == one and type(value) is type(one) for one in limit),
    "minimum": lambda value, limit: not isinstance(value, int | float) or value >= limit,
    "maximum": lambda value, limit: not isinstance(value, int | float) or value <= limit,
    "minLength": lambda value, limit: not isinstance(value, str) or len(value) >= limit,
    "maxLength": lambda value, limit: not isinstance(value, str) or len(value) <= limit,
    "pattern": lambda value, limit: not isinstance(value, str) or bool(_compiled(limit).search(value)),
    "minItems": lambda value, limit: not isinstance(value, list) or len(value) >= limit,
    "maxItems": lambda value, limit: not isinstance(value, list) or len(value) <= limit,
    "uniqueItems": lambda value, limit: not isinstance(value, list) or len({_text(v) for v in value}) == len(value),
    "maxProperties": lambda value, limit: not isinstance(value, dict) or len(value) <= limit,
    "required": lambda value, limit: not isinstance(value, dict) or all(name in value for name in limit),
    "type": lambda value, limit: _is(value, limit) if isinstance(limit, str) else any(_is(value, k) for k in limit),
}
INNER = ("$ref", "allOf", "items", "properties", "additionalProperties")
NOTES = ("$schema", "$id", "$defs", "title", "description", "default", "errorMessage")
KNOWN = frozenset((*TESTS, *INNER, *NOTES))  # keywords that schemas may use


def complaint(value, schema):
    """The first error in a JSON value, or None: of a value itself before its parts, in the schema's order.

    `errorMessage` in the schema may give the words for a keyword, after the field's name.
    """
    return next(_errors(value, schema, schema, ""), None)


def _errors(value, schema, root, path):
    """Yield a sentence per error; `path` names the value, such as ".counter.phrases[0]"."""
    if "$ref" in schema:
        yield from _errors(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root, path)
    for keyword, limit in schema.items():  # of the value itself, and of its size before its content
        if keyword in TESTS and not TESTS[keyword](value, limit):
            yield _sentence(keyword, limit, value, schema, path)
    for keyword, limit in schema.items():
        if keyword == "allOf":
            for part in limit:
                yield from _errors(value, part, root, path)
        elif keyword == "items" and isinstance(value, list):
            for index, item in enumerate(value):
                yield from _errors(item, limit, root, f"{path}[{index}]")
        elif keyword == "properties" and isinstance(value, dict):
            for name, inner in limit.items():
                if name in value:
                    yield from _errors(value[name], inner, root, f"{path}.{name}")
        elif keyword == "additionalProperties" and isinstance(value, dict):
            more = [name for name in value if name not in schema.get("properties", {})]
            if limit is False and more:
                known = ", ".join(sorted(schema["properties"]))
                yield f'unknown field "{_inside(path)}{short(min(more))}"; known are {known}.'
            for name in more if limit else ():
                yield from _errors(value[name], limit, root, f"{path}.{short(name)}")


def _sentence(keyword, limit, found, schema, path):
    if keyword == "required":
        return f'the field "{_inside(path)}{next(name for name in limit if name not in found)}" is missing; add it.'
    words = schema.get("errorMessage", {}).get(keyword)
    match keyword:
        case "type":
            words = words or f"must be {' or '.join(KINDS[kind][1] for kind in _several(limit))}"
        case "maxItems" | "maxProperties":
            words = words or f"has {len(found)} entries; keep {limit} at most"
        case "minItems":
            words = words or f"has {len(found)} entries; it needs at least {limit}"
        case "maxLength":
            words = f"has {len(found)} characters; shorten it to {limit} at most"
        case "minimum" | "maximum":
            side = "at least" if keyword == "minimum" else "at most"
            words = words or f"is {short(found)}; it must be {side} {limit}"
        case "uniqueItems":
            words = f'has "{short(next(one for i, one in enumerate(found) if one in found[:i]))}" twice; remove one'
        case "enum":
            words = words or f'is "{short(found)}"; it must be one of {", ".join(map(str, limit))}'
    return f'"{path.removeprefix(".") or "it"}" {words or f"is not valid ({keyword} {short(limit)})"}.'


def _inside(path):
    return f"{path[1:]}." if path else ""


def _is(value, kind):
    return isinstance(value, KINDS[kind][0]) and ((value is not True and value is not False) or kind == "boolean")


def _several(kinds):
    return [kinds] if isinstance(kinds, str) else kinds


def _text(value):
    return json.dumps(value, sort_keys=True)


@cache
def _compiled(pattern):
    return re.compile(pattern.removesuffix("$") + r"\Z" if pattern.endswith("$") else pattern)
