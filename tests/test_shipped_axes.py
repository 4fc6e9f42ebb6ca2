"""The axes that ship: each follows the schema, rests on sources that were looked up, and says what it is about."""

import json
import re
from pathlib import Path

import jsonschema
import pytest

from corrector.axis.axis import SCHEMA, axis_schema, load_axis
from corrector.gate import texts as gate_texts
from corrector.gate import wordings
from corrector.preference.file import load_preference

ROOT = Path(__file__).resolve().parents[1]
AXES = [path for path in sorted((ROOT / "axes").glob("*.json")) if path != SCHEMA]
# What an axis may rest on. Each was looked up once; a new one belongs here only after the same.
SOURCES = {
    "this repository", "arXiv 2211.03759", "news feature on Kalluri's work", "CVPR ReGenAI workshop",
    "arXiv 2602.22120", "arXiv 2401.08053", "The Lancet", "BMJ Global Health e015601", "arXiv 2402.01002",
    "newx.sg/paper/detail/ab4662ff-f823-11f0-b84c-00163e10baa7", "arXiv 2407.14779", "arXiv 2305.11844",
    "restofworld.org/2023/ai-image-stereotypes", "arXiv 2401.06310", "arXiv 2303.11408", "Washington Post",
    "The Verge", "tamaleaver.net/category/curtin-university", "The Conversation", "aei.art.br/aiai/en/pesquisa",
    "Tom's Hardware", "The Guardian", "arXiv 2511.22931", "news.gretai.com", "completeaitraining.com",
}  # fmt: skip
EACH = pytest.mark.parametrize("path", AXES, ids=lambda path: path.stem)


@EACH
def test_every_axis_that_ships_follows_the_schema_and_rests_on_sources_that_were_looked_up(path):
    data = json.loads(path.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(axis_schema()).validate(data)
    assert next(iter(data.items())) == ("$schema", SCHEMA.name)
    axis = load_axis(path)
    assert axis.id == path.stem and axis.author and axis.licence == "MIT"
    assert {"group", "skin tone", "age", "gender"} <= set(axis.protected)
    assert axis.sources and {source["identifier"] for source in axis.sources} <= SOURCES
    quotes = [source["quote"] for source in axis.sources if "quote" in source]
    assert all(len(quote.split()) <= 15 for quote in quotes)
    assert min(len(side.paraphrases) for side in (axis.stereotype, axis.counter)) >= 20
    if not path.stem.startswith("miniature-"):
        assert quotes and re.search("grade [ABC], .*Not validated on any model by us", axis.scope)
        assert set(axis.aliases) == set(axis.groups) and min(map(len, axis.aliases.values())) >= 3


@EACH
def test_no_side_that_ships_asks_for_what_the_gate_is_taught_to_leave_alone(path):
    """The gate learns the endings of phrases too ("towers"); none may stand in what asks for neither or the other."""
    axis = load_axis(path)
    lists = gate_texts.Grammar(axis, 0).words.lists
    neither = [*axis.neutral, *lists["style"], *lists["situation"], *lists["coloured"]]
    for side, other in ((axis.stereotype, axis.counter), (axis.counter, axis.stereotype)):
        for phrase in (*wordings.shortened(side, other), *side.paraphrases):
            named = re.compile(rf"(?<!\w){re.escape(phrase)}(?!\w)", re.IGNORECASE)
            assert not [text for text in neither if named.search(text)]
        ends, said = (
            [wordings.spaced(t) for t in texts] for texts in (wordings.shortened(side, other), other.wordings)
        )
        assert not [end for end in ends if any(end in text for text in said)]  # what both sides say tells neither


def test_the_readme_of_the_axes_names_each_of_them():
    readme = (ROOT / "axes" / "README.md").read_text(encoding="utf-8")
    assert not [path.stem for path in AXES if f"`{path.stem}`" not in readme]


@pytest.mark.parametrize("path", sorted((ROOT / "weights").glob("*.safetensors")), ids=lambda path: path.stem)
def test_the_axis_in_a_preference_that_ships_keeps_its_hash(path):
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        recorded = json.loads(file.metadata()["rs_corrector"])["axis_hash"]
    assert load_preference(path).axis.hash == recorded


@EACH
def test_learning_finds_an_axis_sisters_beside_the_schema_and_the_readme(path):
    space = "miniature" if path.stem.startswith("miniature-") else "sd15"
    found = gate_texts.gate_others(load_axis(path), path.parent, space)["other_details"]
    sisters = 1 if path.stem.startswith("miniature-") else 0
    assert bool(found) == bool(sisters)
