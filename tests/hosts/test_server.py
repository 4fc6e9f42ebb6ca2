"""Our nodes and workflows through the API of a running ComfyUI."""

import json
import re
import shutil
import time
import urllib.request

import numpy as np
import pytest
import torch
from PIL import Image

from corrector.miniature.host import Miniature
from hosts.workflow import WORKFLOW_NAMES, WORKFLOWS, by_class, load_workflow, node, offered, succeeded, to_graph

IDS = {
    "RSCorrector", "RSCorrectorAdvanced", "RSCorrectorLoadPreference", "RSCorrectorTextPreference",
    "RSCorrectorCombinePreferences", "RSCorrectorMiniature", "RSCorrectorLoadAxis", "RSCorrectorAxis",
    "RSCorrectorLearnPreference", "RSCorrectorCalibrate", "RSCorrectorSavePreference", "RSCorrectorAudit",
    "RSCorrectorMap", "RSCorrectorCompare", "RSCorrectorAnyCheckpoint",
}  # fmt: skip


@pytest.fixture
def first_correction(object_info):
    return to_graph(load_workflow("1-see-a-stereotype-corrected.json"), object_info)


def pixels(paths):
    return np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])


def test_every_node_loads(server, object_info):
    assert {name for name in object_info if name.startswith("RSCorrector")} == IDS
    assert "IMPORT FAILED" not in server.log


def test_each_node_has_a_help_page_and_each_workflow_its_picture(server):
    for name in IDS:
        with urllib.request.urlopen(f"{server.address}/extensions/rs-corrector/docs/{name}.md") as page:
            assert page.read().startswith(b"# RS-Corrector")
    assert sorted(server.get("/workflow_templates")["rs-corrector"]) == sorted(WORKFLOW_NAMES)
    for name in WORKFLOW_NAMES:
        with urllib.request.urlopen(f"{server.address}/api/workflow_templates/rs-corrector/{name}.jpg") as picture:
            assert picture.read(3) == b"\xff\xd8\xff"


def texts_of(node):
    """The texts of a node, as in locales/nodes.json, from the API."""
    inputs = {**node["input"].get("required", {}), **node["input"].get("optional", {})}
    outputs = zip(node["output_name"], node.get("output_tooltips") or [], strict=True)
    return {
        **{name: node[name] for name in ("display_name", "description", "category")},
        "inputs": {name: {"name": name, "tooltip": options[1].get("tooltip", "")} for name, options in inputs.items()},
        "outputs": {str(i): {"name": name, "tooltip": tooltip or ""} for i, (name, tooltip) in enumerate(outputs)},
    }


def test_every_input_and_output_of_every_node_has_a_tooltip(object_info):
    for name in sorted(IDS):
        texts = texts_of(object_info[name])
        assert texts["description"] and texts["display_name"].startswith("RS-Corrector")
        silent = [one["name"] for part in ("inputs", "outputs") for one in texts[part].values() if not one["tooltip"]]
        assert not silent, f"{name} has no tooltip for {silent}"


def test_no_default_names_a_group_that_only_the_miniature_knows(object_info):
    """File names are no defaults; the axes that ship name such groups in their files."""
    parts = [part for name in IDS for part in object_info[name]["input"].values()]
    options = [options for part in parts for _, *options in (spec for spec in part.values() if isinstance(spec, list))]
    defaults = [str(each[0]["default"]) for each in options if each and "default" in each[0]]
    assert len(defaults) > 50 and not re.findall("Orvane|Tavelu|Quilmari|Zendoli", "\n".join(defaults))


def without_lists(texts):
    """Without tooltips of several lines, which list the files of one user."""
    for socket in texts["inputs"].values():
        if "\n" in socket["tooltip"]:
            del socket["tooltip"]
    return texts


def test_the_translations_are_of_the_texts_that_the_nodes_have(object_info):
    known = json.loads((WORKFLOWS.parent / "locales" / "nodes.json").read_text(encoding="utf-8"))
    changed = [name for name in sorted(IDS) if known.get(name) != without_lists(texts_of(object_info[name]))]
    assert not changed, (
        f"The texts of {changed} are not those in locales/nodes.json; run: COMFYUI_PATH=FOLDER python locales/make.py "
        "--nodes, and add what it prints to locales/texts.tsv."
    )


def test_the_list_of_axes_has_those_of_the_user_and_the_translations_are_the_same(server):
    folder = server.folder / "models" / "rs_corrector" / "axes"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(WORKFLOWS.parent / "axes" / "miniature-attire.json", folder / "mine.json")
    texts = texts_of(server.get("/object_info")["RSCorrectorAnyCheckpoint"])
    (folder / "mine.json").unlink()
    assert "\nmine: " in texts["inputs"]["axis"]["tooltip"]
    known = json.loads((WORKFLOWS.parent / "locales" / "nodes.json").read_text(encoding="utf-8"))
    assert without_lists(texts) == known["RSCorrectorAnyCheckpoint"]


def test_first_correction_runs_at_both_scales_and_reports_its_result(server, first_correction):
    before, after = by_class(first_correction, "SaveImage")
    (scale,) = by_class(first_correction, "PrimitiveFloat")
    for cfg in (2.0, 7.0):
        first_correction[scale]["inputs"]["value"] = cfg
        workflow = load_workflow("1-see-a-stereotype-corrected.json")
        pictures = server.pictures(succeeded(server.run(first_correction, workflow=workflow)))
        assert [len(pictures[node]) for node in (before, after)] == [4] * 2
        assert not np.array_equal(pixels(pictures[before]), pixels(pictures[after]))
    assert server.log.count("corrected 4 of 4") == server.log.count("a village: 4 -> 0 of 4") == 2


def test_villages_become_cities_and_the_group_is_kept_in_comfyui(server, first_correction):
    """32 portraits, classified by the miniature's reader; figures with intervals are in benchmarks/."""
    (latent,) = by_class(first_correction, "EmptyLatentImage")
    first_correction[latent]["inputs"]["batch_size"] = 32
    pictures = server.pictures(succeeded(server.run(first_correction)))
    reader = Miniature().reader
    before, after = (
        reader.read(torch.from_numpy(pixels(pictures[node])).permute(0, 3, 1, 2) / 127.5 - 1)
        for node in by_class(first_correction, "SaveImage")
    )
    assert before["backdrop"].count("village") >= 26
    assert after["backdrop"].count("city") >= 30
    assert before["group"].count("Orvane") >= 31 and after["group"].count("Orvane") >= 31


@pytest.mark.parametrize(
    "name, sides, corrected",
    [
        ("5-correct-half-and-see-where.json", {"backdrop": ("village", "city")}, 2),
        (
            "6-correct-several-stereotypes.json",
            {"backdrop": ("village", "city"), "attire": ("traditional", "modern")},
            4,
        ),
    ],
)
def test_templates_show_what_they_are_about(server, object_info, name, sides, corrected):
    """All pictures are stereotypes before, and as many as the template says are not afterwards."""
    graph = to_graph(load_workflow(name), object_info)
    saved = by_class(graph, "SaveImage")
    pictures = server.pictures(succeeded(server.run(graph)))
    before, after = (
        Miniature().reader.read(torch.from_numpy(pixels(pictures[node])).permute(0, 3, 1, 2) / 127.5 - 1)
        for node in saved
    )
    for attribute, (stereotype, counter) in sides.items():
        assert before[attribute] == [stereotype] * 4
        assert [after[attribute].count(side) for side in (counter, stereotype)] == [corrected, 4 - corrected]


def test_bypassed_or_at_strength_zero_pictures_are_identical_to_the_plain_model(server, first_correction):
    before, after = by_class(first_correction, "SaveImage")
    (ours,) = by_class(first_correction, "RSCorrectorAnyCheckpoint")
    first_correction[ours]["inputs"]["strength"] = 0.0
    pictures = server.pictures(succeeded(server.run(first_correction)))
    plain = pixels(pictures[before])
    assert np.array_equal(plain, pixels(pictures[after]))
    bypassed = {name: data for name, data in first_correction.items() if name != ours}
    bypassed[by_class(bypassed, "KSampler")[1]]["inputs"]["model"] = first_correction[ours]["inputs"]["model"]
    bypassed[after]["inputs"]["filename_prefix"] = "bypassed"  # saves the picture again
    pictures = server.pictures(succeeded(server.run(bypassed)))
    assert np.array_equal(plain, pixels(pictures[after]))


def test_any_checkpoint_runs_with_the_miniature_as_the_checkpoint(server, object_info):
    graph = to_graph(load_workflow("2-correct-your-own-checkpoint.json"), object_info)
    refused = server.run(graph)  # the only error is that this ComfyUI has no checkpoint
    errors = [error for node in refused["node_errors"].values() for error in node["errors"]]
    assert {error["extra_info"].get("input_name") for error in errors} == {"ckpt_name"}

    (checkpoint,), (latent,) = by_class(graph, "CheckpointLoaderSimple"), by_class(graph, "EmptyLatentImage")
    graph[checkpoint] = {"class_type": "RSCorrectorMiniature", "inputs": {}}
    graph[latent]["inputs"] |= {"width": 128, "height": 128}
    person = "a portrait of an Orvane person"
    graph[by_class(graph, "CLIPTextEncode")[0]]["inputs"]["text"] = person
    (ours,) = by_class(graph, "RSCorrectorAnyCheckpoint")
    graph[ours]["inputs"] |= {"stereotype": f"{person} in a village", "counter": f"{person} in a city"}
    for sampler in by_class(graph, "KSampler"):
        graph[sampler]["inputs"] |= {"steps": 6, "cfg": 2.0}
    before, after = by_class(graph, "SaveImage")
    pictures = server.pictures(succeeded(server.run(graph)))
    assert not np.array_equal(pixels(pictures[before]), pixels(pictures[after]))
    assert 'Orvane person: "village" / "city": corrected 4 of 4' in server.log


def test_other_sampler_nodes_accept_the_corrected_model(server):
    files = ("miniature-backdrop.safetensors", "miniature-attire.safetensors")
    given = {
        "model": ["corrected", 0], "positive": ["person", 0], "negative": ["empty", 0], "latent_image": ["latent", 0],
        "noise_seed": 1, "cfg": 2.0,
    }  # fmt: skip
    graph = {
        "model": node("RSCorrectorMiniature"),
        "person": node("CLIPTextEncode", clip=["model", 1], text="a portrait of an Orvane person"),
        "empty": node("CLIPTextEncode", clip=["model", 1], text=""),
        "latent": node("EmptyLatentImage", width=128, height=128, batch_size=4),
        **{f"file {i}": node("RSCorrectorLoadPreference", file=file) for i, file in enumerate(files)},
        "both": node("RSCorrectorCombinePreferences", preference_1=["file 0", 0], preference_2=["file 1", 0]),
        "mask": node("SolidMask", value=1.0, width=64, height=64),
        "corrected": node(
            "RSCorrectorAdvanced", model=["model", 0], preference=["both", 0], strength=1.0, target=0.5,
            start_percent=0.0, end_percent=0.9, thinning_seed=5, cap=1.0, gate=True, mask=["mask", 0],
        ),
        "advanced": node(
            "KSamplerAdvanced", **given, add_noise="enable", steps=6, sampler_name="dpmpp_2m", scheduler="karras",
            start_at_step=0, end_at_step=4, return_with_leftover_noise="enable",
        ),
        "sampler": node("KSamplerSelect", sampler_name="heun"),
        "sigmas": node("KarrasScheduler", steps=4, sigma_max=14.6, sigma_min=0.03, rho=7.0),
        "custom": node("SamplerCustom", **given, add_noise=True, sampler=["sampler", 0], sigmas=["sigmas", 0]),
    }  # fmt: skip
    for name in ("advanced", "custom"):
        graph |= {f"{name} picture": node("VAEDecode", samples=[name, 0], vae=["model", 2])}
        graph |= {f"{name} saved": node("PreviewImage", images=[f"{name} picture", 0])}
    pictures = server.pictures(succeeded(server.run(graph)))
    assert [len(pictures[f"{name} saved"]) for name in ("advanced", "custom")] == [4, 4]


def test_a_preference_file_in_an_extra_folder_loads_and_its_removal_is_reported(server, object_info):
    graph = to_graph(load_workflow("5-correct-half-and-see-where.json"), object_info)
    folder = server.folder / "elsewhere" / "preferences"  # of extra_model_paths.yaml
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(WORKFLOWS.parent / "weights" / "miniature-backdrop.safetensors", folder / "mine.safetensors")
    (folder / "notes.txt").write_text("not a preference")
    shipped = ["miniature-attire.safetensors", "miniature-backdrop.safetensors"]
    assert offered(server, "RSCorrectorLoadPreference") == ["mine.safetensors", *shipped]
    (load,) = by_class(graph, "RSCorrectorLoadPreference")
    graph[load]["inputs"]["file"] = "mine.safetensors"
    succeeded(server.run(graph))
    (folder / "mine.safetensors").unlink()
    refused = json.dumps(server.run(graph)["node_errors"], ensure_ascii=False).replace('\\"', '"')
    assert 'The preference file "mine.safetensors" is not in models/rs_corrector' in refused
    assert str(folder) in refused and "put it back there, or select another file" in refused


def test_an_interrupted_run_can_be_run_again(server, first_correction):
    (seed,) = by_class(first_correction, "PrimitiveInt")
    first_correction[seed]["inputs"]["value"] = 5
    samplers = by_class(first_correction, "KSampler")
    for sampler in samplers:
        first_correction[sampler]["inputs"]["steps"] = 400
    queued = server.post("/prompt", {"prompt": first_correction})
    time.sleep(2)
    server.post("/interrupt", {})
    history = server.wait(queued["prompt_id"])
    assert history["status"]["status_str"] == "error"
    assert "execution_interrupted" in json.dumps(history["status"]["messages"])
    for sampler in samplers:
        first_correction[sampler]["inputs"]["steps"] = 4
    succeeded(server.run(first_correction))
