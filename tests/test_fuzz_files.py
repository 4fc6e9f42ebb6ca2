"""Of damaged files only sentences come out, or sound content: no foreign exception and no NaN."""

import copy
import json
import math
from dataclasses import replace

import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import load, save

from audit_world import DRAWN, drawn_audit, plan
from corrector.auditing.chart import report_table
from corrector.auditing.compare import compare, compare_table
from corrector.auditing.page import publish
from corrector.auditing.report_file import load_report
from corrector.axis.axis import load_axis, save_axis
from corrector.cli.pictures import describe
from corrector.correction.decision import decide
from corrector.correction.record import RECORD_KEY
from corrector.correction.update import Settings, correct
from corrector.files.errors import LONGEST_MESSAGE, RSCorrectorError
from corrector.files.folders import AXES
from corrector.files.tensor_files import CHECKSUM, KEY, checksum
from corrector.gate.prompt_gate import PromptReading
from corrector.preference.file import load_preferences, save_preferences
from preference_files import small_preference
from steady import given, settings
from steady import strategies as st

TEXTS = (
    "", " ", "Orvane", "{group}", "{group:>1500000000}", "{group!r} {group}", "{", "$x_1^{", "<!--<script>", "\ud800",
    "\x00", "\x1b[31m", "\u202e", "../../x", "con", "x" * 3000, "\U0001f600",
)  # fmt: skip
NUMBERS = (0, 1, -1, 2, 0.5, 1e308, -1e-308, 2**31, 2**63, 10**30, 10**400, math.nan, math.inf, -math.inf)
VALUES = (*TEXTS, *NUMBERS, None, True, False, [], {}, [[]], [None], [1, "a"], {"": 0}, json.loads("[" * 50 + "]" * 50))
AXIS = json.loads((AXES / "worn-places.json").read_text(encoding="utf-8"))
RECORD = {"format": 1, "corrections": [{"strength": 1.0, "target": 0.5, "preferences": [
    {"name": "a", "hash": "0a", "corrected": False, "reason": "the prompt asks for a village"}]}]}  # fmt: skip
INFOTEXT = 'a cat\nSteps: 20, RS-Corrector strength: 1.5, RS-Corrector result: "left alone, a", Version: 1'


def places_in(value, path=()):
    """The paths of all parts of a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [(*path, key) for key, _ in inner] + [place for key, v in inner for place in places_in(v, (*path, key))]


@st.composite
def damaged_json(draw, value):
    """A JSON object with parts replaced, removed, renamed, repeated or nested."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        *path, last = draw(st.sampled_from(places_in(value) or [("new",)]))
        holder = value
        for key in path:
            holder = holder[key]
        match draw(st.integers(0, 6)):
            case 0 if isinstance(holder, list) or last in holder:
                del holder[last]
            case 1 if isinstance(holder, dict):
                holder[draw(st.sampled_from(("new", "", "format", "groups", "x" * 500)))] = holder.get(last)
            case 1:
                holder *= draw(st.sampled_from((2, 300)))
            case _:
                holder[last] = copy.deepcopy(draw(st.sampled_from(VALUES)))
    return value


@st.composite
def damaged_bytes(draw, data):
    """Bytes with some of them changed, cut off or repeated."""
    at, length = draw(st.integers(0, len(data) - 1)), draw(st.sampled_from((1, 4, 64, 1000)))
    new = draw(st.sampled_from((b"", b"\0" * length, b"\xff", data[at : at + length] * 2)))
    return data[:at] + new + (b"" if draw(st.booleans()) else data[at + length :])


def sound_or_damaged(content):
    return st.just(content) | damaged_bytes(content)


def damaged_files(value):
    texts = damaged_json(value).map(lambda damaged: json.dumps(damaged, ensure_ascii=False))
    return texts.map(lambda text: text.encode("utf-8", "surrogatepass")) | damaged_bytes(json.dumps(value).encode())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def tried(use, path, data):
    """`use(path)` of a file with this content -> what comes out, or None if it is refused in a sentence."""
    path.write_bytes(data)
    try:
        return use(path)
    except RSCorrectorError as refusal:
        assert 0 < len(str(refusal)) <= LONGEST_MESSAGE


@given(damaged_files(AXIS))
def test_axis_files(folder, content):
    if axis := tried(load_axis, folder / "tried.json", content):
        assert axis.prompts(axis.groups[0], "counter") and load_axis(save_axis(axis, folder)).hash == axis.hash


@pytest.fixture(scope="module")
def preference_file(folder, axis):
    save_preferences([small_preference(axis)], folder / "sound.safetensors")
    return (folder / "sound.safetensors").read_bytes()


@given(st.data())
@settings(max_examples=40)
def test_preference_files(folder, preference_file, data):
    length = int.from_bytes(preference_file[:8], "little")
    metadata, tensors = json.loads(preference_file[8 : 8 + length])["__metadata__"], load(preference_file)
    metadata, name = json.loads(metadata[KEY]), data.draw(st.sampled_from(sorted(tensors)))
    match data.draw(st.integers(0, 3)):
        case 0:
            tensors[name].fill_(data.draw(st.sampled_from((math.nan, math.inf, 6e4, -6e4, 1e-7, 0.0))))
        case 1:
            tensors[data.draw(st.sampled_from(("x", "source.x", min(tensors))))] = tensors.pop(name)
        case _:
            metadata = data.draw(damaged_json(metadata))
    metadata.pop(CHECKSUM, None)
    metadata[CHECKSUM] = checksum(json.dumps(metadata), tensors)  # as another program would write it
    content = data.draw(sound_or_damaged(save(tensors, {KEY: json.dumps(metadata)})))
    for preference in tried(load_preferences, folder / "tried.safetensors", content) or ():
        x, sigma, readings = torch.ones(2, 4, 8, 8), torch.tensor([14.6, 0.05]), [PromptReading(0, "neither")] * 2
        decision, _ = decide(preference, readings, torch.tensor([0.3, 0.7]), 0.5, 3.0, torch.tensor([-2.0, 1.0]))
        decision = replace(decision, active=torch.ones(2, dtype=torch.bool), group=torch.tensor([0, 1]))
        assert correct(x, x, sigma, [preference], [decision], Settings(), 2.0, x).isfinite().all()
        assert all(map(str.strip, preference.caveats())) and all(c.reach(0.9) for c in preference.calibrations)
        save_preferences([preference], folder / "again.safetensors")


@pytest.fixture(scope="module")
def report(folder):
    run = drawn_audit(plan(("Orvane",), images=2, explicit=1, strengths=(1.0,)), [DRAWN])
    return publish(run, run.run(folder / "pictures"), folder)[0]


@given(st.data())
def test_reports_of_audits(folder, report, data):
    if loaded := tried(load_report, folder / "tried.json", data.draw(damaged_files(report))):
        assert report_table(loaded) and compare_table(compare([loaded, loaded], ["a", "b"]), ["a", "b"])


@given(damaged_bytes(INFOTEXT.encode()), st.none() | damaged_json(RECORD), st.data())
def test_metadata_of_pictures(folder, infotext, record, data):
    metadata, path = PngInfo(), folder / "tried.png"
    metadata.add_text("parameters", infotext.decode("latin-1"))
    if record is not None:
        metadata.add_text(RECORD_KEY, json.dumps(record))
    Image.new("RGB", (8, 8)).save(path, pnginfo=metadata)
    tried(describe, path, data.draw(sound_or_damaged(path.read_bytes())))
