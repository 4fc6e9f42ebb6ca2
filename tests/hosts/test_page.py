"""ComfyUI's page in Chromium: our workflows open without missing nodes, and one is run."""

import json
import os
import shutil
from pathlib import Path

import pytest

from hosts.workflow import WORKFLOW_NAMES, load_workflow

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install playwright.")


@pytest.fixture(scope="module")
def page(server):
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("Chromium is not installed: apt-get install chromium.")
    checkpoints = server.folder / "models" / "checkpoints"
    checkpoints.mkdir(parents=True, exist_ok=True)
    for name in WORKFLOW_NAMES:  # newer pages mark loaders whose file is missing
        for node in load_workflow(f"{name}.json")["nodes"]:
            if node["type"] == "CheckpointLoaderSimple":
                (checkpoints / node["widgets_values"][0]).touch()
    server.post("/settings/Comfy.TutorialCompleted", True)  # otherwise the first visit opens the templates
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1720, "height": 1010})
        page.goto(server.address)
        page.wait_for_function("window.app && window.app.graph && window.LiteGraph", timeout=120_000)
        page.wait_for_timeout(3000)
        yield page
        browser.close()


def open_workflow(page, name):
    workflow = load_workflow(name)
    page.evaluate(
        "async ([workflow, name]) => { await app.loadGraphData(workflow, true, true, name); }", [workflow, name]
    )
    page.wait_for_timeout(1500)
    page.evaluate(
        """() => { const canvas = app.canvas, nodes = app.graph._nodes;
        const left = Math.min(...nodes.map(n => n.pos[0])), top = Math.min(...nodes.map(n => n.pos[1])) - 60;
        const right = Math.max(...nodes.map(n => n.pos[0] + n.size[0]));
        const bottom = Math.max(...nodes.map(n => n.pos[1] + n.size[1]));
        canvas.ds.scale = Math.min(1640 / (right - left), 860 / (bottom - top));
        canvas.ds.offset = [80 / canvas.ds.scale - left, 90 / canvas.ds.scale - top];
        canvas.setDirty(true, true); }"""
    )
    page.wait_for_timeout(500)
    return workflow


def screenshot(page, name):
    """Save a screenshot in the folder RS_SCREENSHOTS, if it is set."""
    if folder := os.environ.get("RS_SCREENSHOTS"):
        page.screenshot(path=str(Path(folder) / f"{name}.png"))


@pytest.mark.parametrize("name", WORKFLOW_NAMES)
def test_a_workflow_opens_with_nothing_missing(page, name):
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
