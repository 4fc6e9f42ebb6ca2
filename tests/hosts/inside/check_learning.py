"""The nodes Learn and Calibrate, with an interruption, and the axis nodes."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import comfy.latent_formats
import comfy.model_management
import comfy.sample
import comfy.sd
import comfy.utils
import folder_paths
import pytest
import torch
from host import NODES, correct, encode, node, sample, weights_hash
from host_extras import Counted
from rs_pack.corrector.axis.axis import AxisError
from rs_pack.corrector.files.folders import WEIGHTS
from rs_pack.corrector.learning import learn as states
from rs_pack.corrector.learning.store import PairError
from rs_pack.corrector.preference.file import load_preference, save_preference
from rs_pack.corrector.preference.networks import PreferenceError
from rs_pack.corrector.preference.text import Text
from rs_pack.nodes import learning
from rs_pack.nodes.preferences import preferences_in
from rs_pack.nodes.progress import Progress

SIZE = dict(sampler="euler", scheduler="karras", width=128, height=128)
LEARN = dict(SIZE, pairs=40, steps=3, cfg=2.0, seed=3, batch=10, name="orvane", points=48)
THUMBNAIL = 2  # batches: plain and corrected pictures
CALIBRATE = dict(SIZE, images=16, cfg=2.0, steps=3, seed=1, batch=16)


@pytest.fixture(scope="module", autouse=True)
def folders(tmp_path_factory):
    """The host's folders, empty."""
    folder, patch = tmp_path_factory.mktemp("host"), pytest.MonkeyPatch()
    patch.setitem(
        folder_paths.folder_names_and_paths, "rs_corrector", ([str(folder / "rs_corrector")], {".safetensors"})
    )
    for name in ("output", "temp"):
        (folder / name).mkdir()
        patch.setattr(folder_paths, f"{name}_directory", str(folder / name))
    yield folder
    patch.undo()


@pytest.fixture(scope="module")
def miniature():
    """Only for this module, because the host leaves LoRAs of other checks in the weights."""
    with torch.inference_mode():
        return node("RSCorrectorMiniature")


@pytest.fixture(scope="module")
def axis():
    """One group of a shipped axis."""
    return replace(node("RSCorrectorLoadAxis", "miniature-backdrop.json"), groups=("Orvane",))


def shards(folders):
    return sorted((folders / "output/rs_corrector/pairs").glob("*/*.safetensors"))


def hashes(model, clip):
    digest = hashlib.sha256()
    for tensor in clip.cond_stage_model.state_dict().values():
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return weights_hash(model), digest.hexdigest()


@pytest.fixture(scope="module")
def run(miniature, axis, folders):
    """Learned in two runs, the first of which is interrupted in the fourth of eight batches."""
    model, clip, _ = miniature
    found, before = {}, hashes(model, clip)
    with torch.inference_mode():
        with pytest.MonkeyPatch.context() as patch:
            Counted(patch, stop_at=4)
            with pytest.raises(comfy.model_management.InterruptProcessingException):
                node("RSCorrectorLearnPreference", model, clip, axis, **LEARN)
        found["kept"] = {path: path.stat().st_mtime_ns for path in shards(folders)}
        with pytest.MonkeyPatch.context() as patch:
            counted = Counted(patch)
            found["preference"], found["report"] = node("RSCorrectorLearnPreference", model, clip, axis, **LEARN)
            found["batches"] = counted.batches
    found["unchanged"] = hashes(model, clip) == before
    return found


def test_an_interrupted_run_is_resumed_and_changes_no_model(run, folders):
    assert len(run["kept"]) == 3 and run["batches"] == 8 - 3 + THUMBNAIL
    assert len(shards(folders)) == 8
    assert all(path.stat().st_mtime_ns == when for path, when in run["kept"].items())
    assert run["unchanged"] and run["report"].shape[3] == 3 and run["report"].std() > 0.05


def test_the_preference_is_in_a_file_with_its_training_settings(run, folders):
    (preference,) = run["preference"]
    path = folders / "rs_corrector" / "orvane.safetensors"
    assert load_preference(path).hash == preference.hash
    training = preference.training
    assert training["pairs_a_side_and_group"] == 40 and training["host"]["size"] == "128 x 128"
    assert training["host"]["steps"] == 3 and load_preference(path).thumbnail == preference.thumbnail != ""
    assert "orvane.safetensors" in offered("RSCorrectorLoadPreference")
    assert node("RSCorrectorLoadPreference", "orvane.safetensors")[0].hash == preference.hash


def test_it_corrects_during_sampling(run, miniature):
    model, clip, _ = miniature
    prompt, empty = encode(clip, "a portrait of an Orvane person"), encode(clip, "")
    corrected = sample(correct(model, run["preference"], gate=False), prompt, empty)
    assert not torch.equal(corrected, sample(model, prompt, empty))


def test_calibration_is_saved_in_its_file_and_not_repeated(run, miniature, folders):
    model, clip, vae = miniature
    path, before = folders / "rs_corrector" / "orvane.safetensors", hashes(model, clip)
    (preference,), text = node("RSCorrectorCalibrate", model, clip, run["preference"], **CALIBRATE, vae=vae)
    found = [(known.group, known.cfg, known.base_n) for known in preference.calibrations]
    assert found == [("Orvane", 2.0, 16), ("Orvane", 7.0, 16)]
    assert load_preference(path).calibrations == preference.calibrations
    assert "Orvane at CFG 2" in text and "of 16 plain pictures" in text and "skin lightness" in text
    assert hashes(model, clip) == before
    with pytest.MonkeyPatch.context() as patch:
        counted = Counted(patch)
        (again,), _ = node("RSCorrectorCalibrate", model, clip, run["preference"], **CALIBRATE, vae=vae)
    assert counted.batches == 0 and again.hash == preference.hash
    (both,), _ = node("RSCorrectorCalibrate", model, clip, run["preference"], **{**CALIBRATE, "cfg": 1.0}, vae=vae)
    assert [c.cfg for c in both.calibrations] == [2.0, 1.0, 7.0]


def test_calibrating_a_shipped_preference_does_not_change_its_file(run, miniature, folders, monkeypatch):
    shipped = folders / "shipped" / "ours.safetensors"
    save_preference(replace(run["preference"][0]), shipped)
    before = shipped.read_bytes()
    monkeypatch.setattr(learning, "WEIGHTS", shipped.parent)
    (preference,), _ = node("RSCorrectorCalibrate", *miniature[:2], preferences_in(shipped), **CALIBRATE)
    assert shipped.read_bytes() == before
    assert load_preference(folders / "rs_corrector" / "ours.safetensors").hash == preference.hash


def test_two_axes_share_a_file_and_are_calibrated_independently(run, miniature, folders):
    attire = preferences_in(WEIGHTS / "miniature-attire.safetensors")
    saved = node("RSCorrectorSavePreference", (*run["preference"], *attire), "two of them")
    path = folders / "rs_corrector" / "two of them.safetensors"
    assert [p.axis.id for p in saved] == [run["preference"][0].axis.id, "miniature-attire"] and saved[0].path == path
    loaded = node("RSCorrectorLoadPreference", "two of them.safetensors")
    assert [p.hash for p in loaded] == [p.hash for p in saved]
    (calibrated,), _ = node("RSCorrectorCalibrate", *miniature[:2], loaded[:1], **{**CALIBRATE, "cfg": 3.0})
    (first, second) = preferences_in(path)
    assert first.hash == calibrated.hash and 3.0 in {c.cfg for c in first.calibrations}
    assert second.calibrations == attire[0].calibrations
    with pytest.raises(ValueError, match="cannot name a preference file"):
        node("RSCorrectorSavePreference", loaded, "../elsewhere")


def test_calibrating_on_a_derivative_replaces_the_calibration_with_a_warning(run, miniature, folders, caplog):
    path = folders / "rs_corrector" / "moved.safetensors"
    save_preference(replace(run["preference"][0]), path)
    model, clip, _ = miniature
    calibrated, _ = node("RSCorrectorCalibrate", model, clip, preferences_in(path), **{**CALIBRATE, "cfg": 1.0})
    assert "another checkpoint" not in caplog.text
    lora = comfy.utils.load_torch_file(str(WEIGHTS / "miniature-derivatives" / "miniature-rates.safetensors"))
    derivative = comfy.sd.load_lora_for_models(model, clip, lora, 1.0, 1.0)
    (moved,), _ = node("RSCorrectorCalibrate", *derivative, calibrated, **CALIBRATE)
    assert "orvane was calibrated on another checkpoint, and this calibration replaces that one" in caplog.text
    assert [known.cfg for known in moved.calibrations] == [2.0, 7.0]
    assert set(load_preference(path).training["calibrated"]) == {"2", "7"}


def test_text_preferences_cannot_be_calibrated(run, miniature):
    text = replace(run["preference"][0], source=Text([], []))
    with pytest.raises(ValueError, match=r"nothing to calibrate.*Learn Preference"):
        node("RSCorrectorCalibrate", *miniature[:2], (text,), **CALIBRATE)


def test_pairs_with_other_settings_are_refused(run, miniature, axis, folders):
    (settings,) = (folders / "output/rs_corrector/pairs").glob("*/settings.json")
    kept = settings.read_text()
    for name, value in (("checkpoint", "another"), ("seed", 99)):
        settings.write_text(json.dumps({**json.loads(kept), name: value}))
        with pytest.raises(PairError, match=f'another "{name}"'):
            node("RSCorrectorLearnPreference", *miniature[:2], axis, **LEARN)
    settings.write_text(kept)


def test_the_same_seed_gives_the_same_file(run, miniature, axis):
    with pytest.MonkeyPatch.context() as patch:
        counted = Counted(patch)
        (again,), report = node("RSCorrectorLearnPreference", *miniature[:2], axis, **LEARN)
    assert counted.batches == THUMBNAIL, "the pairs are loaded"
    assert again.hash == run["preference"][0].hash and torch.equal(report, run["report"])


def test_while_it_learns_the_node_shows_what_its_first_state_does(run, miniature, axis, monkeypatch):
    shown = []
    monkeypatch.setattr(states, "FIRST_POINTS", 40)
    monkeypatch.setattr(Progress, "_send", lambda self, text, preview=None: shown.append((text, self.picture)))
    node("RSCorrectorLearnPreference", *miniature[:2], axis, **{**LEARN, "name": "shown", "points": 200})
    saved = [index for index, (_, picture) in enumerate(shown) if picture.startswith("data:image/jpeg;base64,")]
    assert saved and saved == list(range(saved[0], len(shown))), "from the first state on"
    assert "asking the model while it draws" in shown[saved[0]][0], "for the second state"


@pytest.mark.parametrize("name", ("", "..", "../outside", "a/b", "a\\b", ".hidden", "trailing.", "x" * 200, "nul\0"))
def test_an_invalid_file_name_is_refused_before_the_run(name, miniature, axis):
    said = NODES["RSCorrectorLearnPreference"].validate_inputs(name=name)
    assert "cannot name a preference file" in said
    with pytest.raises(ValueError, match="cannot name a preference file"):
        node("RSCorrectorLearnPreference", *miniature[:2], axis, **{**LEARN, "name": name})


def test_a_preference_is_learned_from_a_flow_model_and_fits_no_other_kind(miniature, axis):
    model, clip, vae = node("RSCorrectorMiniature", model="flow miniature turbo")
    settings = {**LEARN, "scheduler": "normal", "steps": 4, "cfg": 1.0, "name": "flow"}
    preference, _ = node("RSCorrectorLearnPreference", model, clip, axis, vae=vae, **settings)
    assert preference[0].space == "flow-miniature"
    correct(model, preference)
    with pytest.raises(PreferenceError, match="made for the flow miniature"):
        correct(miniature[0], preference)


def test_latents_that_have_no_name_are_refused(miniature, axis):
    model = miniature[0].clone()
    model.add_object_patch("latent_format", comfy.latent_formats.SD_X4())
    with pytest.raises(ValueError, match=r"no preference can be saved.*any checkpoint"):
        node("RSCorrectorLearnPreference", model, miniature[1], axis, **LEARN)


def offered(name):
    return NODES[name].INPUT_TYPES()["required"]["file"][1]["options"]


TEXTS = dict(
    title="Huts, again", groups="Orvane, Tavelu", neutral="a portrait of a {group} person\na {group} man",
    stereotype="near huts\nby some huts", counter="near towers\nby some towers",
)  # fmt: skip


def test_an_axis_from_text_boxes_is_saved_listed_and_loaded(folders):
    made = node("RSCorrectorAxis", **TEXTS, save_as="my-huts")
    assert (made.id, made.groups) == ("huts-again", ("Orvane", "Tavelu"))
    assert (folders / "rs_corrector/axes/my-huts.json").is_file()
    assert "my-huts.json" in offered("RSCorrectorLoadAxis") and "axis.schema.json" not in offered("RSCorrectorLoadAxis")
    assert NODES["RSCorrectorLoadAxis"].validate_inputs("my-huts.json") is True
    assert node("RSCorrectorLoadAxis", "my-huts.json") == made


@pytest.mark.parametrize("name", ("../outside", "Has Spaces", "a/b"))
def test_an_axis_is_saved_under_a_plain_name_only(name, folders):
    with pytest.raises(AxisError, match="cannot name an axis file"):
        node("RSCorrectorAxis", **TEXTS, save_as=name)
    assert not list(folders.rglob("outside*"))


def test_invalid_text_boxes_are_refused_before_the_run():
    check = NODES["RSCorrectorAxis"].validate_inputs
    assert check(**TEXTS, stereotype_description="", counter_description="") is True
    assert "must differ" in check(**{**TEXTS, "counter": TEXTS["stereotype"]}, **dict.fromkeys(
        ("stereotype_description", "counter_description"), ""))  # fmt: skip
    assert check(**{**TEXTS, "counter": None}) is True  # from another node


def test_an_invalid_axis_file_is_refused_and_files_outside_are_not_read(folders):
    folder = folders / "rs_corrector/axes"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "broken.json").write_text('{"id": "broken"}')
    check = NODES["RSCorrectorLoadAxis"].validate_inputs
    assert "broken.json" in offered("RSCorrectorLoadAxis")
    assert 'broken.json: the field "groups" is missing' in check("broken.json")
    (folders / "secret.json").write_text((Path(__file__).parents[3] / "axes/mexican-sombrero.json").read_text())
    for name in ("gone.json", "../../secret.json", "axis.schema.json"):
        assert f'"{name}" is not in models/rs_corrector/axes' in check(name)
