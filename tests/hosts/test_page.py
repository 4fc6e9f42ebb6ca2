"""ComfyUI's page in Chromium: our workflows open without missing nodes."""

import json
import shutil

import pytest

from hosts.comfy_page import open_workflow, skip_prototype
from hosts.served import screenshot
from hosts.workflow import WORKFLOW_NAMES, WORKFLOWS

OVERLAPS = """() => { const title = LiteGraph.NODE_TITLE_HEIGHT, scale = app.canvas.ds.scale, found = [];
    const nodes = app.graph._nodes.map(n => { // Nodes 2.0 draws an element for each, with its title
        const drawn = document.querySelector(`[data-node-id="${n.id}"]`)?.getBoundingClientRect();
        const top = n.pos[1] - title;
        const height = drawn ? drawn.height / scale : Math.max(n.size[1], n.computeSize()[1]) + title;
        const width = drawn ? drawn.width / scale : n.size[0];
        return { name: n.title, left: n.pos[0], right: n.pos[0] + width - 1, top, bottom: top + height - 1 }; });
    const groups = app.graph._groups.map(g => ({ name: g.title, left: g.pos[0], right: g.pos[0] + g.size[0],
        top: g.pos[1], bottom: g.pos[1] + g.size[1] }));
    const touch = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
    const inside = (a, b) => a.left >= b.left && a.right <= b.right && a.top >= b.top && a.bottom <= b.bottom;
    nodes.forEach((a, i) => nodes.slice(i + 1).forEach(b => { if (touch(a, b)) found.push([a.name, b.name]); }));
    groups.forEach((a, i) => groups.slice(i + 1).forEach(b => { if (touch(a, b)) found.push([a.name, b.name]); }));
    nodes.forEach(a => { if (groups.filter(b => inside(a, b)).length != 1) found.push([a.name, "its group"]); });
    return found; }"""


def test_workflows_open_with_nothing_missing_in_groups_and_no_nodes_over_each_other(page, renderer):
    skip_prototype(page, renderer)
    for name in WORKFLOW_NAMES:
        workflow = open_workflow(page, f"{name}.json")
        screenshot(page, f"{name}-{renderer}")
        shown = page.evaluate(
            """() => app.graph._nodes.map(n => ({ type: n.type, known: n.type in LiteGraph.registered_node_types,
            errors: !!n.has_errors,
            loose: (n.inputs || []).filter(i => i.link == null && !i.widget && i.shape != 7).length,
            widgets: (n.widgets || []).filter(w => w.value === undefined && !w.element).length }))"""
        )
        assert [node["type"] for node in shown] == [node["type"] for node in workflow["nodes"]]
        assert [n for n in shown if not n["known"] or n["errors"] or n["loose"] or n["widgets"]] == []
        assert not page.get_by_text("Missing Node", exact=False).is_visible()
        assert page.evaluate(OVERLAPS) == [], name


def test_size_steps_and_cfg_follow_the_model_that_is_connected_unless_they_are_set(page):
    open_workflow(page, "1-see-a-stereotype-corrected.json")
    values = page.evaluate(
        """() => { const graph = app.graph;
        const add = type => { const node = LiteGraph.createNode(type); graph.add(node); return node; };
        const values = node => ["width", "height", "steps", "cfg"].map(name =>
            node.widgets.find(widget => widget.name == name).value);
        const [audit, checkpoint] = [add("RSCorrectorAudit"), add("CheckpointLoaderSimple")];
        const place = audit.inputs.findIndex(input => input.name == "model"), found = [values(audit)];
        const miniature = graph._nodes.find(n => n.type == "RSCorrectorMiniature");
        for (const source of [miniature, checkpoint]) { source.connect(0, audit, place); found.push(values(audit)); }
        audit.widgets.find(widget => widget.name == "steps").value = 30;
        miniature.connect(0, audit, place);
        return [...found, values(audit)]; }"""
    )
    own, miniature = [512, 512, 20, 7], [128, 128, 16, 2]
    assert values == [own, miniature, own, [128, 128, 30, 2]]


def test_the_clip_and_vae_of_a_model_come_with_it(page):
    """From the model's own node, else from the only ones in the graph; of several the user chooses."""
    graphs = {
        "a checkpoint": ["CheckpointLoaderSimple", "CLIPLoader"],
        "files of their own": ["UNETLoader", "CLIPLoader", "VAELoader"],
        "two text encoders": ["UNETLoader", "CLIPLoader", "CLIPLoader"],
    }
    came = page.evaluate(
        """graphs => Object.values(graphs).map(types => { app.graph.clear();
        const add = type => { const node = LiteGraph.createNode(type); app.graph.add(node); return node; };
        const [model] = types.map(add), ours = add("RSCorrectorAnyCheckpoint");
        const place = name => ours.inputs.findIndex(input => input.name == name);
        model.connect(0, ours, place("model"));
        return ["clip", "vae"].map(name => ours.getInputNode(place(name))?.type ?? ""); })""",
        graphs,
    )
    assert came == [["CheckpointLoaderSimple"] * 2, ["CLIPLoader", "VAELoader"], ["", ""]]


def test_the_blueprint_opens_as_one_node_with_the_sockets_and_settings_of_both(page):
    if page.evaluate("async () => (await fetch('/global_subgraphs')).status") == 404:
        pytest.skip("This ComfyUI takes no blueprints from packs.")
    blueprint = json.loads((WORKFLOWS.parent / "subgraphs" / "Corrected Sampler.json").read_text(encoding="utf-8"))
    page.evaluate("async blueprint => { await app.loadGraphData(blueprint, true, true, 'blueprint'); }", blueprint)
    page.wait_for_timeout(1500)
    screenshot(page, "blueprint")
    (node,) = page.evaluate(
        """() => app.graph._nodes.map(n => ({ title: n.title, inputs: n.inputs.filter(i => !i.widget).map(i => i.name),
        outputs: n.outputs.map(o => o.type), widgets: n.widgets.map(w => w.name),
        inside: n.subgraph.nodes.map(m => m.type in LiteGraph.registered_node_types && m.type) }))"""
    )
    assert node["title"] == "Corrected Sampler" and node["inside"] == ["RSCorrector", "KSampler"]
    assert node["inputs"] == ["model", "preference", "positive", "negative", "latent_image", "vae"]
    assert node["outputs"] == ["LATENT"]
    names = [name.rpartition(": ")[2] for name in node["widgets"]]
    assert names == ["strength", "seed", "steps", "cfg", "sampler_name", "scheduler", "denoise"]


def test_the_model_library_shows_a_preferences_title_architecture_and_pictures(server, page):
    folder = server.folder / "models" / "rs_corrector"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(WORKFLOWS.parent / "weights" / "miniature-backdrop.safetensors", folder / "mine.safetensors")
    page.locator(".model-library-tab-button").click()
    page.get_by_text("rs_corrector").first.click()
    page.get_by_text("Village backdrop (miniature)").first.hover()
    preview = page.locator(".model_preview")
    preview.wait_for()
    assert "Village backdrop (miniature)" in preview.inner_text() and "miniature/preference" in preview.inner_text()
    assert preview.locator("img").first.get_attribute("src").startswith("data:image/jpeg")
    screenshot(page, "model-library")
    page.locator(".model-library-tab-button").click()
