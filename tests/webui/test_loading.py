"""Loading the extension: any folder name, other extensions, reloading, offline."""

import re
import shutil
import socket
import sys
import types
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "scripts" / "rs_corrector.py"
PACKAGE = "rs_corrector_extension"


@pytest.mark.parametrize("name", ["1 pack.main", "nodes"])
def test_it_loads_under_any_folder_name(fakes, tmp_path, name):
    folder = tmp_path / "extensions" / name
    for part in ("corrector", "sd_webui", "scripts"):
        shutil.copytree(REPOSITORY / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "__init__.py", folder)
    script = fakes.load(folder / "scripts" / "rs_corrector.py")
    assert script.title() == "RS-Corrector" and script.show(True) is fakes.scripts.AlwaysVisible
    assert str(folder) in sys.modules[f"{PACKAGE}.corrector.correction.update"].__file__


def test_other_extensions_may_have_modules_of_the_same_names(fakes, monkeypatch):
    others = {name: types.ModuleType(name) for name in ("corrector", "nodes", "sd_webui", "tests", "scripts")}
    for name, module in others.items():
        monkeypatch.setitem(sys.modules, name, module)
    script = fakes.load(SCRIPT)
    assert all(sys.modules[name] is module for name, module in others.items())
    names = {name for kind in type(script).__mro__ for name in [kind.__module__] if name != "builtins"}
    assert f"{PACKAGE}.sd_webui.script" in names


def test_reloading_registers_nothing_twice_and_keeps_no_old_module(fakes):
    fakes.load(SCRIPT)
    first = sys.modules[f"{PACKAGE}.sd_webui.script"]
    count = sum(name.startswith(PACKAGE) for name in sys.modules)
    fakes.load(SCRIPT)  # "Reload UI": the host clears its callbacks first
    ours = {"before_ui": 1, "cfg_denoiser": 1, "cfg_denoised": 1, "cfg_after_cfg": 1}
    assert {event: len(callbacks) for event, callbacks in fakes.callbacks.items()} == ours
    assert sys.modules[f"{PACKAGE}.sd_webui.script"] is not first
    assert sum(name.startswith(PACKAGE) for name in sys.modules) == count


def test_there_is_one_script_file_and_few_modules_import_the_host_and_ours_are_imported_relatively():
    assert [path.name for path in (REPOSITORY / "scripts").glob("*.py")] == ["rs_corrector.py"]
    assert not (REPOSITORY / "preload.py").exists()
    for path in (REPOSITORY / "sd_webui").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        imported = set(re.findall(r"^ *(?:import|from) (\w+)", text, re.MULTILINE))
        allowed = {"script.py": {"modules"}, "page.py": {"gradio"}}.get(path.name, set())
        if path.name in (
            "asking.py",
            "gates.py",
            "prompts.py",
        ):  # which import it where they use it, so that tests need no host
            assert not re.search(r"^(?:import|from) (?:modules|backend)", text, re.MULTILINE)
            allowed = {"modules"}
        assert imported & {"modules", "gradio", "corrector", "nodes"} <= allowed, path.name


def test_loading_needs_no_network_and_no_package_that_hosts_may_lack(fakes, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the extension went to the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    lacking = ("diffusers", "matplotlib", "jsonschema", "scipy", "transformers")
    for name in [name for name in sys.modules if name.split(".")[0] in lacking]:
        monkeypatch.delitem(sys.modules, name)
    for name in lacking:
        monkeypatch.setitem(sys.modules, name, None)  # importing it raises ImportError
    fakes.load(SCRIPT).ui(False)
