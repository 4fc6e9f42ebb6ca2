"""Make the screenshots of the artist's guide and of the help pages, in Chromium, with the fixtures of the host tests.

    COMFYUI_PATH=FOLDER RS_GRADIO_PYTHONS=PYTHON python docs/make/screenshots.py [comfyui | webui]

COMFYUI_PATH is a ComfyUI with its packages in `.venv`; RS_GRADIO_PYTHONS is the Python of a Forge or Automatic1111.
Without one of them its screenshots are skipped. pytest runs this file; each screenshot is a "test".
"""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from hosts.comfy_page import open_workflow, run  # noqa: E402
from hosts.test_gradio_page import webui  # noqa: E402, F401  a fixture

OUT, HELP = ROOT / "docs" / "pictures", ROOT / "web" / "docs" / "pictures"
LARGEST_SCREENSHOT = 145_000  # bytes
PARTS = ("comfyui", "webui")  # the names of the functions below contain them
TEMPLATE = next((ROOT / "workflows").glob("1-*.json"), None)
CROP = """name => { const n = app.graph._nodes.find(n => n.type == name), title = LiteGraph.NODE_TITLE_HEIGHT;
    const { scale, offset } = app.canvas.ds, at = (x, y) => [(x + offset[0]) * scale, (y + offset[1]) * scale];
    const [left, top] = at(n.pos[0] - 20, n.pos[1] - title - 20), size = [n.size[0] + 40, n.size[1] + title + 40];
    return { x: left, y: top, width: size[0] * scale, height: size[1] * scale }; }"""

FIT = """([width, height]) => { const canvas = app.canvas;
    const boxes = [...app.graph._nodes.map(n => [n.pos[0], n.pos[1] - 40, n.size[0], n.size[1] + 40]),
        ...(app.graph._groups ?? []).map(g => [...g.pos, ...g.size])];
    const left = Math.min(...boxes.map(b => b[0])) - 20, top = Math.min(...boxes.map(b => b[1])) - 20;
    const right = Math.max(...boxes.map(b => b[0] + b[2])) + 20;
    const bottom = Math.max(...boxes.map(b => b[1] + b[3])) + 20;
    const scale = Math.min(width / (right - left), height / (bottom - top));
    canvas.low_quality_zoom_threshold = 0;  // draw the texts at any zoom
    canvas.ds.scale = scale;
    canvas.ds.offset = [90 / scale - left, 100 / scale - top];
    canvas.setDirty(true, true);
    return { x: 90, y: 100, width: (right - left) * scale, height: (bottom - top) * scale }; }"""


SHOW = """name => { let n = app.graph._nodes.find(n => n.type == name);
    if (!n) { // without clear(): newer pages keep values by node id
        [...app.graph._nodes].forEach(other => app.graph.remove(other));
        n = LiteGraph.createNode(name); app.graph.add(n); n.pos = [0, 0]; n.setSize([380, n.computeSize()[1]]);
        const file = n.widgets?.find(w => w.name == "file");
        if (file) file.value = file.options.values.find(value => value.includes("miniature-backdrop")); }
    [...(app.graph._groups ?? [])].forEach(group => app.graph.remove(group));
    app.canvas.deselectAll?.();
    app.canvas.ds.scale = Math.min(1.6, 820 / n.size[1]);
    app.canvas.ds.offset = [400 / app.canvas.ds.scale - n.pos[0], 130 / app.canvas.ds.scale - n.pos[1]];
    app.canvas.setDirty(true, true); }"""
SHOWN_AS_NODES = (
    "AnyCheckpoint", "Compare", "Axis", "Calibrate", "LearnPreference", "LoadAxis", "LoadPreference", "SavePreference",
    "TextPreference",
)  # fmt: skip


def save(png, name, width, folder=OUT):
    """Reduce a screenshot to few colours and a width, less if the file is large, since it goes into the repository."""
    picture, path = Image.open(io.BytesIO(png)).convert("RGB"), folder / f"{name}.png"
    while True:
        small = picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)
        small.quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
        if path.stat().st_size <= LARGEST_SCREENSHOT:
            return
        width = round(0.9 * width)


@pytest.fixture(scope="module")
def after_a_run(server, page):
    """ComfyUI's page with the first template, after it ran."""
    open_workflow(page, TEMPLATE.name)
    run(server, page)
    return page


def test_comfyui_first_correction(after_a_run):
    page = after_a_run
    page.set_viewport_size({"width": 2600, "height": 1700})
    page.evaluate("() => app.extensionManager.setting.set('Comfy.Minimap.Visible', false)")
    page.wait_for_timeout(1000)
    clip = page.evaluate(FIT, [2300, 1450])
    page.wait_for_timeout(1500)
    save(page.screenshot(clip=clip), "comfyui-first-correction", 1400)
    page.set_viewport_size({"width": 1720, "height": 1010})


def test_comfyui_outcome(after_a_run):
    page = after_a_run
    page.evaluate(
        """() => { const n = app.graph._nodes.find(n => n.type == "RSCorrectorAnyCheckpoint");
        app.canvas.ds.scale = 1.6; app.canvas.ds.offset = [300 - n.pos[0], 200 - n.pos[1]];
        app.canvas.setDirty(true, true); }"""
    )
    page.wait_for_timeout(1500)
    save(page.screenshot(clip=page.evaluate(CROP, "RSCorrectorAnyCheckpoint")), "comfyui-outcome", 480)


def test_comfyui_nodes_of_help_pages(after_a_run):
    """Those whose picture is no sheet of docs/make/help_pictures.py; the first two are in the template that ran."""
    page = after_a_run
    for name in SHOWN_AS_NODES:
        page.evaluate(SHOW, f"RSCorrector{name}")
        page.wait_for_timeout(1500)
        clip = page.evaluate(CROP, f"RSCorrector{name}")
        save(page.screenshot(clip=clip), f"RSCorrector{name}", min(480, round(clip["width"])), HELP)


def test_webui_accordion(webui):  # noqa: F811
    webui.get_by_text("RS-Corrector", exact=True).first.click()
    box = webui.locator("#rs_corrector_txt2img_preference input").first
    box.click()
    box.fill("backdrop")
    webui.locator("li[aria-label='backdrop']").first.click()
    webui.locator(".rs-corrector-card").wait_for()
    webui.locator("#rs_corrector_txt2img_preset_most").click()
    webui.wait_for_timeout(1500)
    save(webui.locator("#rs_corrector_txt2img_accordion").screenshot(), "webui-accordion", 800)


def main():
    """Run the two parts in a process each, since Playwright starts once a process."""
    options = ["-c", ROOT / "pyproject.toml", "-q", "-rs", "-p", "no:cacheprovider", "-p", "hosts.conftest"]
    commands = [[sys.executable, "-m", "pytest", *options, "-k", part, __file__] for part in sys.argv[1:] or PARTS]
    return max(subprocess.run(list(map(str, command)), cwd=ROOT).returncode for command in commands)


if __name__ == "__main__":
    sys.exit(main())
