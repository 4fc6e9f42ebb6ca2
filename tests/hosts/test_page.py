"""ComfyUI's page in Chromium: our workflows open without missing nodes, and one is run."""

import json

import pytest

from hosts.comfy_page import open_workflow, screenshot
from hosts.workflow import WORKFLOW_NAMES


@pytest.mark.parametrize("name", WORKFLOW_NAMES)
def test_a_workflow_opens_with_nothing_missing_and_no_nodes_over_each_other(page, name):
    workflow = open_workflow(page, f"{name}.json")
    screenshot(page, name)
    shown = page.evaluate(
        """() => app.graph._nodes.map(n => ({ type: n.type, known: n.type in LiteGraph.registered_node_types,
        errors: !!n.has_errors, loose: (n.inputs || []).filter(i => i.link == null && !i.widget && i.shape != 7).length,
        widgets: (n.widgets || []).filter(w => w.value === undefined).length }))"""
    )
    assert [node["type"] for node in shown] == [node["type"] for node in workflow["nodes"]]
    assert [n for n in shown if not n["known"] or n["errors"] or n["loose"] or n["widgets"]] == []
    assert not page.get_by_text("Missing Node", exact=False).is_visible()
    overlapping = page.evaluate(
        """() => { const title = LiteGraph.NODE_TITLE_HEIGHT, overlaps = [], nodes = app.graph._nodes.map(n => (
        { name: n.title, left: n.pos[0], right: n.pos[0] + n.size[0], top: n.pos[1] - title,
        bottom: n.pos[1] + Math.max(n.size[1], n.computeSize()[1]) }));
        nodes.forEach((a, i) => nodes.slice(i + 1).forEach(b => { if (a.left < b.right && b.left < a.right &&
        a.top < b.bottom && b.top < a.bottom) overlaps.push([a.name, b.name]); }));
        return overlaps; }"""
    )
    assert overlapping == []


def test_first_correction_runs_from_the_page(server, page):
    open_workflow(page, "first-correction.json")
    done = set(server.get("/history"))
    page.evaluate("app.queuePrompt(0)")
    for _ in range(240):
        page.wait_for_timeout(500)
        if new := set(server.get("/history")) - done:
            break
    history = server.get("/history")[new.pop()]
    assert history["status"]["status_str"] == "success", json.dumps(history["status"])
    page.wait_for_timeout(2500)
    screenshot(page, "first-correction-run")
    saved = page.evaluate("app.graph._nodes.filter(n => n.type == 'SaveImage').map(n => (n.imgs || []).length)")
    assert saved == [4, 4, 4, 4]
