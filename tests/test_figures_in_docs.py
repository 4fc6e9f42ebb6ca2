"""The figures of the documentation are those of the JSON files, which say where they come from."""

import json
import re

import matplotlib
import pytest

from benchmarks import pages, records
from benchmarks.charts import CHARTS, svg

FILES = sorted(records.FIGURES.glob("*.json"))


@pytest.mark.parametrize("page", pages.documents(), ids=lambda page: page.name)
def test_a_page_is_as_its_figures_make_it(page):
    text = page.read_text(encoding="utf-8")
    assert pages.rendered(text) == text, "run: python -m benchmarks --docs"
    assert text.count(pages.END) == len(pages.BLOCK.findall(text)) + len(pages.NUMBER.findall(text))


@pytest.mark.parametrize("name", CHARTS)
def test_a_plot_is_as_its_figures_make_it(name):
    text = (pages.PICTURES / f"{name}.svg").read_text(encoding="utf-8")
    if f"Matplotlib v{matplotlib.__version__}," not in text:
        pytest.skip("drawn by another version of matplotlib")
    assert svg(name) == text, "run: python -m benchmarks --docs"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_measured_figures_say_where_they_come_from(path, tmp_path):
    parts = records.load(path.stem)
    for part in parts.values():
        assert part.rows and (part.commit or part.recorded_in)
        estimates = [estimate for row in part.rows for estimate in row.figures.values()]
        assert all(e.low is None or e.low <= e.value <= e.high for e in estimates)
    records.save(path.stem, parts, tmp_path)
    assert (tmp_path / path.name).read_text(encoding="utf-8") == path.read_text(encoding="utf-8")


def test_a_marker_of_a_figure_that_is_not_there_is_named():
    with pytest.raises(KeyError, match=r"no table 'cells/none'"):
        pages.rendered("<!-- figures: cells/none -->\n<!-- end -->")
    with pytest.raises(KeyError, match=r"cells/samplers has no figure 'speed'"):
        pages.rendered("<!-- figure: max speed of cells/samplers -->1<!-- end -->")
    with pytest.raises(KeyError, match=r"cells.json has no part 'none'"):
        pages.rendered("<!-- figure: max speed of cells/none -->1<!-- end -->")


def test_the_page_of_plots_is_short_and_shows_every_plot():
    text = (records.ROOT / "docs" / "measurements.md").read_text(encoding="utf-8")
    assert len(re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL).split()) <= 900
    assert set(re.findall(r"\(pictures/(\w+)\.svg\)", text)) == set(CHARTS)


def test_a_figure_is_the_largest_of_the_rows_that_it_asks_for():
    rows = json.loads((records.FIGURES / "cells.json").read_text(encoding="utf-8"))["samplers-elsewhere"]["rows"]
    drifts = [row["figures"]["skin L* drift"][0] for row in rows if row["settings"]["sampler"] == "DDIM"]
    text = "<!-- figure: largest skin L* drift of cells/samplers-elsewhere where sampler=DDIM as .3f -->?<!-- end -->"
    assert f"-->{max(map(abs, drifts)):.3f}<!--" in pages.rendered(text)


def test_a_sentence_says_of_how_many_pictures_its_figure_is():
    names = ("second-world", "second-world-scales")
    figures = json.loads((records.FIGURES / "cells.json").read_text(encoding="utf-8"))
    counts = [row["figures"]["corrected"][3] for name in names for row in figures[name]["rows"]]
    text = pages.rendered(f"<!-- figure: n corrected of cells/{'+'.join(names)} -->?<!-- end -->")
    assert min(counts) < max(counts) and f"-->{min(counts)} to {max(counts)}<!--" in text
    text = pages.rendered("<!-- figure: n corrected of cells/second-world where cfg=2 -->?<!-- end -->")
    assert "-->200<!--" in text


def test_commits_and_seeds_stand_under_the_tables_of_benchmarks_and_not_in_the_readme():
    readme, tables = (
        (records.ROOT / page).read_text(encoding="utf-8") for page in ("README.md", "benchmarks/README.md")
    )
    assert "<!-- figures: " in readme and "seeds from" not in readme
    assert tables.count("<!-- figures: ") == tables.count("; seeds from ")
