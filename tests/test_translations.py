"""The translations of the ComfyUI nodes are complete and made from locales/texts.tsv."""

import ast
import json
import re

import pytest

from corrector.gate.data import checks
from corrector.gate.weakness import ERRORS
from locales import make

ROOT = make.HERE.parent
# Where what nodes show about a run is made: {file: functions, methods and constants}.
SPEAKERS = {
    "corrector/correction/run_skin.py": {"ROUGH"},
    "corrector/correction/decision.py": ("NO_PREDICTION", "CHOSEN_BY_SEED", "decide", "counts", "notes"),
    "corrector/correction/run.py": ("WINDOW_MISSED", "STRENGTH_ZERO", "_unknown_note"),
    "corrector/correction/verdict.py": ("result",),
    "corrector/gate/prompt_gate.py": ("reason", "sentence", "LEFT_ALONE"),
    "corrector/gate/weakness.py": ("gate_weakness", "MORE_PARAPHRASES", "MORE_ALIASES", "SWITCHED_OFF"),
    "corrector/preference/preference.py": ("caveats_of_run", "_distance"),
    "corrector/preference/calibration.py": ("harm",),
    "corrector/learning/report.py": ("verdict",),
    "corrector/auditing/report_file.py": ("verdict",),
    "nodes/outcome.py": ("_message",),
    "nodes/progress.py": ("STAGES", "__exit__", "at", "_time_left"),
    "nodes/audit.py": ("audited",),
    "nodes/axes.py": ("execute",),
    "nodes/learning.py": ("_pairs", "_calibrated", "execute"),
    "nodes/preferences.py": ("execute",),
}
NOT_SHOWN = ("logging.info", "logging.warning", "at_work")  # calls whose texts nobody reads on a node


def spoken_by(path, names):
    """The texts with a space in the bodies of functions and in constants, with {} for each value in them."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    found = [
        node
        for node in ast.walk(tree)
        if (isinstance(node, ast.FunctionDef) and node.name in names)
        or (isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in names)
    ]
    assert {getattr(node, "name", "") or node.targets[0].id for node in found} == set(names), (
        f"{path} has no such names"
    )
    return {text for node in found for text in texts_in(node)}


def texts_in(node):
    """Without docstrings and errors."""
    docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    if docstring or isinstance(node, ast.Raise) or (isinstance(node, ast.Call) and ast.unparse(node.func) in NOT_SHOWN):
        return
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
        yield with_slots("".join(map(str, parts)))
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield with_slots(node.value)
    else:
        for child in ast.iter_child_nodes(node):
            yield from texts_in(child)


def with_slots(text):
    """`{value:.2f}`, `${value}` and `{#}` -> {}, and several without a text between them -> {}."""
    return re.sub(r"(?:\$?\{[^{}]*\})+", "{}", text)


@pytest.fixture(scope="module")
def python_texts():
    errors = [*ERRORS.values(), *(check["error"] for check in checks().values())]
    return set(map(with_slots, errors)).union(*(spoken_by(path, names) for path, names in SPEAKERS.items()))


@pytest.fixture(scope="module")
def page_texts():
    """The texts in the scripts of the page that are translated there."""
    scripts = [path.read_text(encoding="utf-8") for path in (ROOT / "web").glob("*.js") if path != make.SPOKEN]
    said = r'(?:say\(|text: |\d: )(["`])(.+?)\1'  # say("..."), text: "...", 4: "..."
    return {with_slots(text) for script in scripts for _, text in re.findall(said, script)}


def test_every_sentence_that_a_node_can_say_has_a_translation(python_texts, page_texts):
    known = {with_slots(text) for text in make.sentences()}
    sentences = {text for text in python_texts if " " in text.strip() and re.search("[a-z]{2}", text)} | page_texts
    assert len(sentences) > 45
    missing = [text for text in sentences if text not in known and not any(one.endswith(text) for one in known)]
    assert not missing, f"locales/sentences.tsv has no line for {missing}"


def test_no_sentence_is_translated_that_no_node_says(python_texts, page_texts):
    said = python_texts | page_texts
    said |= {f"{{}}: {text}" for text in said} | {f"{{}}{text}" for text in said}  # after a name, and at an end
    old = [text for text in make.sentences() if with_slots(text) not in said and text != "{#} and {#}"]
    assert not old, f"no node says {old}; delete the lines from locales/sentences.tsv"


@pytest.mark.parametrize("language", make.LANGUAGES)
def test_translated_sentences_keep_every_number_and_name(language):
    for text, row in make.sentences().items():
        slots = len(re.findall(r"\{#?\}", text))
        assert row[language] and set(re.findall(r"\{(\d)\}", row[language])) == set(map(str, range(slots))), text


@pytest.fixture(scope="module")
def texts():
    return make.texts_of(json.loads(make.NODES.read_text(encoding="utf-8")))


@pytest.mark.parametrize("language", make.LANGUAGES)
def test_every_text_of_a_node_has_a_translation(texts, language):
    table = make.table()
    missing = [text for text in texts if not table.get(text, {}).get(language)]
    assert not missing, f"no {language} in locales/texts.tsv for {missing}"


def test_the_table_has_no_texts_that_no_node_has(texts):
    assert set(make.table()) <= set(texts)


IDS_THAT_SAY_LITTLE = {
    "target", "cap", "gate", "images", "narrow", "batch", "neutral", "stereotype", "counter", "another", "pairs",
    "name",
}  # fmt: skip


def test_every_input_whose_id_says_little_has_a_plain_english_label():
    nodes, table = json.loads(make.NODES.read_text(encoding="utf-8")), make.table()
    ids = {id for node in nodes.values() for id in node["inputs"]}
    assert ids >= IDS_THAT_SAY_LITTLE
    unclear = [id for id in ids if (id in IDS_THAT_SAY_LITTLE or "_" in id) and not table[id]["label"]]
    assert not unclear, f"no label in locales/texts.tsv for {unclear}"


def test_help_pages_name_inputs_by_the_labels_that_the_page_shows():
    for name, node in make.labels_of(json.loads(make.NODES.read_text(encoding="utf-8"))).items():
        page = (make.HERE.parent / "web" / "docs" / f"{name}.md").read_text(encoding="utf-8")
        assert not [id for id in node["inputs"] if f"**{id}**" in page], name


def test_the_files_that_comfyui_reads_are_made_from_the_table():
    old = [str(path) for path, text in make.files().items() if path.read_text(encoding="utf-8") != text]
    assert not old, f"{old} differ from the table; run: python locales/make.py"


def test_translations_have_no_signs_that_the_page_would_interpret():
    """vue-i18n reads {name}, @:key and a | b as its own syntax."""
    assert not [row for text, row in make.table().items() if re.search("[{}@|]", "".join([text, *row.values()]))]


def test_translations_keep_numbers_and_names_of_files():
    """A number or a path that a translation lost or changed would mislead."""
    for text, row in make.table().items():
        parts = re.findall(r"\d+(?:\.\d+)?|models/\S+?(?=[,;. ]|$)|miniature-\*|KSampler|Orvane|Zendoli", text)
        for language in make.LANGUAGES:
            lost = [part for part in parts if part not in row[language]]
            assert not lost or text.startswith("preference_"), f"{language} of {text!r} lacks {lost}"
