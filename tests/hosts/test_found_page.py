"""ComfyUI's page in Chromium: our nodes are found by what they are for, speak the page's language, and have help."""

import json

import pytest

from hosts.comfy_page import loaded
from hosts.served import screenshot

TITLES = """() => Object.fromEntries(["RSCorrector", "RSCorrectorAudit"].map(
    name => [name, LiteGraph.registered_node_types[name].title]))"""
LABELS = """() => { const node = LiteGraph.createNode("RSCorrectorAudit"); app.graph.add(node);
    const labels = [...node.inputs, ...node.widgets].map(one => one.label || one.localized_name || one.name);
    app.graph.remove(node); return labels; }"""
TEXT_BOXES = """() => { const node = LiteGraph.createNode("RSCorrectorAxis");
    return node.widgets.map(widget => widget.element?.placeholder).filter(text => text); }"""
COLOURS = """() => Object.keys(LiteGraph.registered_node_types).filter(type => /^RSCorrector/.test(type)).map(type => {
    const node = LiteGraph.createNode(type), given = LiteGraph.createNode(type);
    given.configure({ ...given.serialize(), color: "#123" });
    return [node.color, given.color]; })"""

RELEASE = """([kind, name, action]) => { app.graph.clear(); app.canvas.ds.scale = 1; app.canvas.ds.offset = [0, 0];
    app.extensionManager.setting.set("Comfy.LinkRelease.Action", action);
    const node = LiteGraph.createNode(kind); node.pos = [600, 300]; app.graph.add(node);
    const [input, output] = [node.inputs, node.outputs].map(slots => slots.findIndex(slot => slot.name == name));
    const [x, y] = node.getConnectionPos(input >= 0, Math.max(input, output));
    const { left, top } = app.canvas.canvas.getBoundingClientRect();
    return [x + left, y + top]; }"""
CORRECTING = """type => ["RSCorrectorAnyCheckpoint", "RSCorrector"].find(id =>
    Object.values(LiteGraph.registered_node_types[id]?.nodeData.input.required ?? {}).some(([of]) => of == type))"""


def speak(page, language):
    page.evaluate("language => app.extensionManager.setting.set('Comfy.Locale', language)", language)
    page.wait_for_timeout(1500)
    page.reload()
    loaded(page)


@pytest.mark.parametrize(
    "language, title, label", [("zh", "RS-Corrector 审计", "强度"), ("fr", "RS-Corrector Audit", "force")]
)
def test_nodes_and_inputs_are_in_the_language_of_the_page(page, language, title, label):
    wrong = []
    page.on("console", lambda message: wrong.append(message.text) if "RSCorrector" in message.text else None)
    try:
        speak(page, language)
        assert page.evaluate(TITLES)["RSCorrectorAudit"] == title
        assert label in page.evaluate(LABELS)
        screenshot(page, f"language-{language}")
    finally:
        speak(page, "en")
    assert page.evaluate(TITLES)["RSCorrector"] == "RS-Corrector"
    labels = page.evaluate(LABELS)
    assert {"stop when certain to ±", "second judge (CLIP vision)", "target share"} < set(
        labels
    ) and "narrow" not in labels
    assert wrong == []


@pytest.fixture
def search_box(server, page):
    """The page's search for nodes, opened -> a function that types a word, with what to wait for."""
    if "search_aliases" not in server.get("/object_info/KSampler")["KSampler"]:
        pytest.skip("This ComfyUI has no search aliases.")
    page.evaluate("() => app.graph.clear()")
    page.mouse.dblclick(1200, 500, delay=50)  # two clicks in one millisecond are no double click to the canvas
    page.wait_for_function("document.activeElement.tagName === 'INPUT'")  # keys before that are the canvas's shortcuts

    def finds(word, title):
        from playwright.sync_api import expect

        page.locator("input:focus").fill(word)
        page.wait_for_timeout(500)  # otherwise the results of the last word are still there
        try:
            found = page.get_by_text(title, exact=True).filter(visible=True).first
            expect(found, f"{word} does not find {title}").to_be_visible(timeout=20_000)
        finally:
            screenshot(page, f"search-{word}")

    yield finds
    page.keyboard.press("Escape")
    page.wait_for_timeout(500)


@pytest.mark.parametrize("word, title", [("heatmap", "RS-Corrector Map"), ("fairness", "RS-Corrector Audit")])
def test_search_finds_our_nodes(search_box, word, title):
    search_box(word, title)


WORDS = {
    "en": "skin tone,african,ethnicity,race,inclusive,people,portrait,representation,stereotype,bias,diversity",
    "zh": "刻板印象,偏见,多样性,肤色,种族,人物,肖像",
    "ja": "ステレオタイプ,偏り,多様性,肌の色,人種,人物,ポートレート",
    "fr": "stéréotype,biais,équité,diversité,couleur de peau,africain,représentation",
    "es": "estereotipo,sesgo,equidad,diversidad,tono de piel,africano,retrato",
    "pt-BR": "estereótipo,viés,equidade,diversidade,tom de pele,raça,pessoas",
}


@pytest.mark.parametrize("language", WORDS)
def test_words_for_what_it_is_about_find_the_correcting_node_near_the_top(search_box, page, language):
    results = page.locator("[data-testid=result-item], .p-autocomplete-option")
    for word in WORDS[language].split(","):
        search_box(word, "RS-Corrector")
        names = [text.partition("\n")[0].strip() for text in results.all_inner_texts()]
        assert "RS-Corrector" in names[:3], f"{word}: {names[:5]}"


@pytest.mark.parametrize("action", ("context menu", "search box"))
@pytest.mark.parametrize(
    "kind, socket, type",
    [("RSCorrectorMiniature", "MODEL", "MODEL"), ("KSampler", "model", "MODEL"),
     ("RSCorrectorLoadPreference", "preference", "RS_PREFERENCE")],
)  # fmt: skip
def test_a_wire_released_on_the_empty_canvas_offers_the_correcting_node_first(page, kind, socket, type, action):
    x, y = page.evaluate(RELEASE, [kind, socket, action])
    id = page.evaluate(CORRECTING, type)
    page.wait_for_timeout(500)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 200, y + 300, steps=8)
    page.mouse.up()
    box = "[data-testid=result-item], .p-autocomplete-option"  # of the newest front ends, and of those before
    suggestions = page.locator(".litemenu-entry" if action == "context menu" else box)
    try:
        suggestions.first.wait_for()
        screenshot(page, f"released-{kind}-{action}")
        shown = [text.partition("\n")[0].strip() for text in suggestions.all_inner_texts() if text.strip()]
        title = page.evaluate("id => LiteGraph.registered_node_types[id].title", id)
        if action == "context menu":
            assert shown[shown.index("Search") + 1] == id
        else:
            assert shown[0] == title
    finally:
        page.keyboard.press("Escape")
        page.wait_for_timeout(500)


def test_the_pictures_of_help_pages_are_served_beside_them(server, page):
    sizes = page.evaluate(
        """async names => await Promise.all(names.map(async name => {
        const picture = new Image(); picture.src = `/extensions/rs-corrector/docs/pictures/${name}.png`;
        await picture.decode(); return picture.naturalWidth; }))""",
        ["RSCorrector", "RSCorrectorMap", "RSCorrectorAudit"],
    )
    assert min(sizes) > 300, json.dumps(sizes)


def test_empty_text_boxes_say_what_belongs_into_them(page):
    boxes = page.evaluate(TEXT_BOXES)
    assert "other words for the groups" in boxes and not [text for text in boxes if "_" in text]


def test_our_nodes_have_one_colour_and_a_colour_of_the_user_stays(page):
    ours, given = zip(*page.evaluate(COLOURS), strict=True)
    assert len(ours) == 15 and len(set(ours)) == 1 and ours[0]
    assert set(given) == {"#123"}
