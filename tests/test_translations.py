"""The translations of the ComfyUI nodes are complete and made from locales/texts.tsv."""

import json
import re

import pytest

from locales import make


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
    "target", "cap", "gate", "images", "narrow", "batch", "neutral", "stereotype", "counter", "another", "pairs", "name",
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
