"""Seeded damage for fuzzing: to bytes, to the structure of JSON, and to headers and tensors of safetensors files."""

import copy
import json
import math
import re

RAW = re.compile(r'"@raw (.*?)@"')  # written without quotes: what json.dumps cannot write
VALUES = (
    None, True, False, 0, 1, -1, 2, 1.0, 0.5, 1e308, -1e-308, 2**31, 2**63, 10**30, math.nan, math.inf, "", " ", "x",
    "Orvane", "{group}", "{group:>1500000000}", "{group.foo}", "{group!r} {group}", "{0}", "{", "$", "$x_1", "\\frac{",
    "<!--<script>", "</script>", "\ud800", "\x00", "\x1b[31m", "\u202e", "../../x", "con", "x" * 3000, "\U0001f600", [],
    {}, [[]], [None], [1, "a"], {"": 0}, {"a": {"b": []}}, "@raw 1e999@", "@raw -1e999@", "@raw Infinity@",
    "@raw 1" + "0" * 6000 + "@", "@raw " + "[" * 3000 + "]" * 3000 + "@",
    "@raw " + '{"a":' * 500 + "1" + "}" * 500 + "@",
)  # fmt: skip
LARGEST = 2**25  # characters of a damaged JSON value: enough for a file that is too large, and no burden for the fuzzer


def damaged_bytes(rng, data):
    """Bytes -> bytes with some of them changed, cut off, repeated or inserted."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at, length = rng.randrange(len(data) + 1), rng.choice((1, 1, 4, 64, 1000))
        part = slice(at, at + length)
        match rng.randrange(6):
            case 0 if data:
                data[at % len(data)] ^= 1 << rng.randrange(8)
            case 1:
                del data[part]
            case 2:
                data[at:at] = rng.randbytes(length)
            case 3:
                data[at:at] = data[part]
            case 4:
                del data[at:]
            case 5:
                data[part] = bytes(length)
    return bytes(data)


def places_in(value, path=()):
    """The paths of all parts of a JSON value."""
    found, inner = [path], ()
    if isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list):
        inner = enumerate(value)
    for key, one in inner:
        found += places_in(one, (*path, key))
    return found


def damaged_json(rng, value):
    """A JSON value -> a copy in which parts are replaced, removed, repeated, exchanged or nested."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        *path, last = rng.choice(places_in(value)) or (None,)
        if last is None:
            if rng.random() < 0.05:
                value = copy.deepcopy(rng.choice(VALUES))
            continue
        holder = value
        for key in path:
            holder = holder[key]
        match rng.randrange(8):
            case 0:
                del holder[last]
            case 1 if isinstance(holder, dict):
                holder[rng.choice(("new", "", "format", "groups", "$ref", "x" * 500))] = copy.deepcopy(holder[last])
            case 1:
                times = rng.choice((2, 30, 3000))
                holder *= times if times * len(json.dumps(value)) < LARGEST else 1  # lists in lists are repeated too
            case 2:
                other = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
                holder[last], holder[other] = holder[other], holder[last]
            case 3:
                for _ in range(rng.choice((1, 5, 100))):
                    holder[last] = [holder[last]]
            case 4 if isinstance(holder[last], int | float):
                holder[last] = holder[last] * rng.choice((0, -1, 1.5, 1e3, 1e30, 1e300))
            case _:
                holder[last] = copy.deepcopy(rng.choice(VALUES))
    return value


def text_of(value):
    """A JSON value as text, with numbers and nesting that JSON or Python cannot have."""
    return RAW.sub(r"\1", json.dumps(value))


def parts_of(data):
    """A sound safetensors file -> (header, bytes of the tensors)."""
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def joined(header, body):
    text = (header if isinstance(header, str) else text_of(header)).encode("utf-8", "surrogatepass")
    return len(text).to_bytes(8, "little") + text + body


def damaged_tensors(rng, data, key=None):
    """A safetensors file -> one whose header, metadata (JSON under `key`) or tensors are damaged, or any bytes."""
    header, body = parts_of(data)
    names = [name for name in header if name != "__metadata__"]
    kind = rng.choices(("metadata", "header", "values", "names", "bytes", "lengths"), (8, 2, 3, 2, 2, 1))[0]
    if kind == "metadata" and key:
        known = json.loads(header["__metadata__"][key])
        header["__metadata__"][key] = text_of(damaged_json(rng, known))
    elif kind in ("metadata", "header"):
        header = damaged_json(rng, header)
    elif kind == "values":
        body = bytearray(body)
        for name in rng.sample(names, min(len(names), rng.choice((1, 1, 3, 1000)))):
            _fill(rng, header[name], body)
    elif kind == "names":
        first, other = rng.choice(names), rng.choice(names)
        if rng.random() < 0.4:
            header[first], header[other] = header[other], header[first]
        elif rng.random() < 0.5:
            header[rng.choice(("x", "source.x", "9.source.x", ""))] = header.pop(first)
        else:
            header[first] |= {"shape": rng.choice(([], [0], [1], [2**40, 0], header[first]["shape"][::-1]))}
    elif kind == "lengths":
        return rng.choice((0, 7, 2**30, 2**63, len(data))).to_bytes(8, "little") + data[8:]
    else:
        return damaged_bytes(rng, data)
    return joined(header, bytes(body))


def _fill(rng, about, body):
    """Overwrite numbers of a tensor with extreme ones, as its type can hold them."""
    import torch

    types = {"F16": torch.float16, "F32": torch.float32, "BF16": torch.bfloat16, "F64": torch.float64}
    begin, end = about["data_offsets"]
    kind = types.get(about["dtype"])
    if kind is None or begin == end:
        body[begin:end] = rng.randbytes(end - begin)
        return
    value = torch.tensor(rng.choice((math.nan, math.inf, -math.inf, 6e4, -6e4, 1e4, 1e-7, 0.0, 1e30))).to(kind)
    numbers = torch.frombuffer(body[begin:end], dtype=kind).clone()
    if rng.random() < 0.5:
        numbers.fill_(value)
    else:
        numbers[rng.randrange(len(numbers))] = value
    body[begin:end] = numbers.view(torch.uint8).numpy().tobytes()
