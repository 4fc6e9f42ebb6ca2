"""Runs the checks in `inside_forge/` on Forge's modules, in its own Python; skipped without Forge."""

from pathlib import Path

from webui_checkouts import checks, folder_of, python_of

INSIDE = Path(__file__).parent / "inside_forge"


def test_all_checks_pass_inside_forge(webui_reference, tmp_path):
    forge = folder_of("FORGE_PATH", "stable-diffusion-webui-forge")
    python = python_of(forge, "FORGE_PYTHON")
    environment = {
        "FORGE_PATH": str(forge),
        "RS_FORGE_DATA": str(tmp_path / "data"),
        "RS_REFERENCE": str(webui_reference / "conditionings.safetensors"),
        "RS_MINIATURE": str(webui_reference),
        "RS_PREFERENCE": str(webui_reference / "backdrop.safetensors"),
    }
    checks(INSIDE, python, environment)
