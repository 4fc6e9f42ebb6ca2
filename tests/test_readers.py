"""The readers of JSON and safetensors: limits before anything is built, schemas, and errors that can be read."""

import json
import time
from pathlib import Path

import jsonschema
import pytest
import torch
from hypothesis import assume, given
from safetensors.torch import save

from corrector.auditing.clip import load_clip
from corrector.auditing.plan import report_schema
from corrector.axis.axis import axis_schema, load_axis
from corrector.files.errors import LONGEST_MESSAGE, RSCorrectorError
from corrector.files.json_files import (
    DEEPEST_NESTING,
    SIZE_LIMITS,
    UnreadableError,
    complaint,
    parse_json,
    read_bytes,
)
from corrector.files.tensor_files import read_tensors
from corrector.hosts.checkpoint import Checkpoint
from corrector.preference.file import _schema as preference_schema
from corrector.preference.file import load_preferences
from test_fuzz_files import AXIS, damaged_json

KEYWORDS = {
    *SIZE_LIMITS, "type", "const", "enum", "pattern", "uniqueItems", "required", "additionalProperties", "properties",
    "items", "allOf", "$ref", "$defs", "$schema", "$id", "title", "description", "default", "errorMessage",
}  # fmt: skip
SCHEMAS = (axis_schema, report_schema, preference_schema)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('"' + '\\"' * 400_000, "not valid JSON"),
        ("[1" + "0" * 6000 + "]", "only finite numbers"),
        ("[" + "9" * 199 + "e99, " + "9" * 300 + "e99]", "only finite numbers"),
        ("[1e999]", 'the number "1e999", and only finite numbers'),
        ("[NaN]", "only finite numbers"),
        ('["\\ud800"]', "half of a character"),
        (b'["\xff"]', "not a text file in UTF-8"),
        ("[1,\n 2", r"not valid JSON \(line 2\)"),
        ("x" * (2**20 + 1), "at most 1 MB are expected"),
    ],
)
def test_json_that_breaks_a_limit_is_refused_at_once(text, words):
    start = time.process_time()
    with pytest.raises(UnreadableError, match=words):
        parse_json(text)
    assert time.process_time() - start < 0.5


def test_json_within_the_limits_is_read_as_it_is():
    deep = "[" * DEEPEST_NESTING + "]" * DEEPEST_NESTING
    assert parse_json(deep) == json.loads(deep)
    assert parse_json("\ufeff[0.5, 1e100, 7, -1]".encode()) == [0.5, 1e100, 7, -1]
    assert parse_json("[1e-400, 12, 1" + "0" * 250 + "]") == [0.0, 12, 10**250]
    assert parse_json('{"[[[[": "\\ud83d\\ude00 ,,,, \\" ]"}') == {"[[[[": '\U0001f600 ,,,, " ]'}


@pytest.mark.parametrize("schema", SCHEMAS)
def test_our_schemas_are_valid_ones_and_use_only_the_keywords_that_we_check(schema):
    jsonschema.Draft202012Validator.check_schema(schema())

    def check(part):
        assert set(part) <= KEYWORDS
        for inner in (*part.get("properties", {}).values(), *part.get("$defs", {}).values(), *part.get("allOf", ())):
            check(inner)
        for name in ("items", "additionalProperties"):
            if isinstance(part.get(name), dict):
                check(part[name])

    check(schema())


@given(damaged_json(AXIS))
def test_a_damaged_axis_is_judged_as_the_package_jsonschema_does(damaged):
    """Except where ours is stricter: 1.0 is no integer, and a final newline is part of a text."""
    kinds = jsonschema.Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    )
    validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, type_checker=kinds)(axis_schema())
    assume(len(json.dumps(damaged)) < 30_000)  # the package takes a second for each
    assert (complaint(damaged, axis_schema()) is None) == validator.is_valid(damaged)


@pytest.mark.parametrize("load", (load_axis, load_preferences, load_clip, Checkpoint.load))
@pytest.mark.parametrize("name", ("a\0b", "a" * 5000, "\ud800"), ids=("zero", "long", "half"))
def test_names_that_no_file_can_have_are_refused_in_a_sentence(load, name, tmp_path):
    for path in (tmp_path / name, tmp_path / name / "folder"):
        with pytest.raises(RSCorrectorError):
            load(path)


def test_a_device_a_pipe_and_a_folder_are_refused_before_they_are_opened(tmp_path):
    for path, kind in ((Path("/dev/zero"), "device"), (tmp_path, "folder")):
        if path.exists():
            with pytest.raises(UnreadableError, match=f"it is a {kind}, not a file"):
                read_bytes(path)


def test_a_tensor_of_another_type_and_a_header_that_lies_are_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    for data, words in (
        (save({"a": torch.zeros(3, dtype=torch.int64)}), '"a" has the type I64, and F64 or F32'),
        ((2**62).to_bytes(8, "little") + b"{}", "not a safetensors file"),
        ((2).to_bytes(8, "little") + b"[]", "not a safetensors file"),
        (save({"a": torch.zeros(3)})[:-4], "not a safetensors file"),
        (save({"a": torch.zeros(2**10)}, {"x": "y" * 5_000_000}), "its header has 4.8 MB"),
    ):
        path.write_bytes(data)
        with pytest.raises(UnreadableError, match=words):
            read_tensors(path, 2**24)


def test_a_message_is_cut_and_holds_nothing_that_moves_a_terminal():
    said = str(RSCorrectorError("\x1b[31m\u202e" + "x" * 5000 + "\ud800; pick another file."))
    assert len(said) <= LONGEST_MESSAGE and said.endswith("; pick another file.")
    said.encode()
    assert not set(said) & set("\x1b\u202e")
