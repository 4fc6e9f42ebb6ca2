"""Audit and Map on the real host: stopped and gone on with, what they write, and where the correction acted."""

from dataclasses import replace

import comfy.model_management
import comfy.sample
import folder_paths
import pytest
import torch
from host import NODES, node, sample, weights_hash
from host_extras import Counted
from rs_pack.corrector.auditing.report_file import load_report

AUDIT = dict(
    images=22, narrow=0.0, strength=1.0, steps=3, cfg=2.0, sampler="euler", scheduler="karras", width=128, height=128,
    seed=3, batch=25,
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def folders(tmp_path_factory):
    """The host's folders, empty."""
    folder, patch = tmp_path_factory.mktemp("host"), pytest.MonkeyPatch()
    for name in ("output", "temp"):
        (folder / name).mkdir()
        patch.setattr(folder_paths, f"{name}_directory", str(folder / name))
    yield folder
    patch.undo()


@pytest.fixture(scope="module")
def axis():
    return replace(node("RSCorrectorLoadAxis", "miniature-backdrop.json"), groups=("Orvane",))


@pytest.fixture(scope="module")
def run(miniature, backdrop, axis, folders):
    """Audited in two runs, the first of which the artist stops."""
    before, found = weights_hash(miniature[0]), {}
    with torch.inference_mode():
        with pytest.MonkeyPatch.context() as patch:
            Counted(patch, stop_at=4)
            with pytest.raises(comfy.model_management.InterruptProcessingException):
                node("RSCorrectorAudit", *miniature, axis, **AUDIT, preference=backdrop)
        found["kept"] = len(list((folders / "output/rs_corrector/audits").glob("*/pictures/*.safetensors")))
        with pytest.MonkeyPatch.context() as patch:
            counted = Counted(patch)
            found["outputs"] = node("RSCorrectorAudit", *miniature, axis, **AUDIT, preference=backdrop)
            found["batches"] = counted.batches
    found["unchanged"] = weights_hash(miniature[0]) == before
    (found["folder"],) = (folders / "output/rs_corrector/audits").iterdir()
    return found


def test_a_stopped_audit_goes_on_and_leaves_the_model_as_it_was(run, miniature, backdrop, axis):
    assert run["kept"] >= 1 and run["batches"] >= 1 and run["unchanged"]
    with pytest.MonkeyPatch.context() as patch:
        counted = Counted(patch)
        again = node("RSCorrectorAudit", *miniature, axis, **AUDIT, preference=backdrop)
    assert counted.batches == 0 and torch.equal(again[0], run["outputs"][0])


def test_it_writes_report_and_pages_and_gives_pictures_a_chart_and_a_text(run):
    names = {path.name for path in run["folder"].iterdir()}
    assert names >= {"report.json", "audit.html", "chart.png", "blind.html", "blind-key.json"}
    report = load_report(run["folder"] / "report.json")
    assert [judge["name"] for judge in report["judges"]] == ["model", "reader"]
    pictures, chart, text = run["outputs"]
    for image in (pictures, chart):
        assert image.ndim == 4 and image.shape[3] == 3 and image.min() >= 0 and image.max() <= 1 and image.std() > 0.02
    assert "audit.html" in text and "stereotype rate" in text


@pytest.fixture(scope="module")
def text(miniature):
    with torch.inference_mode():
        sides = (f"a portrait of an Orvane person in a {backdrop}" for backdrop in ("village", "city"))
        return node("RSCorrectorTextPreference", miniature[1], "Orvane", *sides)


def newest(folders):
    """The report of the last audit."""
    paths = (folders / "output/rs_corrector/audits").glob("*/report.json")
    return load_report(max(paths, key=lambda path: path.stat().st_mtime_ns))


def test_a_text_preference_is_audited(miniature, axis, text, folders):
    node("RSCorrectorAudit", *miniature, axis, **AUDIT | {"images": 20, "steps": 8}, preference=text)
    report = newest(folders)
    rates = {r["strength"]: r["value"] for r in report["figures"]
             if (r["figure"], r["judge"]) == ("stereotype rate", "reader")}  # fmt: skip
    assert rates[0.0] > 0.7 and rates[1.0] < 0.4
    after = [p for p in report["pictures"] if p["strength"] == 1.0]
    assert all(p["change"] == 0 and p["left_alone"] for p in after if p["kind"] == "stereotype")
    assert sum(p["change"] > 0 and not p["left_alone"] for p in after if p["kind"] == "neutral") > 15


def test_a_sweep_is_typed_in_as_numbers_and_a_target_is_met(miniature, backdrop, axis, folders):
    few = AUDIT | {"images": 4, "more_cfg": "2, 3", "more_strengths": "0.5", "target": 0.5}
    node("RSCorrectorAudit", *miniature, axis, **few, preference=backdrop)
    report = newest(folders)
    after = [p for p in report["pictures"] if (p["kind"], p["cfg"], p["strength"]) == ("neutral", 2.0, 1.0)]
    assert report["settings"]["target"] == 0.5 and 0 < sum(p["change"] > 0 for p in after) < len(after)
    rows = {(r["cfg"], r["strength"]) for r in report["figures"] if r["figure"] == "stereotype rate"}
    assert rows == {(cfg, strength) for cfg in (2.0, 3.0) for strength in (0.0, 0.5, 1.0)}
    checked = NODES["RSCorrectorAudit"].validate_inputs
    assert checked("2, 4; 7", "") is True and checked(None, None) is True
    assert "commas between" in checked("2, high", "")


def mapped(miniature, backdrop, prompts, who, strength=1.0):
    model, _, vae = miniature
    latent = {"samples": torch.zeros(2, 4, 16, 16)}
    return node(
        "RSCorrectorMap", model, vae, backdrop, strength, 1, 4, 2.0, "euler", "karras", prompts[who], prompts["empty"],
        latent, 1.0,
    )  # fmt: skip


def test_the_map_shows_where_the_correction_acted_and_is_empty_where_it_did_not(miniature, backdrop, prompts):
    shown, steps, mask, latent = mapped(miniature, backdrop, prompts, "person")
    assert shown.shape == (2, 128, 128, 3) and mask.shape == (2, 128, 128)
    assert mask.max() > 0.9 and shown.isfinite().all() and steps.std() > 0
    for who, strength in (("cat", 1.0), ("village", 1.0), ("person", 0.0)):
        _, _, empty, plain = mapped(miniature, backdrop, prompts, who, strength)
        assert empty.max() == 0
        expected = sample(miniature[0], prompts[who], prompts["empty"])
        assert torch.equal(plain["samples"], expected)
    assert not torch.equal(latent["samples"], plain["samples"])
