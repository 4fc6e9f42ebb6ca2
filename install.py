"""Two commands for a first try, and the script that hosts call.

    python install.py demo [--json FILE ...]   draw portraits before and after correction, and report
    python install.py test [pytest arguments]  run the tests

Both make `.venv` beside this file if it is missing and install the requirements files into it. Without arguments, which
is how ComfyUI-Manager and WebUI call this file at every launch, it does nothing.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
# Two processes of tests with a thread each are faster than one with two: small networks gain nothing from a second.
COMMANDS = {"demo": ("-m", "corrector", "demo"), "test": ("-m", "pytest", "-n", "2", "--dist", "loadfile")}
CPU_TORCH = "torch==2.13.0"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


class InstallError(Exception):
    """The installation failed; the message says why and what to do."""


def main(arguments):
    if not arguments:
        return 0  # called by a host, which installs requirements.txt itself or has all of it
    command, *rest = arguments
    if command not in COMMANDS:
        print(f'install.py does not know "{command}"; use: python install.py demo, or: python install.py test')
        return 2
    try:
        prepare(command)
    except InstallError as error:
        print(f"\nRS-Corrector: {error}", file=sys.stderr)
        return 1
    # The tests run from the repository; the demo from where it was called, so that "--json FILE" lands there.
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    if command == "test":
        environment.setdefault("OMP_NUM_THREADS", "1")
    folder = ROOT if command == "test" else None
    return subprocess.call([str(PYTHON), *COMMANDS[command], *rest], env=environment, cwd=folder)


def prepare(command):
    """Make `.venv` and install the requirements of `command`, unless already done. Raises InstallError."""
    wanted = fingerprint(command)
    stamp = VENV / f"rs-corrector-{command}.stamp"
    if PYTHON.exists() and stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return
    if sys.version_info < (3, 10):  # noqa: UP036
        raise InstallError(f"this is Python {sys.version.split()[0]}; RS-Corrector needs Python 3.10 to 3.13.")
    make_venv()
    install_torch()
    if not pip("install", "-r", str(requirements(command))):
        raise InstallError(
            "the installation did not finish; see pip's message above. Check the network and the free disk space, then "
            "run the same command again: it continues where it stopped."
        )
    stamp.write_text(wanted, encoding="utf-8")


def requirements(command):
    return ROOT / f"requirements-{command}.txt"


def fingerprint(command):
    """A hash of the command's requirements file and of the files that it includes."""
    digest, files = hashlib.sha256(), [requirements(command)]
    for path in files:
        text = path.read_text(encoding="utf-8")
        digest.update(text.encode())
        files += [ROOT / name for name in re.findall(r"^-r (\S+)", text, re.MULTILINE)]
    return digest.hexdigest()


def make_venv():
    """Make `.venv` with a working pip; replace it if it is broken (incomplete, or its Python is gone)."""
    if PYTHON.exists() and pip("--version", quiet=True):
        return
    print(f"Making {VENV.name} with Python {sys.version.split()[0]} ...", flush=True)
    if subprocess.call([sys.executable, "-m", "venv", "--clear", str(VENV)]) or not pip("--version", quiet=True):
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        raise InstallError(
            f"{sys.executable} could not make a virtual environment in {VENV}. On Debian and Ubuntu install the "
            f"missing part with: sudo apt install python{version}-venv. Elsewhere use the Python of python.org. "
            "Then run the same command again."
        )


def install_torch():
    """On Linux without an NVIDIA GPU, a CPU build of torch: PyPI's Linux builds bring several GB of CUDA."""
    has_gpu = os.path.exists("/dev/nvidiactl") or shutil.which("nvidia-smi")
    if not sys.platform.startswith("linux") or has_gpu or "torch" in installed():
        return
    # First try a local wheel from pip's own settings (PIP_FIND_LINKS), which needs no network.
    if pip("install", "--no-index", "--no-deps", CPU_TORCH, quiet=True):
        return
    print("No NVIDIA GPU found: looking for a CPU build of torch ...", flush=True)
    if not pip("install", "--no-deps", "--retries", "1", "--index-url", CPU_INDEX, CPU_TORCH):
        print("No CPU build found; installing the default build, several GB.", flush=True)


def installed():
    """Names of the packages in `.venv`."""
    listing = subprocess.run([str(PYTHON), "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True)
    return {line.split("==")[0].lower() for line in listing.stdout.splitlines()}


def pip(*arguments, quiet=False):
    """Run pip in `.venv` -> whether it succeeded."""
    if not PYTHON.exists():
        return False
    sink = subprocess.DEVNULL if quiet else None
    command = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", *arguments]
    return subprocess.call(command, stdout=sink, stderr=sink) == 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
