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
COMMANDS = {
    "demo": ("-m", "corrector", "demo"),
    "test": ("-m", "pytest", "-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"),
}
ROOM = 2000  # MB that the packages take at least, with a CPU build of torch
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
    if PYTHON.exists() and stamp.is_file() and stamp.read_bytes() == wanted.encode():
        return
    if sys.version_info < (3, 10):  # noqa: UP036
        raise InstallError(f"this is Python {sys.version.split()[0]}; RS-Corrector needs Python 3.10 to 3.13.")
    check_folder()
    make_venv()
    install_torch()
    if not pip("install", "-r", str(requirements(command))):
        raise InstallError(
            f"the installation did not finish; see pip's message above. {free_space()} MB are free on the disk. Check "
            "that and the network, then run the same command again: it continues where it stopped."
        )
    try:
        stamp.write_text(wanted, encoding="utf-8")
    except OSError as error:
        raise InstallError(f"{stamp} cannot be written ({error.strerror}); mend that and run it again.") from None


def check_folder():
    """Raises InstallError if nothing can be installed here."""
    if VENV.is_symlink() or VENV.exists():
        if not VENV.is_dir():
            raise InstallError(f"{VENV} is a file, and the packages go to a folder of that name; rename the file.")
        return
    if free_space() < ROOM:
        raise InstallError(
            f"only {free_space()} MB are free on the disk of {ROOT}, and the packages take about {ROOM} MB or more; "
            "free some space and run the same command again."
        )
    try:
        VENV.mkdir()
        VENV.rmdir()
    except OSError as error:
        raise InstallError(
            f"nothing can be written to {ROOT} ({error.strerror}); copy the folder to a place where you may write."
        ) from None


def free_space():
    """MB that are free where the packages go."""
    return shutil.disk_usage(ROOT).free // 2**20


def requirements(command):
    return ROOT / f"requirements-{command}.txt"


def fingerprint(command):
    """A hash of the command's requirements file and of the files that it includes. Raises InstallError."""
    digest, files = hashlib.sha256(), [requirements(command)]
    for path in files:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise InstallError(f"{path} is missing or damaged; copy or download RS-Corrector again.") from None
        digest.update(text.encode())
        files += [ROOT / name for name in re.findall(r"^-r (\S+)", text, re.MULTILINE)]
    return digest.hexdigest()


def make_venv():
    """Make `.venv` with a working pip; replace it if it is broken (incomplete, or its Python is gone)."""
    if PYTHON.exists() and pip("--version", quiet=True):
        return
    print(f"Making {VENV.name} with Python {sys.version.split()[0]} ...", flush=True)
    try:
        made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], capture_output=True, text=True)
    except OSError as error:
        raise InstallError(f"{sys.executable} cannot be started ({error.strerror}); use another Python.") from None
    if made.returncode or not pip("--version", quiet=True):
        said = (made.stdout + made.stderr).strip()
        raise InstallError(f"{sys.executable} could not make a virtual environment in {VENV}. {why_no_venv(said)}")


def why_no_venv(said):
    """What to do, by what the module venv said."""
    if "No space left" in said or free_space() < 100:
        return f"The disk is full ({free_space()} MB are free); free some space and run the same command again."
    if "Read-only" in said or "Permission denied" in said:
        return "Nothing can be written there; copy the folder to a place where you may write."
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    last = f" It said: {said.splitlines()[-1][:200]}" if said else ""
    return (
        f"On Debian and Ubuntu install the missing part with: sudo apt install python{version}-venv. Elsewhere use the "
        f"Python of python.org. Then run the same command again.{last}"
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
