"""ComfyUI's page in Chromium: each correcting node shows what its last run did, in both renderers."""

import pytest

from hosts.comfy_page import change, in_both_themes, loaded, open_workflow, run
from hosts.served import screenshot

PERSON, VILLAGE = "a portrait of a Tavelu person", "a portrait of a Tavelu person in a village"
SHOWN = """() => Object.fromEntries(app.graph._nodes.map(n => [n.type + " " + n.id,
    [...(n.widgets?.find(w => w.name == "rs_outcome")?.element.querySelectorAll(".rs-corrected, .rs-nothing") ?? [])]
    .map(line => [line.className.slice(3), line.textContent])]).filter(([_, lines]) => lines.length))"""
CUT = """() => app.graph._nodes.flatMap(n => n.widgets ?? []).filter(w => w.name == "rs_outcome")
    .map(w => w.element.firstElementChild.offsetHeight - w.element.clientHeight).filter(missing => missing > 1)"""
EMPTY = """() => { const node = app.graph.getNodeById(4);
    return node.size[1] - Math.max(300, node.computeSize()[1]); }"""  # height without content; 300 is the template's
QUEUED = """async () => { const { output, workflow } = await app.graphToPrompt();
    return [Object.keys(output[4].inputs).sort(), workflow.nodes.find(n => n.id == 4).widgets_values]; }"""
OURS = "RSCorrectorAnyCheckpoint 4"
ASKS = "left alone 4: the prompt asks for a village"


@pytest.fixture
def workflow(page, renderer):
    """The miniature's workflow, zoomed to the correcting node."""
    open_workflow(page, "1-see-a-stereotype-corrected.json")
    page.evaluate("() => { app.canvas.ds.scale = 1.1; app.canvas.ds.offset = [120, -380]; }")


def outcome_of_run(server, page):
    """Run the workflow on the page -> what its nodes show."""
    run(server, page)
    assert page.evaluate(CUT) == []
    return page.evaluate(SHOWN)


def test_the_outcome_stays_over_a_reload_and_is_there_after_a_cached_run(server, page, workflow, renderer):
    corrected = {OURS: [["corrected", "corrected 4 of 4"], ["corrected", "a village: 4 -> 0 of 4"]]}
    assert outcome_of_run(server, page) == corrected
    in_both_themes(page, f"outcome-{renderer}")
    inputs = ["axis", "clip", "counter", "model", "stereotype", "strength", "thrifty", "vae", "verdict"]
    assert page.evaluate(QUEUED) == [inputs, ["miniature-backdrop.json", 1, "", "", True, False]]  # without the outcome
    page.wait_for_timeout(2000)  # the page stores its draft
    page.reload()
    loaded(page, "window.app && window.app.graph && app.graph._nodes?.length > 5")
    assert page.evaluate(SHOWN) == corrected
    open_workflow(page, "1-see-a-stereotype-corrected.json")
    assert outcome_of_run(server, page) == corrected


def test_a_run_that_corrects_nothing_stands_out_and_says_why(server, page, workflow, renderer):
    change(page, 5, {"text": VILLAGE})
    assert outcome_of_run(server, page) == {OURS: [["nothing", f"corrected 0 of 4 · {ASKS}"]]}
    screenshot(page, f"outcome-asked-{renderer}")
    change(page, 5, {"text": "a kitten"})
    ((kind, text),) = outcome_of_run(server, page)[OURS]
    assert kind == "nothing" and text.startswith("corrected 0 of 4 · left alone 4: the prompt names nobody of ")
    change(page, 4, {"strength": 0})
    assert outcome_of_run(server, page) == {OURS: [["nothing", "off: the strength is 0"]]}
    screenshot(page, f"outcome-off-{renderer}")
    assert renderer != "classic" or page.evaluate(EMPTY) <= 40  # about two lines; ComfyUI 0.3.64 never shrinks a node
    page.evaluate("() => { app.graph.getNodeById(4).mode = 4; }")
    assert outcome_of_run(server, page) == {OURS: [["nothing", "off: the node is bypassed"]]}
    screenshot(page, f"outcome-bypassed-{renderer}")


READ = """() => [...app.graph.getNodeById(4).widgets.find(w => w.name == "rs_outcome").element
    .querySelectorAll(".rs-said")].map(line => line.textContent)"""


def test_the_node_shows_what_was_read_and_copies_why(server, page, workflow, renderer):
    outcome_of_run(server, page)
    assert page.evaluate(READ) == ["the prompt names Orvane and asks for nothing"]
    page.evaluate("() => { window.copied = []; navigator.clipboard.writeText = async text => copied.push(text); }")
    page.evaluate("() => document.querySelector('.rs-copy').click()")
    page.wait_for_function("() => document.querySelector('.rs-copy').textContent == 'copied'")
    (why,) = page.evaluate("() => copied")
    assert why.startswith("the prompt names Orvane and asks for nothing (names Orvane ") and "needed" in why


def test_a_run_that_leaves_the_stereotype_in_stands_out(server, page, workflow, renderer):
    change(page, 4, {"strength": 0.05})
    (first, (kind, text)) = outcome_of_run(server, page)[OURS]
    assert first == ["corrected", "corrected 4 of 4"]
    assert kind == "nothing" and text.startswith("a village: 4 -> 4 of 4")
    screenshot(page, f"outcome-left-{renderer}")


def add_advanced(page):
    """Put an Advanced node in the place of node 4, with both preferences of the miniature."""
    page.evaluate(
        """() => { const graph = app.graph, add = (type, x, y) => {
            const node = LiteGraph.createNode(type); node.pos = [x, y]; graph.add(node); return node; };
        const [advanced, both] = [add("RSCorrectorAdvanced", 400, 480), add("RSCorrectorCombinePreferences", 0, 800)];
        const files = ["backdrop", "attire"].map((name, place) => {
            const file = add("RSCorrectorLoadPreference", 0, 1000 + 200 * place);
            file.widgets[0].value = `miniature-${name}.safetensors`; return file; });
        const old = graph.getNodeById(4), set = (n, name, from, slot) =>
            from.connect(slot, n, n.inputs.findIndex(input => input.name == name));
        files.forEach((file, place) => set(both, `preference_${place + 1}`, file, 0));
        set(advanced, "preference", both, 0);
        set(advanced, "model", graph.getNodeById(2), 0);
        set(graph._nodes.find(n => n.title == "After" && n.type == "KSampler"), "model", advanced, 0);
        graph.remove(old); }"""
    )


def test_each_of_two_preferences_has_its_line_also_in_a_window_without_steps(server, page, workflow, renderer):
    add_advanced(page)
    change(page, 5, {"text": VILLAGE})
    (lines,) = outcome_of_run(server, page).values()
    screenshot(page, f"outcome-two-{renderer}")
    corrected = ["corrected", "miniature-attire: corrected 4 of 4"]
    assert lines == [["nothing", f"miniature-backdrop: corrected 0 of 4 · {ASKS}"], corrected]
    change(page, "RSCorrectorAdvanced", {"start_percent": 0.001, "end_percent": 0.002})
    change(page, 5, {"text": PERSON})
    (lines,) = outcome_of_run(server, page).values()
    screenshot(page, f"outcome-window-{renderer}")
    why = "left alone 4: the window contains none of this run's steps"
    assert lines == [["nothing", f"miniature-{axis}: corrected 0 of 4 · {why}"] for axis in ("backdrop", "attire")]


def test_the_outcome_and_the_slider_are_in_the_language_of_the_page(server, page, workflow, renderer):
    speak = "language => app.extensionManager.setting.set('Comfy.Locale', language)"
    page.evaluate(speak, "fr")
    try:
        open_workflow(page, "1-see-a-stereotype-corrected.json")  # its widgets are made in the new language
        change(page, 5, {"text": VILLAGE})
        why = "4 laissées intactes : le prompt demande a village"
        assert outcome_of_run(server, page) == {OURS: [["nothing", f"0 sur 4 corrigées · {why}"]]}
        change(page, 5, {"text": "a portrait of an Orvane person"})
        made = [["corrected", "4 sur 4 corrigées"], ["corrected", "a village : 4 -> 0 sur 4"]]
        assert outcome_of_run(server, page) == {OURS: made}
        assert page.locator(".rs-compare").inner_text().split("\n")[-2:] == ["avant", "après"]
        screenshot(page, f"outcome-fr-{renderer}")
    finally:
        page.evaluate(speak, "en")
        page.wait_for_timeout(500)
