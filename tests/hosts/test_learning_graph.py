"""The shipped workflow that learns, calibrates and corrects, through the API of a running ComfyUI."""

import json
import time

import pytest

from hosts.workflow import WORKFLOWS, by_class, load_workflow, node, offered, succeeded, to_graph


def learning_graph(object_info, axis="one-group.json"):
    """The template that learns from a checkpoint, for the miniature, with small settings and descriptive node names."""
    workflow = load_workflow("3-learn-a-correction-from-your-checkpoint.json")
    graph = to_graph(workflow, object_info)
    size = {"width": 128, "height": 128}
    small = {**size, "sampler": "euler", "scheduler": "karras", "cfg": 2.0, "steps": 3, "batch": 16}
    titles = {"KSampler": "sampler ", "SaveImage": ""}
    names = {
        str(node["id"]): titles[node["type"]] + node["title"].lower()
        for node in workflow["nodes"] if node["type"] in titles
    }  # fmt: skip
    for kind, name, inputs in (
        ("CheckpointLoaderSimple", "models", None),
        ("RSCorrectorLoadAxis", "axis", {"file": axis}),
        ("RSCorrectorLearnPreference", "learn",
         {**small, "pairs": 32, "seed": 2, "name": "by the graph", "points": 48}),
        ("RSCorrectorCalibrate", "calibrate", {**small, "images": 16, "seed": 1}),
        ("EmptyLatentImage", "latent", {**size, "batch_size": 2}),
    ):  # fmt: skip
        (node,) = by_class(graph, kind)
        names[node] = name
        graph[node]["inputs"] = {} if inputs is None else graph[node]["inputs"] | inputs
        if name == "models":
            graph[node]["class_type"] = "RSCorrectorMiniature"  # its outputs are a checkpoint's
    for sampler in by_class(graph, "KSampler"):
        graph[sampler]["inputs"] |= {"steps": 4, "cfg": 2.0}
    graph[by_class(graph, "CLIPTextEncode")[0]]["inputs"]["text"] = "a portrait of an Orvane person"
    for data in graph.values():
        wires = {socket: value for socket, value in data["inputs"].items() if isinstance(value, list)}
        data["inputs"] |= {socket: [names.get(node, node), output] for socket, (node, output) in wires.items()}
    return {names.get(node, node): data for node, data in graph.items()}


@pytest.fixture
def one_group(server):
    """A shipped axis for one group, in the user's folder."""
    axis = json.loads((WORKFLOWS.parent / "axes" / "miniature-backdrop.json").read_text(encoding="utf-8"))
    folder = server.folder / "elsewhere" / "preferences" / "axes"  # of extra_model_paths.yaml
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "one-group.json").write_text(json.dumps({**axis, "groups": ["Orvane"]}), encoding="utf-8")
    return folder


def test_one_run_learns_calibrates_and_corrects(server, object_info, one_group):
    history = succeeded(server.run(learning_graph(object_info)))
    pictures = server.pictures(history)
    assert {name: len(found) for name, found in pictures.items()} == {"before": 2, "after": 2, "learn": 1}
    (text,) = history["outputs"]["calibrate"]["text"]
    assert "Orvane at CFG 2: a city in" in text and "of 16 plain pictures" in text
    assert "32 pairs per group take" in server.log
    assert list((server.folder / "output/rs_corrector/pairs").glob("miniature-backdrop-*/settings.json"))
    assert (one_group.parent / "by the graph.safetensors").is_file()
    assert "by the graph: corrected" in server.log
    assert "memory leak" not in server.log


def test_a_run_that_was_stopped_while_sampling_pairs_resumes(server, object_info, one_group):
    graph = learning_graph(object_info)
    graph["learn"]["inputs"] |= {"seed": 7, "batch": 1, "steps": 8}
    graph = {name: graph[name] for name in ("models", "axis", "learn")}
    folder = server.folder / "output/rs_corrector/pairs"
    before = set(folder.glob("*/*.safetensors"))

    def stopped_at(count):
        queued = server.post("/prompt", {"prompt": graph})
        for _ in range(2400):
            if len(set(folder.glob("*/*.safetensors")) - before) >= count:
                break
            time.sleep(0.05)
        server.post("/interrupt", {})
        history = server.wait(queued["prompt_id"])
        assert "execution_interrupted" in json.dumps(history["status"]["messages"])
        return {path: path.stat().st_mtime_ns for path in set(folder.glob("*/*.safetensors")) - before}

    kept = stopped_at(3)
    assert 3 <= len(kept) < 64
    whole = stopped_at(64)
    assert len(whole) == 64 and kept.items() <= whole.items()


def test_an_invalid_axis_file_is_refused_before_the_run(server, object_info, one_group):
    (one_group / "broken.json").write_text('{"id": "broken"}', encoding="utf-8")
    refused = json.dumps(server.run(learning_graph(object_info, "broken.json"))["node_errors"])
    assert "broken.json: the field" in refused and "is missing; add it" in refused


def test_an_axis_from_text_boxes_is_saved_without_connections_and_listed(server, one_group):
    texts = {
        "title": "Huts", "groups": "Orvane", "neutral": "a portrait of a {group} person", "stereotype": "near huts",
        "counter": "near towers", "stereotype_description": "", "counter_description": "", "save_as": "huts",
    }  # fmt: skip
    history = succeeded(server.run({"axis": node("RSCorrectorAxis", **texts)}))
    assert history["outputs"]["axis"]["text"][0].startswith("Saved as")
    files = offered(server, "RSCorrectorLoadAxis")
    assert "huts.json" in files and "axis.schema.json" not in files
    texts["counter"] = "near huts"
    refused = json.dumps(server.run({"axis": node("RSCorrectorAxis", **texts)})["node_errors"])
    assert "must differ" in refused
