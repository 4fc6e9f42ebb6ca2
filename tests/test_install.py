"""install.py: the call of hosts at every launch, and the commands `demo` and `test`."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Loaded before install.py in a subprocess; exits if it writes a file, starts a program or uses the network.
WATCH = """
import os, sys

def watch(event, args):
    writes = event == "open" and (args[1] and set(args[1]) & set("wax+") or args[2] & (os.O_WRONLY | os.O_RDWR))
    if writes or event.startswith(("socket.", "subprocess.", "os.mkdir", "os.remove", "os.rename", "shutil.")):
        os.write(2, f"install.py did {event} {args}".encode())
        os._exit(99)

sys.addaudithook(watch)
"""


@pytest.fixture
def folder(tmp_path):
    """A folder with install.py and the requirements, without an installation."""
    for path in (ROOT / "install.py", *ROOT.glob("requirements*.txt")):
        shutil.copy(path, tmp_path)
    return tmp_path


def call(folder, *arguments, **environment):
    command = [sys.executable, "-B", str(folder / "install.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, cwd=folder)


def test_a_hosts_launch_takes_less_than_a_second_without_writing_or_network(folder):
    watch = folder / "watch"
    watch.mkdir()
    (watch / "sitecustomize.py").write_text(WATCH)
    before = sorted(folder.rglob("*"))
    start = os.times()
    result = call(folder, PYTHONPATH=str(watch))
    spent = os.times()
    # CPU time, which does not depend on the load of the machine.
    assert spent.children_user + spent.children_system - start.children_user - start.children_system < 1
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert sorted(folder.rglob("*")) == before


def test_an_unknown_command_lists_the_commands(folder):
    result = call(folder, "dmeo")
    assert result.returncode == 2
    assert '"dmeo"' in result.stdout and "install.py demo" in result.stdout and "install.py test" in result.stdout


def said_by(folder, *lines):
    """What `install.py demo` says after some lines of Python, in the same process."""
    script = "\n".join(["import errno, install", *lines, "raise SystemExit(install.main(['demo']))"])
    result = subprocess.run([sys.executable, "-B", "-c", script], cwd=folder, capture_output=True, text=True)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    return result.stderr


def test_each_cause_of_a_failure_has_its_own_sentence(folder):
    assert "only 12 MB are free" in said_by(folder, "install.free_space = lambda: 12")
    refuse = "def refuse(*_, **__): raise OSError(errno.EROFS, 'Read-only file system')"
    said = said_by(folder, refuse, "install.Path.mkdir = refuse")
    assert f"nothing can be written to {folder} (Read-only file system)" in said and "venv: sudo" not in said
    result = "type('', (), dict(returncode=1, stdout='', stderr='no ensurepip'))"
    said = said_by(folder, f"install.subprocess.run = lambda *_, **__: {result}")
    assert f"sudo apt install python{sys.version_info[0]}.{sys.version_info[1]}-venv" in said
    assert "It said: no ensurepip" in said
    shutil.rmtree(folder / ".venv")
    (folder / ".venv").touch()
    assert ".venv is a file" in said_by(folder)
    failing = "install.make_venv = install.install_torch = lambda: None", "install.pip = lambda *_, **__: False"
    assert "the installation did not finish" in said_by(folder, *failing)


def run_installed(folder, command, *arguments, where):
    """Run a command as if its requirements were installed, with this Python."""
    script = (
        f"import sys; sys.path.insert(0, {str(folder)!r}); import install; install.prepare = lambda _: None; "
        f"install.PYTHON = sys.executable; sys.exit(install.main({[command, *arguments]}))"
    )
    return subprocess.run([sys.executable, "-B", "-c", script], capture_output=True, text=True, cwd=where)


def test_arguments_of_the_demo_are_passed_on_in_the_callers_folder(folder):
    package = folder / "corrector"
    package.mkdir()
    (package / "__init__.py").touch()  # otherwise a real `corrector` on PYTHONPATH has priority
    (package / "__main__.py").write_text("import json, os, sys; print(json.dumps([os.getcwd(), *sys.argv[1:]]))")
    elsewhere = folder / "a folder"
    elsewhere.mkdir()
    result = run_installed(folder, "demo", "--json", "figures.json", where=elsewhere)
    where, *arguments = json.loads(result.stdout)
    assert os.path.samefile(where, elsewhere) and arguments == ["demo", "--json", "figures.json"]


def test_arguments_of_the_tests_and_their_exit_status_are_passed_on(folder):
    (folder / "pytest.py").write_text("import sys; print(sys.argv[1:]); sys.exit(5)")
    result = run_installed(folder, "test", "-k", "strength and zero", where=folder)
    assert result.returncode == 5
    assert result.stdout.strip().endswith("'-k', 'strength and zero']")


def test_requirements_have_no_torch_or_numpy_and_pin_nothing():
    lines = (ROOT / "requirements.txt").read_text().split()
    assert not {"torch", "numpy"} & set(lines)
    assert all(re.fullmatch(r"[A-Za-z0-9-]+(>=[\d.]+)?", line) for line in lines)
    pyproject = (ROOT / "pyproject.toml").read_text()
    dependencies = re.search(r"^dependencies = (\[.*\])$", pyproject, re.MULTILINE)[1]
    assert json.loads(dependencies) == lines
