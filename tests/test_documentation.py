"""README and docs: short, complete, and with links, commands and translations that are there."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import unquote

import pytest

from corrector.cli.commands import main

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = (".", ".github", ".github/ISSUE_TEMPLATE", "docs", "axes", "web/docs", "benchmarks")
PAGES = sorted(path.relative_to(ROOT).as_posix() for folder in FOLDERS for path in (ROOT / folder).glob("*.md"))
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)|<img[^>]* src=\"([^\"]+)\"")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


def links_of(page):
    """Relative links of a page -> [(path, anchor or "")]; the path is relative to the repository."""
    found = [a or b for a, b in LINK.findall(FENCE.sub("", text_of(page)))]
    parts = [unquote(link).partition("#") for link in found if not re.match(r"[a-z]+:", link)]
    folder = (ROOT / page).parent
    return [((folder / path).resolve() if path else ROOT / page, anchor) for path, _, anchor in parts]


def anchors_of(path):
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_every_relative_link_and_anchor_of_a_page_resolves(page):
    broken = [
        f"{path.relative_to(ROOT)}#{anchor}"
        for path, anchor in links_of(page)
        if not path.exists() or (anchor and anchor not in anchors_of(path))
    ]
    assert not broken, f"{page} links to {', '.join(broken)}, which is not there"


def test_the_readme_is_for_the_first_five_minutes_and_starts_with_a_picture():
    lines = text_of("README.md").splitlines()
    assert len(lines) <= 150
    assert lines[2].startswith("![")
    assert all(f"python install.py {command}" in text_of("README.md") for command in ("demo", "test"))


def test_every_page_of_the_docs_can_be_reached_from_the_readme():
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        waiting += {
            path for path, _ in links_of(page.relative_to(ROOT)) if path.suffix == ".md" and path not in reached
        }
    assert [page for page in PAGES if page.startswith("docs/") and ROOT / page not in reached] == []


def test_commands_and_scripts_that_the_docs_name_exist(capsys):
    text = "\n".join(text_of(page) for page in PAGES if not page.startswith(("CHANGELOG", "web/")))
    scripts = set(re.findall(r"python3? ((?:[\w.-]+/)*[\w.-]+\.py)", text))
    assert [name for name in sorted(scripts) if not (ROOT / name).is_file()] == []
    with pytest.raises(SystemExit):
        main(["--help"])
    known = re.search(r"\{([a-z,]+)\}", capsys.readouterr().out).group(1).split(",")
    named = set(re.findall(r"python -m corrector(?: |\n)([a-z]+)", text))
    assert named and sorted(named - set(known)) == []


def test_pictures_of_the_documentation_are_small():
    pictures = [path for folder in ("docs", "web") for path in (ROOT / folder).rglob("*.png")]
    sizes = {path.relative_to(ROOT).as_posix(): path.stat().st_size for path in pictures}
    assert {name: size for name, size in sizes.items() if size > 150_000} == {}
    assert sum(sizes.values()) <= 1_000_000


def test_every_picture_of_the_documentation_is_shown_on_a_page():
    shown = {path for page in PAGES for path, _ in links_of(page)}
    pictures = [path for folder in ("docs", "web") for path in (ROOT / folder).rglob("*.png")]
    assert [path.name for path in pictures if path not in shown and path.name != "icon.png"] == []


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("web/docs/")])
def test_every_help_page_has_a_picture(page):
    assert any(path.suffix == ".png" for path, _ in links_of(page))


def test_publishing_gives_the_icon_the_address_of_the_repository(tmp_path):
    (icon,) = re.findall(r'^Icon = "(.+)"$', text_of("pyproject.toml"), re.MULTILINE)
    assert (ROOT / icon).is_file()
    script = text_of(".github/workflows/publish.yml").partition("run: |\n")[2].partition("      - uses")[0]
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    environment = {**os.environ, "GITHUB_REPOSITORY": "somebody/corrector", "GITHUB_REF_NAME": "v9.9"}
    subprocess.run(["bash", "-ec", script], cwd=tmp_path, env=environment, check=True)
    published = (tmp_path / "pyproject.toml").read_text(encoding="utf-8")
    assert f'\nIcon = "https://raw.githubusercontent.com/somebody/corrector/v9.9/{icon}"\n' in published
    assert published.endswith('[project.urls]\nRepository = "https://github.com/somebody/corrector"\n')
