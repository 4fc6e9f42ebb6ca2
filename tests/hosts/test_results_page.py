"""ComfyUI's page in Chromium: nodes show the stage of long work, then their results, and open their reports."""

import json
import urllib.error
import urllib.request

import numpy as np
import pytest
from PIL import Image

from corrector.files.folders import AXES
from hosts.comfy_page import change, open_workflow, run, screenshots, skip_prototype
from hosts.served import screenshot
from hosts.workflow import WORKFLOW_NAMES, load_workflow

SMALL = {"steps": 2, "width": 128, "height": 128, "batch": 8}
STAGES = """() => { window.stages = []; if (!window.listens) { window.listens = true;
    app.api.addEventListener("rs_corrector.stage", ({ detail }) => window.stages.push(
        [detail.node, detail.lines[0].text, detail.preview ?? ""])); } }"""
SHOWN = """type => { const node = app.graph._nodes.find(n => n.type == type);
    const drawn = [...document.querySelectorAll(`[data-node-id="${node.id}"] img`)].map(i => i.src);
    const box = node.widgets?.find(w => w.name == "rs_outcome")?.element;
    return { pictures: (drawn.length ? drawn : (node.imgs ?? []).map(i => i.src)).filter(u => !u.startsWith("data:")),
        preview: !!box?.querySelector("img"), link: box?.querySelector("a")?.href ?? "",
        lines: [...(box?.firstElementChild.querySelectorAll("div") ?? [])].map(line => line.textContent) }; }"""

FILLED = """async ([workflow, name, count]) => { await app.loadGraphData(workflow, true, true, name);
    await new Promise(resolve => setTimeout(resolve, 1500));
    const node = app.graph._nodes.find(n => n.type == "RSCorrectorCompare");
    const batch = Array.from({ length: count }, (_, i) => ({ filename: `${i}.png`, subfolder: "", type: "temp" }));
    const detail = { node: String(node.id), output: { rs_before: batch, rs_after: batch, rs_first: [2] } };
    app.api.dispatchEvent(new CustomEvent("executed", { detail })); }"""
COVERED = """() => [...document.querySelectorAll(".rs-compare button")].filter(button => {
    const { left, top, width, height } = button.getBoundingClientRect();
    const { innerWidth, innerHeight } = window, right = left + width, bottom = top + height;
    const inside = width > 0 && left >= 0 && top >= 0 && right <= innerWidth && bottom <= innerHeight;
    const corners = [left + 1, right - 1].flatMap(x => [top + 1, bottom - 1].map(y => [x, y]));
    return !inside || corners.some(([x, y]) => document.elementFromPoint(x, y) !== button); }).length"""
SMALL_LAPTOP = {"width": 1366, "height": 768}


@pytest.fixture(autouse=True)
def one_group(server):
    """A shipped axis for one group, in the user's folder, offered by the page."""
    axis = json.loads((AXES / "miniature-backdrop.json").read_text(encoding="utf-8"))
    folder = server.folder / "models" / "rs_corrector" / "axes"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "one-group.json").write_text(json.dumps({**axis, "groups": ["Orvane"]}), encoding="utf-8")


def shown(page, kind):
    found = page.evaluate(SHOWN, kind)
    assert not found["preview"]
    return found


def learning(page, name):
    open_workflow(page, "3-learn-a-correction-in-minutes.json")
    change(page, "RSCorrectorLoadAxis", {"file": "one-group.json"})
    change(page, "RSCorrectorLearnPreference", {**SMALL, "pairs": 16, "points": 24, "name": name})
    change(page, "RSCorrectorCalibrate", {**SMALL, "images": 16})


def test_learning_says_its_stages_and_ends_in_its_report_fresh_and_cached(server, page, renderer):
    skip_prototype(page, renderer)
    if renderer == "classic":  # training the gate takes long, so that the other renderer shows what is in the cache
        learning(page, "learned")
        page.evaluate(STAGES)
        run(server, page)
        said = page.evaluate("window.stages")
        texts = [text for _, text, _ in said]
        assert "drawing pairs 0 of 32" in texts and any(text.startswith("drawing pairs 32 of 32") for text in texts)
        for stage in (
            "asking the model which side the pairs show",
            "asking the model while it draws",
            "measuring Orvane",
        ):
            assert any(text.startswith(stage) for text in texts), texts
        assert any(preview.startswith("data:image/jpeg;base64,") for *_, preview in said)
        looks_learned(page)
        screenshots(page, "learned")
    learning(page, "learned")
    run(server, page)
    looks_learned(page)
    screenshot(page, f"learned-cached-{renderer}")


def looks_learned(page):
    learned, calibrated = (shown(page, f"RSCorrector{kind}") for kind in ("LearnPreference", "Calibrate"))
    assert learned["pictures"] and all("/view?" in url for url in learned["pictures"])
    assert learned["lines"][-1] == "saved as learned.safetensors"
    assert learned["lines"][0].startswith(("weak: ", "sound: "))
    assert "/rs_corrector/reports/" in learned["link"]
    assert "Orvane at CFG 2: a city in" in calibrated["lines"][-1]


def test_a_stopped_run_says_what_is_kept_and_goes_on(server, page, renderer):
    learning(page, "stopped")
    change(page, "RSCorrectorLearnPreference", {"seed": 5 if renderer == "classic" else 6, "batch": 1, "steps": 16})
    page.evaluate(STAGES)

    def stop():
        if page.evaluate("window.stages.some(([_, text]) => /drawing pairs [3-9] of/.test(text))"):
            return server.post("/interrupt", {}) == {}

    run(server, page, until="error", act=stop)
    (line,) = page.evaluate(SHOWN, "RSCorrectorLearnPreference")["lines"]
    assert line.startswith("stopped: ") and line.endswith(" of 32 pictures are kept; run again to go on from there")
    screenshot(page, f"stopped-{renderer}")


def run_audit(server, page):
    open_workflow(page, "4-measure-what-a-model-draws.json")
    change(page, "RSCorrectorLoadAxis", {"file": "one-group.json"})
    change(page, "RSCorrectorAudit", {**SMALL, "images": 4})
    run(server, page)


def test_the_audit_shows_its_chart_and_verdict_and_its_report_opens(server, page, renderer):
    skip_prototype(page, renderer)
    for again in (False, True):
        run_audit(server, page)
        screenshot(page, f"audit-{renderer}-{'cached' if again else 'fresh'}")
        found = shown(page, "RSCorrectorAudit")
        assert found["pictures"] and all("/view?" in url for url in found["pictures"])
        assert found["lines"][0].startswith("a village: Orvane ") and len(found["lines"]) in (2, 3)
    with page.context.expect_page() as opened:
        page.locator(f'a[href="{found["link"]}"]').or_(page.locator(".rs-link")).first.click()
    opened.value.wait_for_load_state()
    assert opened.value.get_by_role("heading", level=1).inner_text().startswith("Audit: ")
    assert opened.value.evaluate("() => window.origin") == "null"  # in a sandbox: it has no rights on the server
    screenshot(opened.value, f"report-{renderer}")
    opened.value.close()


def changes_of(server, pictures):
    """How much each picture of a batch changed."""

    def pixels(file):
        return np.asarray(Image.open(server.folder / file["type"] / file["subfolder"] / file["filename"]), dtype=float)

    pairs = zip(pictures["before"], pictures["after"], strict=True)
    return [np.abs(pixels(before) - pixels(after)).mean() for before, after in pairs]


def test_the_map_and_the_slider_show_their_pictures(server, page, renderer):
    skip_prototype(page, renderer)
    for again in (False, True):
        open_workflow(page, "5-correct-half-and-see-where.json")
        change(page, "RSCorrectorMap", {"steps": 4})
        run(server, page)
        screenshot(page, f"map-{renderer}-{'cached' if again else 'fresh'}")
        found = shown(page, "RSCorrectorMap")
        assert len(found["pictures"]) in (1, 4) and all("/view?" in url for url in found["pictures"])
    compared = page.evaluate(
        """async () => { const widget = app.graph._nodes.find(n => n.type == "RSCorrectorCompare").widgets.at(-1);
        const [before, after] = widget.element.querySelectorAll("img"), { pictures } = widget, opened = pictures.shown;
        await Promise.all([before.decode(), after.decode()]);
        const slider = widget.element.querySelector("input");
        slider.value = 25; slider.dispatchEvent(new Event("input"));
        const next = [...widget.element.querySelectorAll("button")].at(-1), first = before.src;
        next.click();
        return { pictures, opened, different: before.src != after.src, turned: before.src != first,
            cut: getComputedStyle(after).clipPath, height: before.offsetHeight,
            page: widget.element.querySelector(".rs-pages span").textContent }; }"""
    )
    changes = changes_of(server, compared["pictures"])
    assert compared["opened"] == changes.index(max(changes)) and max(changes) > 2 * min(changes)
    assert (
        compared["different"] and compared["turned"] and compared["page"] == f"{(compared['opened'] + 1) % 4 + 1} of 4"
    )
    assert "25%" in compared["cut"] and compared["height"] > 150


@pytest.fixture
def small_laptop(page, renderer):
    skip_prototype(page, renderer)
    size = page.viewport_size
    page.set_viewport_size(SMALL_LAPTOP)
    yield page
    page.set_viewport_size(size)


def test_nothing_covers_the_buttons_of_the_slider_on_a_small_laptop(small_laptop, renderer):
    page, checked = small_laptop, 0
    for name in WORKFLOW_NAMES:
        workflow = load_workflow(f"{name}.json")
        kinds = {node["type"] for node in workflow["nodes"]}
        if "RSCorrectorCompare" not in kinds or "RSCorrectorLearnPreference" in kinds:
            continue  # the templates that learn are wider than the window
        page.evaluate(FILLED, [workflow, name, 4])
        page.wait_for_timeout(1000)
        screenshot(page, f"slider-{name}-{renderer}")
        assert page.locator(".rs-compare .rs-pages span").inner_text() == "3 of 4"
        assert page.evaluate(COVERED) == 0, name
        checked += 1
    assert checked >= 4


WITHOUT_GROUP = """() => { const node = LiteGraph.createNode("RSCorrectorTextPreference"); app.graph.add(node);
    const corrector = app.graph._nodes.find(n => n.type == "RSCorrector");
    app.graph._nodes.find(n => n.type == "RSCorrectorMiniature").connect(1, node, 0);
    node.connect(0, corrector, corrector.inputs.findIndex(input => input.name == "preference")); }"""


def test_why_a_node_failed_comes_first_in_the_notice(server, page, renderer):
    open_workflow(page, "6-correct-several-stereotypes.json")
    page.evaluate(WITHOUT_GROUP)
    run(server, page, until="error")
    screenshot(page, f"failed-{renderer}")
    notice = page.get_by_test_id("error-overlay-messages").or_(page.get_by_role("dialog")).first.inner_text()
    why = "The group is empty; enter the group that both prompts name"
    assert why in notice and (notice.startswith(why) or page.get_by_test_id("error-overlay-messages").count() == 0)
    page.keyboard.press("Escape")


HOSTILE = (
    "", "..", "../..", "..%2f..%2fetc%2fpasswd", "%2e%2e%2f%2e%2e%2fmain.py", "/etc/passwd", "....//....//etc/passwd",
    "..%5c..%5cmain.py", "%00", "*", "audit.html", "file:%2f%2f%2fetc%2fpasswd", "~%2f.ssh", "C:%5cWindows%5cwin.ini",
    "%", "__proto__", "-1", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "a" * 5000,
    "%F0%9F%92%A9", "<script>alert(1)</script>", "output/rs_corrector/reports/x.html",
)  # fmt: skip


def test_the_route_serves_a_report_in_a_sandbox_and_nothing_else(server, page, renderer):
    if renderer != "classic":
        pytest.skip("The route does not depend on the renderer.")
    run_audit(server, page)
    url = shown(page, "RSCorrectorAudit")["link"]
    base, known = url.rpartition("/")[0], url.rpartition("/")[2]
    with urllib.request.urlopen(url) as answer:
        assert answer.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
        assert answer.headers["X-Content-Type-Options"] == "nosniff" and b"<h1>Audit: " in answer.read()
    for name in (*HOSTILE, known.upper(), known[:-1], f"{known}/", f"x/../{known}x", f"{known}%00"):
        with pytest.raises((urllib.error.URLError, ValueError, OSError)) as refused:
            urllib.request.urlopen(f"{base}/{urllib.request.quote(name, safe='%/.?#')}").read()
        assert getattr(refused.value, "code", 404) in (400, 403, 404), name
    (report,) = (server.folder / "output/rs_corrector/audits").glob("*/audit.html")
    report.write_text("<script>fetch('/interrupt', {method: 'POST'})</script>")
    with pytest.raises(urllib.error.HTTPError, match="404"):  # not what the pack wrote
        urllib.request.urlopen(url)
