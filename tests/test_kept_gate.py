"""A gate is trained once for an axis and a text encoder, and loaded from then on."""

import json
import os
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from corrector.axis.axis import Side
from corrector.files import whole_files
from corrector.files.tensor_files import read_sealed, sealed, unsealed
from corrector.files.whole_files import at_work
from corrector.gate import kept, train
from corrector.gate.kept import kept_gate
from corrector.gate.prompt_gate import PromptGate
from corrector.gate.texts import gate_texts

ROOT = Path(__file__).resolve().parents[1]
WIDTH = 6
SHORT = dict(count=48, longest=10, steps=2, check=False)
PROMPTS = ("a portrait of an Orvane person", "an Orvane person in a village", "a cat")

pytestmark = pytest.mark.usefixtures("one_thread")


def vector(word):
    return torch.randn(WIDTH, generator=torch.Generator().manual_seed(zlib.crc32(word.encode())))


class Encoder:
    """Encodes each word as a vector of its own, and counts the texts."""

    identity = "words"

    def __init__(self):
        self.texts = 0

    def __call__(self, texts):
        for text in texts:
            self.texts += 1
            yield torch.stack([vector(word) for word in f"{text} .".split()])


@pytest.fixture
def encoder():
    return Encoder()


@pytest.fixture
def gate_of(encoder, axis, tmp_path):
    """-> a function: (gate, figures, number of texts that were encoded for it)."""

    def get(axis=axis, folder=tmp_path / "gates", identity=Encoder.identity, **changed):
        before = encoder.texts
        gate, figures = kept_gate(axis, encoder, identity, folder, **{**SHORT, **changed})
        return gate, figures, encoder.texts - before

    return get


def files(folder):
    return sorted(folder.glob("gate-*.safetensors"))


def same(first, second):
    states = first.state_dict(), second.state_dict()
    return first.config == second.config and all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def readings(gate):
    return [vars(gate.read([torch.stack([vector(word) for word in prompt.split()])[None]])) for prompt in PROMPTS]


def test_the_second_time_it_is_loaded_bit_for_bit_and_nothing_is_encoded(gate_of):
    (gate, figures, encoded), (loaded, figures_of_loaded, encoded_again) = gate_of(), gate_of()
    assert (encoded, encoded_again) == (SHORT["count"], 0)
    assert same(loaded, gate) and readings(loaded) == readings(gate) and figures_of_loaded == figures
    assert not loaded.training and not any(parameter.requires_grad for parameter in loaded.parameters())


def test_nothing_in_the_file_tells_the_words_of_the_axis(gate_of, axis, tmp_path):
    gate_of()
    (file,) = files(tmp_path / "gates")
    content = (file.name.encode() + file.read_bytes()).lower()
    assert not any(word.lower().encode() in content for word in (*axis.groups, "village", "city", axis.id, axis.title))


@pytest.mark.parametrize(
    "change",
    [
        {"groups": ("Orvane", "Zendoli")},
        {"neutral": ("a drawing of a {group} person",)},
        {"aliases": {"Orvane": ("Orvanese",)}},
        {"another": ("at sea",)},
        {"stereotype": Side("a village", ("in a hamlet",))},
        {"counter": Side("a city", ("in a city", "near office towers"), ("downtown",))},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_axis_with_other_words_has_another_gate(gate_of, axis, change):
    gate_of()
    assert gate_of(replace(axis, **change))[2] == SHORT["count"]
    assert gate_of(replace(axis, **change))[2] == gate_of()[2] == 0


@pytest.mark.parametrize("change", [{"identity": "other"}, {"steps": 3}, {"seed": 1}, {"words": ["lamp", "tram"] * 9}])
def test_another_text_encoder_and_other_settings_have_another_gate(gate_of, change):
    gate_of()
    assert gate_of(**change)[2] == SHORT["count"]
    assert gate_of(**change)[2] == gate_of()[2] == 0


def test_a_gate_of_an_older_training_is_trained_again(gate_of, monkeypatch):
    gate_of()
    monkeypatch.setattr(kept, "VERSION", train.VERSION + 1)
    assert gate_of()[2] == SHORT["count"]


def test_texts_of_the_training_are_those_of_its_version(axis):
    """If this fails, the grammar or its words have changed: raise VERSION in gate/train.py, and write its sum here."""
    texts = gate_texts(axis, 400, 0, words=["lamp", "not", "without", "tram"] * 6)
    assert {train.VERSION: zlib.crc32(json.dumps(texts).encode())} == {5: 542778283}


def damaged(path):
    path.write_bytes(path.read_bytes()[:-1] + b"\1")


def cut_off(path):
    path.write_bytes(path.read_bytes()[:100])


def of_another_program(path):
    save_file({"weight": torch.ones(2)}, path)


def of_another_key(path):
    _rewrite(path, key="0" * 64)


def with_nan(path):
    _rewrite(path, lambda tensors: tensors["centre"].fill_(torch.nan))


def with_another_description(path):
    _rewrite(path, gate=PromptGate(WIDTH, 3, 5).config)


def without_one_tensor(path):
    _rewrite(path, lambda tensors: tensors.pop("centre"))


def _rewrite(path, change=lambda tensors: None, **metadata):
    content, tensors, _ = read_sealed(path, 2**20)
    change(tensors)
    path.write_bytes(sealed({**unsealed(content, read_sealed(path, 2**20)[1]), **metadata}, tensors))


@pytest.mark.parametrize(
    "damage",
    [damaged, cut_off, of_another_program, of_another_key, with_nan, with_another_description, without_one_tensor],
)
def test_a_file_that_cannot_be_used_is_replaced_and_the_log_says_so_once(gate_of, tmp_path, caplog, damage):
    gate = gate_of()[0]
    (path,) = files(tmp_path / "gates")
    damage(path)
    again, _, encoded = gate_of()
    assert encoded == SHORT["count"] and same(again, gate)
    (record,) = caplog.records
    assert str(path) in record.getMessage() and record.getMessage().endswith("), so it is trained again.")
    assert gate_of()[2] == 0 and len(caplog.records) == 1 and files(path.parent) == [path]


def test_without_a_folder_or_an_identity_nothing_is_kept(gate_of, tmp_path, caplog):
    for options in ({"folder": None}, {"identity": ""}):
        assert gate_of(**options)[2] == gate_of(**options)[2] == SHORT["count"]
    assert list(tmp_path.iterdir()) == [] and not caplog.records


def test_where_no_folder_can_be_made_it_is_trained_and_used_and_the_log_says_so_once(gate_of, tmp_path, caplog):
    (tmp_path / "file").write_text("no folder")
    _, figures, encoded = gate_of(folder=tmp_path / "file" / "gates")
    assert encoded == SHORT["count"] and figures["n"] == SHORT["count"] // 8
    (record,) = caplog.records
    assert "the gate was not kept (Not a directory), so it is trained again next time" in record.getMessage()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), PermissionError(13, "Permission denied")])
def test_on_a_full_or_protected_disk_it_is_trained_and_used(gate_of, tmp_path, monkeypatch, caplog, error):
    def refuse(*_):
        raise error

    monkeypatch.setattr(whole_files.os, "fsync", refuse)
    assert gate_of()[2] == gate_of()[2] == SHORT["count"]
    assert [error.strerror in record.getMessage() for record in caplog.records] == [True, True]
    assert list((tmp_path / "gates").iterdir()) == []


def test_progress_counts_texts_and_steps_and_is_silent_if_it_is_loaded(gate_of):
    calls, total = [], SHORT["count"] + SHORT["steps"]
    for _ in range(2):
        gate_of(progress=lambda *call: calls.append(call))
    assert calls == [(done, total) for done in range(1, total + 1)]


def test_progress_counts_hand_written_texts_too(gate_of):
    calls = []
    encoded = gate_of(progress=lambda *call: calls.append(call), check=True)[2]
    done = encoded + SHORT["steps"]
    assert calls[-1] == (done, done) and encoded > SHORT["count"]


def test_who_stops_the_training_keeps_nothing(gate_of, tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gate_of(progress=stop)
    assert list((tmp_path / "gates").iterdir()) == []


def test_the_gates_used_longest_ago_are_deleted_and_nothing_else(gate_of, tmp_path, monkeypatch):
    folder = tmp_path / "gates"
    gate_of(seed=1)
    size = files(folder)[0].stat().st_size
    monkeypatch.setattr(kept, "LARGEST_FOLDER", 2.5 * size)
    preference = folder / "mine.safetensors"
    preference.write_bytes(bytes(10 * size))
    gate_of(seed=2)
    for age, file in enumerate(files(folder)):
        os.utime(file, (1e9 - age, 1e9 - age))
    assert gate_of(seed=1)[2] == 0  # now it was used last
    gate_of(seed=3)
    assert len(files(folder)) == 2 and preference.exists()
    assert [gate_of(seed=seed)[2] for seed in (1, 3)] == [0, 0]


def test_the_gate_in_use_is_never_deleted(gate_of, tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "LARGEST_FOLDER", 1)
    for seed in (1, 2):
        gate_of(seed=seed)
        assert len(files(tmp_path / "gates")) == 1 and gate_of(seed=seed)[2] == 0


SLOW = """
import sys, time
sys.path[:0] = sys.argv[1:3]
import torch
from pathlib import Path
from corrector.axis.axis import load_axis
from corrector.gate.kept import kept_gate
from test_kept_gate import SHORT, Encoder

torch.set_num_threads(1)
encoder = Encoder()

def slowly(texts):
    time.sleep(0.5)
    yield from encoder(texts)

print("ready", flush=True)
input()
kept_gate(load_axis(sys.argv[3]), slowly, encoder.identity, Path(sys.argv[4]), **SHORT)
print(encoder.texts)
"""


def test_of_two_processes_that_want_it_at_once_one_trains_it_and_the_other_loads_it(tmp_path):
    arguments = [ROOT, ROOT / "tests", ROOT / "axes" / "miniature-backdrop.json", tmp_path]
    command = [sys.executable, "-c", SLOW, *map(str, arguments)]
    both = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.stdout.readline() for process in both] == ["ready\n"] * 2
    for process in both:
        process.stdin.write("\n")
        process.stdin.flush()
    assert sorted(int(process.communicate(timeout=60)[0]) for process in both) == [0, SHORT["count"]]


def test_a_process_that_never_ends_is_waited_for_and_then_it_is_trained_without_being_kept(
    gate_of, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(kept, "LONGEST_WAIT", 0.2)
    gate_of()
    (path,) = files(tmp_path / "gates")
    path.unlink()
    with at_work(path, "a gate"):
        assert gate_of()[2] == SHORT["count"]
    assert not path.exists() and "another process is still training this gate" in caplog.text
