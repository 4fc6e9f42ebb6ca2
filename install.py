"""Two commands for a first try, and the script that hosts call.

    python install.py demo [--json FILE ...]   draw portraits before and after correction, and report
    python install.py test [pytest arguments]  run the tests

Both make `.venv` beside this file if it is missing and install the requirements files into it. Without arguments, which
is how ComfyUI-Manager and WebUI call this file at every launch, it does nothing.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
# Two processes of tests with a thread each are faster than one with two: small networks gain nothing from a second.
COMMANDS = {
    "demo": ("-m", "corrector", "demo"),
    "test": ("-m", "pytest", "-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"),
}
ROOM_FOR_PACKAGES = 2000  # MB at least, with a CPU build of torch
CPU_TORCH = "torch==2.13.0"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


class InstallError(Exception):
    """The installation failed; the message says why and what to do."""


def main(arguments: list[str]) -> int:
    if not arguments:
        return 0  # called by a host, which installs requirements.txt itself or has all of it
    command, *options = arguments
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
    return subprocess.call([str(PYTHON), *COMMANDS[command], *options], env=environment, cwd=folder)


def prepare(command: str) -> None:
    """Make `.venv` and install the requirements of `command`, unless already done. Raises InstallError."""
    requirements = str(ROOT / f"requirements-{command}.txt")
    if pip("install", "--no-index", "-r", requirements, quiet=True):
        return
    if sys.version_info < (3, 10):  # noqa: UP036
        raise InstallError(f"this is Python {sys.version.split()[0]}; RS-Corrector needs Python 3.10 to 3.13.")
    try:
        make_venv()
    except OSError as error:
        raise InstallError(
            f"nothing can be written to {ROOT} ({error.strerror}); copy the folder to a place where you may write."
        ) from None
    install_torch()
    if not pip("install", "-r", requirements):
        raise InstallError(
            f"the installation did not finish; see pip's message above. {free_space()} MB are free on the disk. Check "
            "that and the network, then run the same command again: it continues where it stopped."
        )


def make_venv() -> None:
    """Make `.venv` with a working pip; replace it if it is broken (incomplete, or its Python is gone)."""
    if pip("--version", quiet=True):
        return
    if VENV.is_file():
        raise InstallError(f"{VENV} is a file, and the packages go to a folder of that name; rename the file.")
    if free_space() < ROOM_FOR_PACKAGES:
        raise InstallError(
            f"only {free_space()} MB are free on the disk of {ROOT}, and the packages take about {ROOM_FOR_PACKAGES} "
            "MB or more; free some space and run the same command again."
        )
    VENV.mkdir(exist_ok=True)  # told apart from a failure of the module venv
    print(f"Making {VENV.name} with Python {sys.version.split()[0]} ...", flush=True)
    result = subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], capture_output=True, text=True)
    if result.returncode or not pip("--version", quiet=True):
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        output = (result.stdout + result.stderr).strip()
        last_line = f" It said: {output.splitlines()[-1][:200]}" if output else ""
        raise InstallError(
            f"{sys.executable} could not make a virtual environment in {VENV}. On Debian and Ubuntu install the "
            f"missing part with: sudo apt install python{version}-venv. Elsewhere use the Python of python.org. Then "
            f"run the same command again.{last_line}"
        )


def free_space() -> int:
    """MB that are free where the packages go."""
    return shutil.disk_usage(ROOT).free // 2**20


def install_torch() -> None:
    """On Linux without an NVIDIA GPU, a CPU build of torch: PyPI's Linux builds bring several GB of CUDA."""
    has_gpu = os.path.exists("/dev/nvidiactl") or shutil.which("nvidia-smi")
    if not sys.platform.startswith("linux") or has_gpu or pip("show", "torch", quiet=True):
        return
    # First try a local wheel from pip's own settings (PIP_FIND_LINKS), which needs no network.
    if pip("install", "--no-index", "--no-deps", CPU_TORCH, quiet=True):
        return
    print("No NVIDIA GPU found: looking for a CPU build of torch ...", flush=True)
    if not pip("install", "--no-deps", "--retries", "1", "--index-url", CPU_INDEX, CPU_TORCH):
        print("No CPU build found; installing the default build, several GB.", flush=True)


def pip(*arguments: str, quiet: bool = False) -> bool:
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
