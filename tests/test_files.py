"""Preference files: what is written is read back, by us and by safetensors alone; everything else is refused."""

import json
import pickle
import random
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from corrector.gate.prompt_gate import PromptGate
from corrector.preference.file import (
    FORMAT,
    KEY,
    LARGEST,
    PreferenceFileError,
    file_hash,
    load_preference,
    save_preference,
)
from corrector.preference.networks import Distilled
from corrector.preference.preference import Preference
from corrector.preference.text import Text
from preference_files import rewrite, small_preference


@pytest.fixture
def preference(axis):
    return small_preference(axis)


@pytest.fixture
def saved(preference, tmp_path):
    path = tmp_path / "village.safetensors"
    save_preference(preference, path)
    return path


def test_a_saved_preference_reads_the_same_within_half_precision(preference, saved):
    loaded = load_preference(saved)
    x, sigma, group = torch.randn(2, 4, 10, 6), torch.tensor([0.5, 5.0]), torch.tensor([0, 1])
    before, after = preference.source(x, sigma, group, x), loaded.source(x, sigma, group, x)
    for name in ("log_odds", "push", "tone"):
        torch.testing.assert_close(getattr(after, name), getattr(before, name), rtol=1e-2, atol=5e-3)
    tokens = torch.randn(1, 5, 12)
    assert loaded.gate.read([tokens]) == preference.gate.read([tokens])


def test_everything_that_is_known_of_a_preference_comes_back(preference, saved):
    loaded = load_preference(saved)
    assert loaded.axis == preference.axis and loaded.axis.hash == preference.axis.hash
    for name in ("space", "calibrations", "training", "name"):
        assert getattr(loaded, name) == getattr(preference, name)
    assert loaded.hash == preference.hash == file_hash(saved)


def test_a_loaded_preference_is_ready_for_inference(saved):
    loaded = load_preference(saved)
    assert not loaded.source.training and not any(p.requires_grad for p in loaded.source.parameters())
    assert all(p.dtype == torch.float32 for p in loaded.source.parameters())


def test_saving_a_loaded_preference_again_gives_the_same_tensors(saved, tmp_path):
    again = tmp_path / "again.safetensors"
    save_preference(load_preference(saved), again)
    first, second = load_file(saved), load_file(again)
    assert all(torch.equal(first[name], second[name]) for name in first) and first.keys() == second.keys()


def test_metadata_is_readable_with_safetensors_alone(saved, axis):
    with safe_open(saved, "pt") as file:
        metadata = json.loads(file.metadata()["rs_corrector"])
    assert metadata["latent_space"] == "miniature" and metadata["axis_hash"] == axis.hash
    assert metadata["axis"]["stereotype"]["description"] == "a village"
    assert metadata["calibrations"][0]["base_rate"] == 0.05 and metadata["licence"] == "MIT"


def test_a_preference_without_a_gate_is_kept_too(preference, tmp_path):
    path = tmp_path / "c.safetensors"
    save_preference(replace(preference, gate=None), path)
    assert load_preference(path).gate is None


def test_a_full_size_preference_is_at_most_four_megabytes(axis, tmp_path):
    path = tmp_path / "full.safetensors"
    gate = PromptGate(width=768, groups=4, hidden=36, reach=5)
    four = replace(axis, groups=("Orvane", "Tavelu", "Quilmari", "Zendoli"))
    save_preference(Preference(four, "sd15", Distilled("sd15", 4), gate), path)
    assert path.stat().st_size <= 4 * 2**20


def test_a_text_preference_has_nothing_to_save(preference, tmp_path):
    with pytest.raises(PreferenceFileError, match="no weights to save; keep its two prompts"):
        save_preference(replace(preference, source=Text([], [])), tmp_path / "text.safetensors")
    assert not list(tmp_path.iterdir())


def test_on_a_full_disk_the_old_file_stays(preference, saved, full_disk):
    before = saved.read_bytes()
    with full_disk(), pytest.raises(PreferenceFileError, match="cannot be written: the disk is full; free some space"):
        save_preference(preference, saved)
    assert saved.read_bytes() == before and len(list(saved.parent.iterdir())) == 1


def test_a_preference_with_nan_is_not_written_over_the_old_file(preference, saved):
    before = saved.read_bytes()
    with torch.no_grad():
        preference.source.odds.weight[0, 0] = float("nan")
    with pytest.raises(PreferenceFileError, match=r"nothing was written.*odds.weight.*holds NaN.*another seed"):
        save_preference(preference, saved)
    assert saved.read_bytes() == before


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


def test_a_file_that_is_not_safetensors_is_refused(tmp_path):
    path = tmp_path / "readme.safetensors"
    path.write_text("# hello")
    refused(path, "not a safetensors file")


def test_a_pickle_is_refused_and_never_executed(tmp_path):
    class Trap:
        def __reduce__(self):
            return open, (str(tmp_path / "executed"), "w")

    path = tmp_path / "trap.safetensors"
    path.write_bytes(pickle.dumps(Trap()))
    refused(path, "not a safetensors file")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("kept", [0.0, 0.05, 0.5, 0.99])
def test_a_truncated_file_is_refused(saved, kept):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(kept * len(content))])
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
    tensors["source.odds.weight"][0, 0] += 0.5
    save_file(tensors, saved, metadata)
    refused(saved, "its checksum is not that of its content.*copy it again")
    described = json.loads(metadata[KEY])
    del described["checksum"]
    save_file(tensors, saved, {KEY: json.dumps(described)})
    refused(saved, "it has no checksum, as of a development version; learn it again")


def test_a_preference_is_written_as_the_same_bytes_each_time(preference, saved, tmp_path):
    for _ in range(5):
        save_preference(preference, tmp_path / "again.safetensors")
        assert (tmp_path / "again.safetensors").read_bytes() == saved.read_bytes()


def test_other_safetensors_files_are_refused(tmp_path):
    path = tmp_path / "lora.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    refused(path, "not an RS-Corrector preference")


def test_a_future_version_is_refused_with_both_versions(saved):
    rewrite(saved, lambda metadata: metadata.update(format=FORMAT + 1))
    refused(saved, rf"format {FORMAT + 1} is newer than this RS-Corrector knows \({FORMAT}\)")
    rewrite(saved, lambda metadata: metadata.update(format=FORMAT - 1))
    refused(saved, f"format {FORMAT - 1} is of a development version; learn it again")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_tensor_with_nan_or_infinity_is_refused_by_its_name(saved, value):
    rewrite(saved, change_tensors=lambda tensors: tensors["source.odds.weight"].fill_(value))
    refused(saved, '"source.odds.weight" holds NaN or infinity')


def test_a_huge_file_is_refused_before_it_is_read(saved):
    with saved.open("ab") as file:
        file.truncate(LARGEST + 1)
    refused(saved, "its size is 16.0 MB, and at most 16 MB are expected; pick a preference file")


def test_a_latent_space_that_is_not_known_is_refused_by_name(saved):
    rewrite(saved, lambda metadata: metadata.update(latent_space="sd9"))
    refused(saved, '"sd9", which this version does not know')


def test_tensors_that_do_not_fit_the_description_are_refused(saved):
    rewrite(saved, change_tensors=lambda tensors: tensors.pop("source.odds.bias"))
    refused(saved, "do not fit together")


def test_absurd_sizes_in_the_description_are_refused_and_not_allocated(saved):
    rewrite(saved, lambda metadata: metadata["source"].update(width=2**20))
    refused(saved, '"source.width" is 1048576; it must be at most 1024')


def test_a_network_with_a_setting_that_it_does_not_have_is_refused(saved):
    rewrite(saved, lambda metadata: metadata["source"].update(belief=True))
    refused(saved, "do not fit together")


@pytest.mark.parametrize(
    "broken", [{"axis": {"id": "x"}}, {"source": {"kind": "oracle"}}, {"calibrations": [{"group": 1}]}]
)
def test_broken_metadata_is_refused(saved, broken):
    rewrite(saved, lambda metadata: metadata.update(broken))
    refused(saved, "do not fit together")


@pytest.mark.parametrize("field", ["axis", "source", "calibrations", "format", "latent_space", "gate"])
@pytest.mark.parametrize("value", [None, 300, "text", [1], {"a": 1}])
def test_metadata_of_another_type_is_refused(saved, field, value):
    rewrite(saved, lambda metadata: metadata.update({field: value}))
    with pytest.raises(PreferenceFileError):
        load_preference(saved)


def test_a_file_removed_between_runs_is_missed_by_name(saved):
    load_preference(saved)
    saved.unlink()
    refused(saved, "; pick another or put it back")
