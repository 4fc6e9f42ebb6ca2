"""Converts a saved workflow without subgraphs or reroutes to the graph that the page would queue."""

import json
from pathlib import Path

WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"
WORKFLOW_NAMES = tuple(sorted(path.stem for path in WORKFLOWS.glob("*.json")))
PAGE_ONLY = ("MarkdownNote", "Note")


def load_workflow(name):
    return json.loads((WORKFLOWS / name).read_text(encoding="utf-8"))


def to_graph(workflow, object_info):
    """-> API format. `widgets_values` are by position, with control_after_generate after each seed."""
    links = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    graph = {}
    for node in workflow["nodes"]:
        if node["type"] in PAGE_ONLY:
            continue
        described = object_info[node["type"]]["input"]
        values, inputs = list(node["widgets_values"]), {}
        for name, (kind, *options) in {**described.get("required", {}), **described.get("optional", {})}.items():
            options = options[0] if options else {}
            if isinstance(kind, list) or kind in ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"):
                inputs[name] = values.pop(0)
                if options.get("control_after_generate"):
                    values.pop(0)
        for socket in node["inputs"]:
            if socket["link"] is not None:
                inputs[socket["name"]] = links[socket["link"]]
        assert not values, f"{node['type']} has values left over: {values}"
        graph[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return graph


def node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs}


def offered(server, kind):
    """The files that a loader offers."""
    (files, *options) = server.get(f"/object_info/{kind}")[kind]["input"]["required"]["file"]
    return options[0]["options"] if files == "COMBO" else files


def by_class(graph, name):
    return [node for node, data in graph.items() if data["class_type"] == name]


def succeeded(history):
    assert history.get("status", {}).get("status_str") == "success", history
    return history
