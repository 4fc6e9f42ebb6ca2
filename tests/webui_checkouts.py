"""Finds checkouts of Forge and A1111, and runs checks inside them with their own Python."""

import os
import subprocess
from pathlib import Path

import pytest


def folder_of(variable, default):
    folder = Path(os.environ.get(variable) or Path.home() / default)
    if not (folder / "modules" / "script_callbacks.py").is_file():
        pytest.skip(f"There is no {default} in {folder}: set {variable} to a checkout of it.")
    return folder


def python_of(folder, variable):
    """The host's own Python: named by a variable, or in its `venv`."""
    found = [os.environ.get(variable), folder / "venv/bin/python", folder / "venv/Scripts/python.exe"]
    python = next((Path(path) for path in found if path and Path(path).is_file()), None)
    if python is None:
        pytest.skip(f"{folder} has no virtual environment: create `venv` there, or set {variable} to a Python.")
    return python


def checks(inside, python, environment):
    command = [python, "-m", "pytest", "-c", inside / "pytest.ini", "-q", "-p", "no:cacheprovider", inside]
    done = subprocess.run(list(map(str, command)), env={**os.environ, **environment}, capture_output=True, text=True)
    if "No module named pytest" in done.stderr:
        pytest.skip(f"{python} has no pytest: install it there to run these checks.")
    print((done.stdout + done.stderr)[-20000:])
    assert done.returncode == 0, "checks failed inside the host; see the report above"
