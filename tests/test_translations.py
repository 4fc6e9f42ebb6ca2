"""The translations of the ComfyUI nodes are complete and made from locales/texts.tsv."""

import json
import re

import pytest

from locales import make

ADD = "add a line to locales/texts.tsv (English, then a column a language), then run: python locales/make.py"


@pytest.fixture(scope="module")
def texts():
    return make.texts_of(json.loads(make.NODES.read_text(encoding="utf-8")))


@pytest.mark.parametrize("language", make.LANGUAGES)
def test_every_text_of_a_node_has_a_translation(texts, language):
    known = make.table()
    missing = [text for text in texts if not known.get(text, {}).get(language)]
    assert not missing, f"no {language} for {missing}; {ADD}"


def test_the_table_has_no_texts_that_no_node_has(texts):
    unused = [text for text in make.table() if text not in texts]
    assert not unused, f"no node says {unused}; delete these lines, then run: python locales/make.py"


def test_the_files_that_comfyui_reads_are_made_from_the_table():
    old = [path.relative_to(make.HERE).as_posix() for path, text in make.files().items() if _read(path) != text]
    assert not old, f"{old} differ from the table; run: python locales/make.py"


def _read(path):
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def test_translations_have_no_signs_that_the_page_would_interpret():
    """vue-i18n reads {name}, @:key and a | b as its own syntax."""
    wrong = [row for text, row in make.table().items() if re.search("[{}@|]", "".join([text, *row.values()]))]
    assert not wrong, "write these without { } @ and |"


def test_translations_keep_numbers_and_names_of_files():
    """A figure or a path that a translation lost or changed would mislead."""
    for text, row in make.table().items():
        kept = re.findall(r"\d+(?:\.\d+)?|models/\S+?(?=[,;. ]|$)|miniature-\*|KSampler|Orvane|Zendoli", text)
        for language, translation in row.items():
            lost = [part for part in kept if part not in translation]
            assert not lost or text.startswith("preference_"), f"{language} of {text!r} lacks {lost}"
