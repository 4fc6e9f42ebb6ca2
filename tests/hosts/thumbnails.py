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
from hosts.workflow import WORKFLOW_NAMES, WORKFLOWS, by_class, load_workflow, succeeded, to_graph  # noqa: E402

WIDTH, BAR, QUALITY = 512, 26, 88
PERSON = "a portrait of an Orvane person"
SIZE = {"width": 128, "height": 128}
# What the templates for a checkpoint draw with the miniature in its place: {class of a node: inputs}.
WITH_MINIATURE = {
    "EmptyLatentImage": SIZE,
    "PrimitiveFloat": {"value": 2.0},
    "RSCorrectorAnyCheckpoint": {"axis": "miniature-backdrop.json"},
    "RSCorrectorLoadAxis": {"file": "miniature-backdrop.json"},
    "RSCorrectorLearnPreference": {**SIZE, "steps": 16, "cfg": 2.0, "batch": 16, "pairs": 32, "training_steps": 500},
    "RSCorrectorCalibrate": {**SIZE, "steps": 16, "cfg": 2.0, "batch": 16, "images": 16},
}  # fmt: skip


def graph_of(name, object_info):
    graph = to_graph(load_workflow(f"{name}.json"), object_info)
    if checkpoints := by_class(graph, "CheckpointLoaderSimple"):
        graph[checkpoints[0]] = {"class_type": "RSCorrectorMiniature", "inputs": {}}
        for kind, inputs in WITH_MINIATURE.items():
            for node in by_class(graph, kind):
                graph[node]["inputs"] |= inputs
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
    for node in saved:
        graph[node]["inputs"]["filename_prefix"] = f"{name} {node}"  # ComfyUI reports nothing that it has in its cache
    pictures = server.pictures(succeeded(server.run(graph)))
    rows = [row(pictures[node], words) for node, words in zip(saved, ("before", "after"), strict=False)]
    for kind, words in (("RSCorrectorMap", "where it acted"), ("RSCorrectorAudit", "audit")):
        rows += [row(pictures[node], words) for node in by_class(graph, kind)]
    Image.fromarray(np.concatenate(rows)).save(WORKFLOWS / f"{name}.jpg", quality=QUALITY)
    print(f"Wrote {name}.jpg.", flush=True)


if __name__ == "__main__":
    host = Path(os.environ.get("COMFYUI_PATH") or Path.home() / "ComfyUI")
    with tempfile.TemporaryDirectory() as folder, running(host, python_of(host), Path(folder)) as server:
        for name in sys.argv[1:] or WORKFLOW_NAMES:
            draw(server, name)
