"""Draw the pictures of the templates by running them on a real ComfyUI in COMFYUI_PATH, with the miniature.

python tests/hosts/thumbnails.py [NAME ...]
"""

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2])]

from hosts.conftest import python_of, running  # noqa: E402
from hosts.workflow import WORKFLOW_NAMES, WORKFLOWS, by_class, load_workflow, node, succeeded, to_graph  # noqa: E402

WIDTH, BAR, QUALITY = 512, 26, 88
PERSON = "a portrait of an Orvane person"
SIZE = {"width": 128, "height": 128}
# What the templates for a checkpoint draw with the miniature in its place: {class of a node: inputs}.
WITH_MINIATURE = {
    "EmptyLatentImage": SIZE,
    "EmptySD3LatentImage": {**SIZE, "batch_size": 4},
    "RSCorrectorAnyCheckpoint": {"axis": "miniature-backdrop.json"},
    "RSCorrectorLoadAxis": {"file": "miniature-backdrop.json"},
    "RSCorrectorLearnPreference": {**SIZE, "steps": 16, "cfg": 2.0, "batch": 16, "pairs": 16, "points": 384},
    "RSCorrectorCalibrate": {**SIZE, "steps": 16, "cfg": 2.0, "batch": 16, "images": 16},
}  # fmt: skip
# Loaders of a flow model's files, and the node for its shift: outputs of the miniature in their place.
OUTPUTS = {"UNETLoader": 0, "ModelSamplingAuraFlow": 0, "CLIPLoader": 1, "VAELoader": 2}


def graph_of(name, object_info):
    graph = to_graph(load_workflow(f"{name}.json"), object_info)
    loader = next(iter(by_class(graph, "CheckpointLoaderSimple") + by_class(graph, "UNETLoader")), None)
    if loader is not None:
        flow = graph[loader]["class_type"] == "UNETLoader"
        kinds = {number: entry["class_type"] for number, entry in graph.items()}
        outputs = {number: OUTPUTS[kind] for number, kind in kinds.items() if kind in OUTPUTS}
        graph[loader] = node("RSCorrectorMiniature", model="flow miniature turbo" if flow else "miniature")
        for inputs in (entry["inputs"] for entry in graph.values()):
            given = {name: value for name, value in inputs.items() if isinstance(value, list) and value[0] in outputs}
            inputs |= {name: [loader, outputs[value[0]]] for name, value in given.items()}
        for kind, inputs in WITH_MINIATURE.items():
            for one in by_class(graph, kind):
                graph[one]["inputs"] |= inputs
        graph[by_class(graph, "PrimitiveFloat")[0]]["inputs"]["value"] = 1.0 if flow else 2.0
        graph[by_class(graph, "CLIPTextEncode")[0]]["inputs"]["text"] = PERSON
    return graph


def row(paths, words):
    """Pictures beside each other as wide as the thumbnail, under a bar of words."""
    pictures = [Image.open(path).convert("RGB") for path in paths]
    width, ratio = WIDTH // len(pictures), pictures[0].height / pictures[0].width
    image = Image.new("RGB", (WIDTH, BAR + round(width * ratio)), "#1d2125")
    ImageDraw.Draw(image).text((8, 6), words, fill="white", font_size=14)
    for place, picture in enumerate(pictures):
        image.paste(picture.resize((width, round(width * ratio)), Image.Resampling.LANCZOS), (place * width, BAR))
    return np.asarray(image)


def draw(server, name):
    graph = graph_of(name, server.get("/object_info"))
    saved = by_class(graph, "SaveImage")
    for one in saved:
        graph[one]["inputs"]["filename_prefix"] = f"{name} {one}"  # ComfyUI reports nothing that it has in its cache
    pictures = server.pictures(succeeded(server.run(graph)))
    rows = [row(pictures[one], words) for one, words in zip(saved, ("before", "after"), strict=False)]
    for kind, words in (("RSCorrectorMap", "where it acted"), ("RSCorrectorAudit", "audit")):
        rows += [row(pictures[one], words) for one in by_class(graph, kind)]
    Image.fromarray(np.concatenate(rows)).save(WORKFLOWS / f"{name}.jpg", quality=QUALITY)
    print(f"Wrote {name}.jpg.", flush=True)


if __name__ == "__main__":
    host = Path(os.environ.get("COMFYUI_PATH") or Path.home() / "ComfyUI")
    with tempfile.TemporaryDirectory() as folder, running(host, python_of(host), Path(folder)) as server:
        for name in sys.argv[1:] or WORKFLOW_NAMES:
            draw(server, name)
