"""What the tests do on ComfyUI's page in Chromium."""

import os
import time

import pytest

from hosts.served import screenshot
from hosts.workflow import load_workflow

WIDTHS = (1280, 1920)  # of windows that people have


def loaded(page, condition="window.app && window.app.graph && window.LiteGraph"):
    """Wait until the page has settled."""
    page.wait_for_function(condition, timeout=120_000)
    page.wait_for_timeout(3000)


def change(page, node, values):
    """Set widgets of a node, by its number or by its kind."""
    page.evaluate(
        """([wanted, values]) => { const node = app.graph._nodes.find(n => n.id == wanted || n.type == wanted);
        for (const [name, value] of Object.entries(values)) node.widgets.find(w => w.name == name).value = value; }""",
        [node, values],
    )


def in_palette(page, palette):
    page.evaluate("palette => app.extensionManager.setting.set('Comfy.ColorPalette', palette)", palette)
    page.wait_for_timeout(700)


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


def run(server, page, *, until="success", start=None, act=None):
    """Run the workflow on the page, and look 2 s after the end -> seconds that it took.

    Args:
        until: the status that the run should end with.
        start: starts the run; the page's own function by default.
        act: called while it runs, until it returns something true.
    """
    done, began = set(server.get("/history")), time.monotonic()
    start() if start else page.evaluate("app.queuePrompt(0)")
    while time.monotonic() < began + 900:
        page.wait_for_timeout(250)
        if act and act():
            act = None
        if new := set(server.get("/history")) - done:
            status = server.get(f"/history/{(one := new.pop())}")[one]["status"]
            assert status["status_str"] == until, f"{status}\n{server.log[-2000:]}"
            page.wait_for_timeout(2000)
            return time.monotonic() - began
    raise TimeoutError("The run did not end.")


def in_both_themes(page, name):
    """Screenshots in the light and in the dark theme, if RS_SCREENSHOTS is set."""
    for palette in ("light", "dark") if os.environ.get("RS_SCREENSHOTS") else ():
        in_palette(page, palette)
        screenshot(page, f"{name}-{palette}")


def screenshots(page, name):
    """Screenshots at two widths, light and dark, if RS_SCREENSHOTS is set."""
    size = page.viewport_size
    for width in WIDTHS if os.environ.get("RS_SCREENSHOTS") else ():
        page.set_viewport_size({"width": width, "height": round(width * 0.6)})
        in_both_themes(page, f"{name}-{width}")
    page.set_viewport_size(size)


def skip_prototype(page, renderer):
    """Skip where Nodes 2.0 is a prototype that keeps nodes of an earlier workflow and shows no pictures (0.3.64)."""
    major, minor, *_ = page.evaluate("window.__COMFYUI_FRONTEND_VERSION__").split(".")
    if renderer == "Nodes 2.0" and (int(major), int(minor)) < (1, 30):
        pytest.skip(f"Nodes 2.0 of front end {major}.{minor} is a prototype.")
