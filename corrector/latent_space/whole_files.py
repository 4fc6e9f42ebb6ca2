"""Files that are there whole or not at all, whenever the process or the power stops."""

import errno
import os
from contextlib import suppress
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_whole(path, data):
    """Bytes or text (UTF-8) into a file, whose folder is made. Raises OSError; what was in it is then still there."""
    path = Path(path)
    part = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())  # else a power cut could leave an empty file under the final name
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink()
        raise


def why_not(error):
    """An OSError of writing -> what was found and what to do, as half a sentence."""
    if error.errno in FULL:
        return "the disk is full; free some space and run the same again"
    return f"{error.strerror}; choose another place"
