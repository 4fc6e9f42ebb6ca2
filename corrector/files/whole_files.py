"""Atomic writing: a file is complete or not there, even if the process or the power stops."""

import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import RSCorrectorError, short

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt

ROOM = 4 * 2**20  # bytes; a preference takes 1 to 2 MB
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
PART = ".rs-{}-{}.part"  # process and a random number: two runs that write the same file do not meet
OF_PROCESS = re.compile(r"\.rs-(\d+)-[0-9a-f]+\.part")
RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)  # on Windows
LONGEST_NAME = 255  # bytes, on all common file systems
WORK = ".rs-work"  # how the name of the file begins that `at_work` locks
LOCK = ".rs-lock"  # the file that is locked on Windows, where folders cannot be opened


def write_whole(path, data):
    """Write bytes or text (UTF-8), making the folder. Raises OSError, and then leaves an older file unchanged.

    Of a symlink the target is written. What UTF-8 cannot hold (lone surrogates) becomes a question mark.
    """
    path, data = target_of(path), data.encode("utf-8", "replace") if isinstance(data, str) else data
    try:
        _write(path, data)
    except FileNotFoundError:  # the folder vanished, or another machine took the part for one that was left
        _write(path, data)


def _write(path, data):
    part = path.with_name(PART.format(os.getpid(), secrets.token_hex(4)))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        clean(path.parent)
        with open(part, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # otherwise a power cut could leave an empty file under the final name
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        error.filename = str(path)  # the part's name says nothing
        raise


@contextmanager
def at_work(path: Path, what: str, wait: bool = False) -> Iterator[None]:
    """Hold a file or folder for as long as something is made for it, which may be hours.

    The system ends this when the process dies. Where no lock can be had, as in a folder that is read only or on some
    network drives, nothing is held. Raises BusyError at once if another process holds it, or this one a second time.

    Args:
        path: of the file or the folder.
        what: what is made, for the message: "pairs".
        wait: wait for the other process instead of raising.
    """
    from filelock import FileLock, Timeout  # torch brings it, and the shell's --help works without torch

    path = Path(os.path.realpath(path))
    if path.is_dir():
        lock = path / f"{WORK}.lock"
    else:
        lock = path.with_name(f"{WORK}-{hashlib.sha256(path.name.encode()).hexdigest()[:10]}.lock")
    held = FileLock(lock, timeout=-1 if wait else 0)
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        held.acquire()
    except Timeout:
        with suppress(OSError):
            if process := lock.read_text(encoding="utf-8").strip():
                raise BusyError(path, what, f"process {process}") from None
        raise BusyError(path, what, "another process") from None
    except (OSError, NotImplementedError):
        held = None
    try:
        if held:
            with suppress(OSError):  # Windows lets nobody write to a locked file
                lock.write_text(str(os.getpid()), encoding="utf-8")
        yield
    finally:
        if held:
            with suppress(OSError):  # Windows deletes no locked file; it stays, empty
                lock.unlink()
            held.release()


class BusyError(RSCorrectorError):
    """Another process makes something for the same file or folder."""

    def __init__(self, path, what, who):
        super().__init__(
            f"{path}: {who} is making {what} here; wait until it is done, and run the same again to go on from there, "
            "or choose another place."
        )


@contextmanager
def locked(path):
    """Hold the folder of a file while it is read and written again; others that want to hold it wait.

    The system ends the lock of a process that dies. File systems without locks (some network drives) are not held.
    Raises OSError if the folder cannot be made or opened.
    """
    folder = target_of(path).parent
    folder.mkdir(parents=True, exist_ok=True)
    file = os.open(folder, os.O_RDONLY) if fcntl else os.open(folder / LOCK, os.O_RDWR | os.O_CREAT)
    try:
        with suppress(OSError):
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_EX)
            else:
                msvcrt.locking(file, msvcrt.LK_LOCK, 1)
        yield
    finally:
        os.close(file)


def check_writable(path):
    """Raises OSError if `write_whole` could not write a file of up to ROOM, to be told before hours of work."""
    path = target_of(path)
    existed = path.parent.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(PART.format(os.getpid(), secrets.token_hex(4)))
        part.touch()
        part.unlink()
        if shutil.disk_usage(path.parent).free < ROOM:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        if not existed:
            with suppress(OSError):  # it could not be made
                path.parent.rmdir()


def target_of(path):
    """The file to write for a path: that to which a symlink points. Raises OSError if it cannot be a file."""
    path = Path(path)
    if wrong := wrong_name(path.name):
        raise OSError(errno.EINVAL, wrong, short(path, 300))
    path = Path(os.path.realpath(path)) if path.is_symlink() else path
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EISDIR, f"it is a {'folder' if path.is_dir() else 'device'}, not a file", str(path))
    return path


def wrong_name(name):
    """Why no file can have this name on all systems, in half a sentence, or None."""
    if RESERVED.fullmatch(name):
        return f'the name "{name}" is reserved on Windows'
    if "\0" in name:
        return "the name holds a zero character"
    if len(name.encode("utf-8", "surrogatepass")) > LONGEST_NAME:
        return f'the name "{short(name, 40)}" is longer than {LONGEST_NAME} bytes'
    return None


def clean(folder):
    """Delete the parts that processes left which have been killed."""
    for path in Path(folder).glob(PART.format("*", "*")):
        found = OF_PROCESS.fullmatch(path.name)
        if found and not _is_running(int(found[1])):
            with suppress(OSError):  # of another user, or gone already
                path.unlink()


def _is_running(process):
    if os.name == "nt":  # there a signal 0 would end it, and a file that it has open cannot be deleted anyway
        return process == os.getpid()
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # of another user
        pass
    return True


def why_not(error):
    """An OSError from writing -> the cause and what to do, as half a sentence."""
    if error.errno in FULL:
        return "the disk is full; free some space and run the same again"
    return f"{error.strerror}; choose another place"
