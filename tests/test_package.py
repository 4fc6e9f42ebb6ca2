"""What `pip install .` gives: the package rs_corrector, with its axes and weights, and the command rs-corrector."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ("axes", "weights")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder into which pip installed this repository, without its dependencies."""
    folder = tmp_path_factory.mktemp("installed")
    options = ["--no-deps", "--no-index", "--no-build-isolation", "--target", str(folder), str(ROOT)]
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *options], check=True)
    return folder


def run(installed, *command):
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run(command, cwd=installed, env=environment, check=True, capture_output=True, text=True).stdout


def test_the_installed_package_holds_all_that_the_repository_ships(installed):
    files = [path for name in ("corrector", *SHIPPED) for path in (ROOT / name).rglob("*.*") if path.is_file()]
    wanted = {path.relative_to(ROOT).as_posix().removeprefix("corrector/") for path in files}
    wanted = {name for name in wanted if "__pycache__" not in name and not name.endswith(".png")}
    package = installed / "rs_corrector"
    found = {path.relative_to(package).as_posix() for path in package.rglob("*") if path.is_file()}
    assert wanted and not wanted - found
    assert not [path.name for path in installed.iterdir() if path.name not in ("rs_corrector", "bin")
                and not path.name.endswith(".dist-info")]  # fmt: skip


def test_the_command_says_what_a_shipped_preference_is(installed):
    command = shutil.which("rs-corrector", path=installed / "bin")
    said = json.loads(run(installed, command, "inspect", "rs_corrector/weights/miniature-backdrop.safetensors"))
    assert said["axis"]["id"] == "miniature-backdrop" and said["hash"]


def test_axes_and_preferences_load_from_the_installed_package_and_nothing_is_written_into_it(installed):
    script = """
import pathlib, rs_corrector
from rs_corrector.axis.axis import load_axis
from rs_corrector.files.folders import AXES, HOME, WEIGHTS
from rs_corrector.preference.file import load_preference
axis, preference = load_axis(AXES / "miniature-attire.json"), load_preference(WEIGHTS / "miniature-attire.safetensors")
print(axis.id == preference.axis.id, HOME == pathlib.Path(), AXES.parent == pathlib.Path(rs_corrector.__file__).parent)
"""
    assert run(installed, sys.executable, "-c", script).split() == ["True"] * 3


def test_without_the_extra_every_name_says_how_to_install_it(installed):
    script = """
import rs_corrector
for name in rs_corrector.__all__:
    try:
        getattr(rs_corrector, name)(None, None)
    except ModuleNotFoundError as error:
        print(name, error)
"""
    lines = run(installed, sys.executable, "-S", "-c", script).splitlines()  # -S: without site-packages
    command = 'which is not installed; run: pip install "rs-corrector[diffusers]"'
    assert len(lines) == 12 and all("needs the package" in line and line.endswith(command) for line in lines)


def test_the_version_is_that_of_the_installed_package(installed):
    version = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    assert (
        run(installed, sys.executable, "-S", "-c", "import rs_corrector; print(rs_corrector.__version__)")
        == f"{version}\n"
    )


def test_the_extra_for_diffusers_is_what_the_demo_installs():
    extra = re.search(r"^diffusers = (\[.*\])$", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    lines = (ROOT / "requirements-demo.txt").read_text().splitlines()
    assert json.loads(extra) == [line for line in lines if not line.startswith(("#", "-r"))]
