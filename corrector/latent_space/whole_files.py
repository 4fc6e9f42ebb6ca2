"""Atomic writing: a file is complete or not there, even if the process or the power stops."""

import errno
import os
from contextlib import suppress
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_whole(path, data):
    """Write bytes or text (UTF-8), making the folder. Raises OSError, and then leaves an older file unchanged."""
    path = Path(path)
    part = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())  # otherwise a power cut could leave an empty file under the final name
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink()
        raise


def why_not(error):
    """An OSError from writing -> the cause and what to do, as half a sentence."""
    if error.errno in FULL:
        return "the disk is full; free some space and run the same again"
    return f"{error.strerror}; choose another place"
