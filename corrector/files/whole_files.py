"""Atomic writing: a file is complete or not there, even if the process or the power stops. Locks on files."""

import errno
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from .errors import RSCorrectorError

ROOM_FOR_RESULT = 4 * 2**20  # bytes; a preference takes 1 to 2 MB
DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
PART = ".rs-{}.part"  # with a random number: two runs that write the same file do not meet
PART_IS_LEFT = 24 * 3600  # seconds after which the process that wrote a part is surely gone
LOCK_NAME = ".rs-work"  # how the names of lock files begin


def write_whole(path: Path | str, data: bytes | str) -> None:
    """Write bytes or text (UTF-8), making the folder. Raises OSError, and then leaves an older file unchanged.

    Of a symlink the target is written. What UTF-8 cannot hold (lone surrogates) becomes a question mark.
    """
    path = target_of(path)
    part = _part_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        clean(path.parent)
        with open(part, "xb") as file:
            file.write(data.encode("utf-8", "replace") if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())  # otherwise a power cut could leave an empty file under the final name
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        error.filename = str(path)  # the part's name says nothing
        raise


def target_of(path: Path | str) -> Path:
    """The file to write for a path: that to which a symlink points. Raises OSError if it cannot be a file."""
    path = Path(path)
    path = Path(os.path.realpath(path)) if path.is_symlink() else path
    if path.exists() and not path.is_file():
        raise OSError(errno.EISDIR, f"it is a {'folder' if path.is_dir() else 'device'}, not a file", str(path))
    return path


def _part_of(path: Path) -> Path:
    return path.with_name(PART.format(secrets.token_hex(8)))


def clean(folder: Path) -> None:
    """Delete the parts that killed processes left."""
    for path in folder.glob(PART.format("*")):
        with suppress(OSError):  # of another user, or gone already
            if path.stat().st_mtime < time.time() - PART_IS_LEFT:
                path.unlink()


def check_writable(path: Path | str) -> None:
    """Raises OSError if `write_whole` could not write a result, to be told before hours of work."""
    path = target_of(path)
    existed = path.parent.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = _part_of(path)
        part.touch()
        part.unlink()
        if shutil.disk_usage(path.parent).free < ROOM_FOR_RESULT:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        if not existed:
            with suppress(OSError):  # it could not be made
                path.parent.rmdir()


def why_not(error: OSError) -> str:
    """An OSError from writing -> the cause and what to do, as half a sentence."""
    if error.errno in DISK_IS_FULL:
        return "the disk is full; free some space and run the same again"
    return f"{error.strerror}; choose another place"


class BusyError(RSCorrectorError):
    """Another process makes something for the same file or folder."""

    def __init__(self, path: Path, what: str, who: str):
        super().__init__(
            f"{path}: {who} is making {what} here; wait until it is done, and run the same again to go on from there, "
            "or choose another place."
        )


@contextmanager
def at_work(path: Path, what: str, wait: float = 0) -> Iterator[None]:
    """Hold a file or folder for as long as something is made for it, which may be hours.

    The system ends this when the process dies. Where no lock can be had, as in a folder that is read only or on some
    network drives, nothing is held. Raises BusyError if another process holds it, or this one a second time.

    Args:
        path: of the file or the folder.
        what: what is made, for the message: "pairs".
        wait: seconds to wait for the other process before raising; -1 for as long as it takes.
    """
    from filelock import FileLock, Timeout  # torch brings it, and the shell's --help works without torch

    path = Path(os.path.realpath(path))
    if os.path.isdir(path):  # False for names that no file can have
        file = path / f"{LOCK_NAME}.lock"
    else:
        file = path.with_name(f"{LOCK_NAME}-{hashlib.sha256(path.name.encode()).hexdigest()[:10]}.lock")
    lock = FileLock(file, timeout=wait)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        process = ""
        with suppress(OSError):
            process = file.read_text(encoding="utf-8").strip()
        raise BusyError(path, what, f"process {process}" if process else "another process") from None
    except (OSError, NotImplementedError):
        yield
        return
    try:
        with suppress(OSError):  # Windows lets nobody write to a locked file
            file.write_text(str(os.getpid()), encoding="utf-8")
        yield
    finally:
        with suppress(OSError):  # Windows deletes no locked file; it stays, empty
            file.unlink()
        lock.release()


def locked(path: Path | str) -> AbstractContextManager[None]:
    """Hold a file while it is read and written again; others that want to hold it wait.

    It may be held by `at_work` at the same time. Raises OSError if its folder cannot be made, and as `target_of`.
    """
    path = target_of(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return at_work(path.with_name(f"{path.name} is written"), "a file", wait=-1)
