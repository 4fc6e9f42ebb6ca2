"""A release: one version everywhere, what the Comfy registry's archive holds, and what publishing writes."""

import os
import re
import shutil
import subprocess
import zipfile

import pytest
import yaml
from PIL import Image
from trove_classifiers import classifiers as known_classifiers

from registry_archive import ROOT, archived_files, pack, tomllib

LARGEST_ARCHIVE = 28 * 2**20  # bytes, of which the miniatures' weights and the preferences are 26 MiB
LARGEST_WITHOUT_WEIGHTS = 2 * 2**20


def text_of(name):
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def settings():
    return pytest.importorskip("tomllib").loads(text_of("pyproject.toml"))


@pytest.fixture
def checkout(tmp_path):
    """A git repository with the files that publishing reads, and an empty repository as its `origin`."""
    folder, origin = tmp_path / "checkout", tmp_path / "origin.git"
    (folder / ".ci").mkdir(parents=True)
    for name in (".ci/release", ".ci/addresses", "pyproject.toml", "CHANGELOG.md"):
        shutil.copy(ROOT / name, folder / name)
    git(tmp_path, "init", "--quiet", "--bare", origin)
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "first")
    git(folder, "remote", "add", "origin", origin)
    return folder


def git(folder, *arguments):
    subprocess.run(["git", *map(str, arguments)], cwd=folder, check=True)


def run(checkout, *command):
    return subprocess.run(command, cwd=checkout, check=True, capture_output=True, text=True).stdout


def test_the_version_is_the_same_in_the_package_the_changelog_and_the_citation(settings):
    version = settings["project"]["version"]
    citation = yaml.safe_load(text_of("CITATION.cff"))
    assert f"## {version} - {citation['date-released']}\n" in text_of("CHANGELOG.md")
    assert citation["version"] == version


def test_a_version_without_a_tag_is_published_once_with_its_part_of_the_changelog(checkout, settings):
    version = settings["project"]["version"]
    assert run(checkout, ".ci/release", "notes.md") == f"{version}\n"
    notes = (checkout / "notes.md").read_text(encoding="utf-8")
    assert notes.strip() and "## " not in notes.replace("### ", "") and notes in text_of("CHANGELOG.md")
    git(checkout, "tag", f"v{version}")
    git(checkout, "push", "--quiet", "origin", f"v{version}")
    assert run(checkout, ".ci/release", "notes.md") == ""


def test_a_version_without_a_part_of_the_changelog_is_not_published(checkout):
    text = (checkout / "pyproject.toml").read_text(encoding="utf-8")
    (checkout / "pyproject.toml").write_text(re.sub(r'^version = ".*"', 'version = "9.9.9"', text, flags=re.MULTILINE))
    with pytest.raises(subprocess.CalledProcessError) as failed:
        run(checkout, ".ci/release", "notes.md")
    assert 'CHANGELOG.md has no section "## 9.9.9 - date"' in failed.value.stderr


def test_publishing_writes_the_addresses_of_the_repository_and_its_pictures(checkout, settings):
    run(checkout, ".ci/addresses", "somebody/corrector", "v9.9")
    published = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))
    for name in ("Icon", "Banner"):
        picture = settings["tool"]["comfy"][name]
        assert (ROOT / picture).is_file()
        address = f"https://raw.githubusercontent.com/somebody/corrector/v9.9/{picture}"
        assert published["tool"]["comfy"][name] == address
    assert published["project"]["urls"]["Repository"] == "https://github.com/somebody/corrector"
    assert {"Homepage", "Documentation", "Issues", "Changelog"} < set(published["project"]["urls"])


def test_what_the_registry_shows_is_as_it_asks(settings):
    assert set(settings["project"]["classifiers"]) <= set(known_classifiers)
    pictures = settings["tool"]["comfy"]
    icon, banner = Image.open(ROOT / pictures["Icon"]), Image.open(ROOT / pictures["Banner"])
    assert icon.width == icon.height <= 400
    assert banner.width * 9 == banner.height * 21


def test_the_workflow_publishes_only_after_the_tests_and_the_tag():
    jobs = yaml.safe_load(text_of(".github/workflows/publish.yml"))["jobs"]
    assert jobs["test"]["if"] == "needs.version.outputs.new"
    assert "test" in jobs["tag"]["needs"]
    assert all("tag" in jobs[name]["needs"] for name in ("comfy-registry", "pypi"))
    scripts = [step["run"].split()[0] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert all(os.access(ROOT / name, os.X_OK) for name in scripts if name.startswith(".ci/"))


def test_the_archive_holds_what_an_artist_needs_and_is_small(tmp_path):
    files = archived_files()
    assert not [name for name in files if re.match(r"tests/|benchmarks/|docs/make/|\.", name)]
    shipped = ("__init__.py", "README.md", "LICENSE", "requirements.txt", "weights/miniature-backdrop.safetensors")
    assert set(shipped) <= set(files)
    assert any(name.startswith("weights/flow-miniature/") for name in files)
    assert any(name.startswith("weights/flow-miniature-turbo/") for name in files)
    for folder in ("corrector", "nodes", "axes", "workflows", "subgraphs", "web", "scripts", "sd_webui"):
        tracked = [path for path in (ROOT / folder).rglob("*.*") if path.is_file() and "__pycache__" not in path.parts]
        assert {path.relative_to(ROOT).as_posix() for path in tracked} <= set(files), folder
    with zipfile.ZipFile(pack(tmp_path / "node.zip")) as archive:
        sizes = {entry.filename: entry.compress_size for entry in archive.infolist()}
    assert sum(sizes.values()) <= LARGEST_ARCHIVE
    assert sum(size for name, size in sizes.items() if not name.startswith("weights/")) <= LARGEST_WITHOUT_WEIGHTS
