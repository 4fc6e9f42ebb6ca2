"""README, docs and help pages: their links work, the commands that they name exist, and every node has its page."""

import json
import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from corrector.cli.commands import main

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = (".", "docs", "benchmarks", "axes", "web/docs")
PAGES = sorted(path.relative_to(ROOT).as_posix() for folder in FOLDERS for path in (ROOT / folder).glob("*.md"))
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


def links_of(page):
    """Relative links of a page -> [(path, anchor or "")]."""
    links = [unquote(link) for link in LINK.findall(FENCE.sub("", text_of(page))) if not re.match(r"[a-z]+:", link)]
    parts = [link.partition("#") for link in links]
    return [((ROOT / page).parent / path if path else ROOT / page, anchor) for path, _, anchor in parts]


def anchors_of(path):
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_every_relative_link_and_anchor_of_a_page_resolves(page):
    broken = [
        f"{path}#{anchor}"
        for path, anchor in links_of(page)
        if not path.exists() or (anchor and anchor not in anchors_of(path))
    ]
    assert not broken, f"{page} links to {', '.join(broken)}, which is not there"


def test_every_page_of_the_docs_can_be_reached_from_the_readme():
    reached = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop().resolve()
        if page.suffix == ".md" and page not in reached:
            reached.add(page)
            waiting += [path for path, _ in links_of(page.relative_to(ROOT))]
    assert [page for page in PAGES if page.startswith("docs/") and ROOT / page not in reached] == []


def test_commands_and_scripts_that_the_docs_name_exist(capsys):
    text = "\n".join(text_of(page) for page in PAGES)
    scripts = set(re.findall(r"python3? ((?:[\w.-]+/)*[\w.-]+\.py)", text))
    assert scripts and [name for name in sorted(scripts) if not (ROOT / name).is_file()] == []
    with pytest.raises(SystemExit):
        main(["--help"])
    commands = re.search(r"\{([a-z,]+)\}", capsys.readouterr().out).group(1).split(",")
    named = set(re.findall(r"python -m corrector(?: |\n)([a-z]+)", text))
    assert named and sorted(named - set(commands)) == []


def test_every_node_has_a_help_page():
    nodes = json.loads(text_of("locales/nodes.json"))
    assert {Path(page).stem for page in PAGES if page.startswith("web/docs/")} == set(nodes)
