"""Runs the checks in `inside_a1111/` on A1111's own files, with stubs for others; skipped without A1111."""

import shutil
from pathlib import Path

import pytest

from webui_checkouts import checks, folder_of, python_of

INSIDE = Path(__file__).parent / "inside_a1111"


def test_all_checks_pass_on_a1111s_files(webui_reference, tmp_path):
    a1111 = folder_of("A1111_PATH", "stable-diffusion-webui")
    try:
        python = python_of(a1111, "A1111_PYTHON")
    except pytest.skip.Exception:  # Forge's environment also has what these files import
        python = python_of(folder_of("FORGE_PATH", "stable-diffusion-webui-forge"), "FORGE_PYTHON")
    (folder := tmp_path / "models" / "rs_corrector").mkdir(parents=True)
    shutil.copy(webui_reference / "backdrop.safetensors", folder)
    environment = {
        "A1111_PATH": str(a1111),
        "RS_MODELS": str(folder.parent),
        "RS_MINIATURE": str(webui_reference),
        "RS_REFERENCE": str(webui_reference / "conditionings.safetensors"),
    }
    checks(INSIDE, python, environment)
