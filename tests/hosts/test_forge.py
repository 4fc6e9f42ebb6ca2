"""The checks in `inside_forge/` run on a real Forge's modules, in its own Python; where there is none, they skip."""

from pathlib import Path

from webui_checkouts import checks, folder_of, python_of

INSIDE = Path(__file__).parent / "inside_forge"


def test_every_check_holds_inside_forge(webui_reference, tmp_path):
    forge = folder_of("FORGE_PATH", "stable-diffusion-webui-forge")
    python = python_of(forge, "FORGE_PYTHON")
    environment = {
        "FORGE_PATH": str(forge),
        "RS_FORGE_DATA": str(tmp_path / "data"),
        "RS_REFERENCE": str(webui_reference / "conditionings.safetensors"),
        "RS_PREFERENCE": str(webui_reference / "backdrop.safetensors"),
    }
    checks(INSIDE, python, environment)
