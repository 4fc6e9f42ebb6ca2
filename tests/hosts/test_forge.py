"""The checks in `inside_forge/` run on a real Forge's modules, in its own Python; where there is none, they skip."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

INSIDE = Path(__file__).parent / "inside_forge"
REPOSITORY = Path(__file__).resolve().parents[2]
PROMPTS = (
    "", "a portrait of an Orvane person", "a kitten", "a portrait of an Orvane person in a village",
)  # fmt: skip


def folder_of(variable, default):
    folder = Path(os.environ.get(variable) or Path.home() / default)
    if not (folder / "modules" / "script_callbacks.py").is_file():
        pytest.skip(f"No {default} in {folder}: set {variable} to a checkout of it.")
    return folder


def python_of(folder, variable):
    """The host's own Python: named by a variable, or in its `venv`."""
    found = [os.environ.get(variable), folder / "venv/bin/python", folder / "venv/Scripts/python.exe"]
    python = next((Path(path) for path in found if path and Path(path).is_file()), None)
    if python is None:
        pytest.skip(f"{folder} has no Python of its own: make venv there, or set {variable} to one.")
    return python


@pytest.fixture(scope="session")
def reference(tmp_path_factory):
    """The prompts of the checks as the miniature reads them, and its preference for models of SD1.5's kind."""
    from safetensors.torch import save_file

    from corrector.miniature.host import Miniature
    from webui_hosts import relabelled

    folder = tmp_path_factory.mktemp("reference")
    tokens = Miniature().encode(list(PROMPTS))
    save_file(dict(zip(PROMPTS, tokens.clone(), strict=True)), folder / "conditionings.safetensors")
    shipped = REPOSITORY / "weights" / "miniature-backdrop.safetensors"
    relabelled(shipped, folder / "backdrop.safetensors")
    return folder


def checks(inside, python, environment):
    command = [python, "-m", "pytest", "-c", inside / "pytest.ini", "-q", "-p", "no:cacheprovider", inside]
    done = subprocess.run(list(map(str, command)), env={**os.environ, **environment}, capture_output=True, text=True)
    if "No module named pytest" in done.stderr:
        pytest.skip(f"{python} has no pytest: install it there to run these checks.")
    print((done.stdout + done.stderr)[-20000:])
    assert done.returncode == 0, "checks failed inside the host; their report is above"


def test_every_check_holds_inside_forge(reference, tmp_path):
    forge = folder_of("FORGE_PATH", "stable-diffusion-webui-forge")
    python = python_of(forge, "FORGE_PYTHON")
    environment = {
        "FORGE_PATH": str(forge),
        "RS_FORGE_DATA": str(tmp_path / "data"),
        "RS_REFERENCE": str(reference / "conditionings.safetensors"),
        "RS_PREFERENCE": str(reference / "backdrop.safetensors"),
    }
    checks(INSIDE, python, environment)
    assert shutil.which("git") is None or not (forge / "extensions" / "a name of its own").exists()
