"""A subgraph blueprint, which ComfyUI's node library offers like a node."""

import json
import uuid

from workflow import COND, HOME, LATENT, MODEL, PREFERENCE, Workflow

SUBGRAPHS = HOME / "subgraphs"


def corrected_sampler():
    """The blueprint "Corrected Sampler": RSCorrector and KSampler in one node, with the settings of both."""
    w = Workflow("Corrected Sampler")
    outside = {"model": MODEL, "preference": PREFERENCE, "positive": COND, "negative": COND, "latent_image": LATENT}
    corrector = w.add("RSCorrector", 1.0)
    sampler = w.add("KSampler", 0, "randomize", 20, 7.0, "euler", "karras", 1.0, model=(corrector, 0))
    corrector["pos"], sampler["pos"] = [200, 0], [600, 0]

    def unique(name):
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"rs-corrector/corrected-sampler/{name}"))

    links = [
        {
            "id": link,
            "origin_id": source,
            "origin_slot": output,
            "target_id": target,
            "target_slot": place,
            "type": kind,
        }
        for link, source, output, target, place, kind in w.links
    ]
    inputs = []
    for number, (name, kind) in enumerate(outside.items()):
        target = corrector if name in ("model", "preference") else sampler
        place = next(place for place, socket in enumerate(target["inputs"]) if socket["name"] == name)
        link = len(links) + 1
        target["inputs"][place]["link"] = link
        links.append({"id": link, "origin_id": -10, "origin_slot": number, "target_id": target["id"],
                      "target_slot": place, "type": kind})  # fmt: skip
        inputs.append({"id": unique(name), "name": name, "type": kind, "linkIds": [link], "pos": [100, 20 * number]})
    last = len(links) + 1
    links.append({"id": last, "origin_id": sampler["id"], "origin_slot": 0, "target_id": -20, "target_slot": 0,
                  "type": LATENT})  # fmt: skip
    sampler["outputs"][0]["links"] = [last]
    output = {"id": unique("latent"), "name": "LATENT", "type": LATENT, "linkIds": [last], "pos": [1000, 20]}
    definition = {
        "id": unique("subgraph"), "version": 1, "revision": 0, "config": {}, "name": w.name,
        "state": {"lastGroupId": 0, "lastNodeId": len(w.nodes), "lastLinkId": last, "lastRerouteId": 0},
        "inputNode": {"id": -10, "bounding": [0, 0, 120, 140]},
        "outputNode": {"id": -20, "bounding": [980, 0, 120, 60]},
        "inputs": inputs, "outputs": [output], "widgets": [], "nodes": w.nodes, "groups": [], "links": links,
        "extra": {}, "category": "RS-Corrector", "description": "RS-Corrector and KSampler in one node.",
    }  # fmt: skip
    shown = [(corrector, "strength")]
    shown += [(sampler, name) for name in ("seed", "steps", "cfg", "sampler_name", "scheduler", "denoise")]
    node = {
        "id": 1, "type": definition["id"], "title": w.name, "pos": [0, 0], "size": [320, 340], "flags": {}, "order": 0,
        "mode": 0, "inputs": [{"name": name, "type": kind, "link": None} for name, kind in outside.items()],
        "outputs": [{"name": "LATENT", "type": LATENT, "links": []}], "widgets_values": [],
        "properties": {"proxyWidgets": [[str(inner["id"]), name] for inner, name in shown]},
    }  # fmt: skip
    workflow = {
        "revision": 0, "last_node_id": 1, "last_link_id": 0, "nodes": [node], "links": [], "version": 0.4,
        "definitions": {"subgraphs": [definition]},
    }  # fmt: skip
    SUBGRAPHS.mkdir(exist_ok=True)
    text = json.dumps(workflow, indent=1, ensure_ascii=False) + "\n"
    (SUBGRAPHS / f"{w.name}.json").write_text(text, encoding="utf-8")
