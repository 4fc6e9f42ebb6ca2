"""Preference files: what is written is read back, by us and by safetensors alone; everything else is refused."""

import json
import pickle
import random
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import corrector
from corrector.files.folders import WEIGHTS
from corrector.gate.prompt_gate import PromptGate
from corrector.preference.file import (
    FORMAT,
    KEY,
    LARGEST_PREFERENCE,
    PreferenceFileError,
    file_hash,
    load_preference,
    save_preference,
)
from corrector.preference.networks import Distilled
from corrector.preference.preference import Preference
from corrector.preference.text import Text
from preference_files import rewrite


def test_a_saved_preference_reads_the_same_within_half_precision(preference, saved):
    loaded = load_preference(saved)
    x, sigma, group = torch.randn(2, 4, 10, 6), torch.tensor([0.5, 5.0]), torch.tensor([0, 1])
    before, after = preference.source(x, sigma, group, x), loaded.source(x, sigma, group, x)
    torch.testing.assert_close(after, before, rtol=1e-2, atol=5e-3)
    tokens = torch.randn(1, 5, 12)
    assert loaded.gate.read([tokens]) == preference.gate.read([tokens])
    for name in ("axis", "space", "calibrations", "training", "name"):
        assert getattr(loaded, name) == getattr(preference, name)
    assert loaded.hash == preference.hash == file_hash(saved)
    parameters = list(loaded.source.parameters())
    assert not loaded.source.training and not any(p.requires_grad or p.dtype != torch.float32 for p in parameters)


def test_a_preference_is_written_as_the_same_bytes_each_time(preference, saved, tmp_path):
    again = tmp_path / "again.safetensors"
    for _ in range(5):
        save_preference(preference, again)
        assert again.read_bytes() == saved.read_bytes()


def test_metadata_is_readable_with_safetensors_alone(saved, axis):
    with safe_open(saved, "pt") as file:
        metadata = json.loads(file.metadata()["rs_corrector"])
    assert metadata["latent_space"] == "miniature" and metadata["axis_hash"] == axis.hash
    assert metadata["axis"]["stereotype"]["description"] == "a village"
    assert metadata["calibrations"][0]["base_rate"] == 0.05 and metadata["licence"] == "MIT"


def test_a_full_size_preference_is_at_most_four_megabytes(axis, tmp_path):
    path = tmp_path / "full.safetensors"
    gate = PromptGate(width=768, groups=4, hidden=36, reach=5, members=3)
    four = replace(axis, groups=("Orvane", "Tavelu", "Quilmari", "Zendoli"))
    save_preference(Preference(four, "sd15", Distilled("sd15", 4), gate), path)
    assert path.stat().st_size <= 4 * 2**20
    save_preference(Preference(four, "sd15", Distilled("sd15", 4), None), path)
    assert load_preference(path).gate is None


def test_loading_a_preference_passes_few_of_our_files_and_few_calls():
    """Python's "call" events in files of the package, with the modules imported; axes and schemas are read again."""
    package, calls = str(Path(corrector.__file__).parent), []

    def count(frame, event, argument):
        if event == "call" and frame.f_code.co_filename.startswith(package):
            calls.append(frame.f_code.co_filename)

    sys.setprofile(count)
    try:
        load_preference(WEIGHTS / "miniature-backdrop.safetensors")
    finally:
        sys.setprofile(None)
    assert len(set(calls)) <= 6 and len(calls) <= 1000


def test_what_cannot_be_saved_leaves_the_old_file(preference, saved, tmp_path, full_disk):
    before = saved.read_bytes()
    with pytest.raises(PreferenceFileError, match="no weights to save; keep its two prompts"):
        save_preference(replace(preference, source=Text([], [])), saved)
    wrong = replace(preference, axis=replace(preference.axis, neutral=("a {group} person in a city",)))
    with pytest.raises(PreferenceFileError, match=r'no program could read it: "neutral\[0\]" already says'):
        save_preference(wrong, saved)
    with full_disk(), pytest.raises(PreferenceFileError, match="cannot be written: the disk is full; free some space"):
        save_preference(preference, saved)
    with torch.no_grad():
        preference.source.last.weight[0, 0] = float("nan")
    with pytest.raises(PreferenceFileError, match=r"nothing was written.*last.weight.*holds NaN.*another seed"):
        save_preference(preference, saved)
    assert saved.read_bytes() == before and list(tmp_path.iterdir()) == [saved]


def test_a_calibration_needs_no_more_than_the_rates(saved):
    def reduced(metadata):
        metadata["calibrations"] = [
            {key: c[key] for key in ("group", "cfg", "base_rate", "base_n", "full_rate", "full_n")}
            for c in metadata["calibrations"]
        ]
        del metadata["axis_hash"]

    rewrite(saved, reduced)
    assert load_preference(saved).calibrations[0].tone == 0.0


def refused(path, words):
    with pytest.raises(PreferenceFileError, match=words) as caught:
        load_preference(path)
    assert str(caught.value).startswith(f"{path.name}: ") and "\n" not in str(caught.value)


def test_a_pickle_is_refused_and_never_executed(tmp_path):
    class Trap:
        def __reduce__(self):
            return open, (str(tmp_path / "executed"), "w")

    path = tmp_path / "trap.safetensors"
    path.write_bytes(pickle.dumps(Trap()))
    refused(path, "not a safetensors file")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.99])
def test_a_truncated_file_is_refused(saved, share):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(share * len(content))])
    refused(saved, "cut off.*copy it again")


def test_a_file_in_which_any_single_bit_has_changed_is_refused(saved):
    content, rng = saved.read_bytes(), random.Random(0)
    for _ in range(150):
        changed, place = bytearray(content), rng.randrange(8 * len(content))
        changed[place // 8] ^= 1 << place % 8
        saved.write_bytes(changed)
        with pytest.raises(PreferenceFileError):
            load_preference(saved)


def test_a_file_that_another_program_changed_is_refused_and_says_so(saved):
    with safe_open(saved, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(saved)
    tensors["source.last.weight"][0, 0] += 0.5
    save_file(tensors, saved, metadata)
    refused(saved, "its checksum is not that of its content.*copy it again")
    described = json.loads(metadata[KEY])
    del described["checksum"]
    save_file(tensors, saved, {KEY: json.dumps(described)})
    refused(saved, "its checksum is not that of its content")
    save_file({"weight": torch.zeros(3)}, saved)
    refused(saved, "not an RS-Corrector preference")


def test_a_huge_file_is_refused_before_it_is_read_and_a_missing_one_by_name(saved):
    with saved.open("ab") as file:
        file.truncate(LARGEST_PREFERENCE + 1)
    refused(saved, "its size is 16.0 MB, and at most 16 MB are expected; pick a preference file")
    saved.unlink()
    refused(saved, "; pick another or put it back")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": FORMAT + 1}, rf"format {FORMAT + 1} is newer than this RS-Corrector knows \({FORMAT}\)"),
        ({"format": FORMAT - 1}, f"format {FORMAT - 1} is of a development version; learn it again"),
        ({"latent_space": "sd9"}, '"sd9", which this version does not know'),
        ({"source": {"space": "miniature", "groups": 2, "width": 2**20}}, "1048576; it must be at most 1024"),
        (
            {"source": {"space": "miniature", "groups": 2, "belief": True}},
            'fit together .unknown field "source.belief"',
        ),
        ({"axis": {"id": "x"}}, "do not fit together"),
        ({"source": {"kind": "oracle"}}, "do not fit together"),
        ({"calibrations": [{"group": 1}]}, "do not fit together"),
        *(
            ({field: value}, "; (learn it again|pick one|update RS-Corrector)")
            for field in ("axis", "source", "calibrations", "format", "latent_space", "gate")
            for value in (None, "text", [1], {"a": 1})
        ),
    ],
)
def test_metadata_that_cannot_be_used_is_refused(saved, change, words):
    rewrite(saved, lambda metadata: metadata.update(change))
    refused(saved, words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tensors: tensors["source.last.weight"].fill_(float("nan")), '"source.last.weight" holds NaN or inf'),
        (lambda tensors: tensors["source.last.weight"].fill_(float("inf")), '"source.last.weight" holds NaN or inf'),
        (lambda tensors: tensors.pop("source.last.bias"), "do not fit together"),
        (lambda tensors: tensors.update(x=torch.zeros(1)), '"x" belongs to no network'),
    ],
)
def test_tensors_that_do_not_fit_the_description_are_refused(saved, change, words):
    rewrite(saved, change_tensors=change)
    refused(saved, words)
