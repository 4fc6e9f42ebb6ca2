"""Gates that are trained once for an axis and a text encoder, and kept in a folder.

Training takes seconds to a minute, loading some milliseconds. A file holds weights, figures and a hash of what it was
trained for: no name of a group and no wording.
"""

import hashlib
import json
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..axis.axis import Axis
from ..files.json_files import UnreadableError
from ..files.tensor_files import network_of, not_finite, read_sealed, sealed, unsealed
from ..files.whole_files import BusyError, at_work, write_whole
from .prompt_gate import PromptGate
from .train import VERSION, Encode, Progress, train_gate

NAME = "gate-{}.safetensors"
LARGEST_GATE = 16 * 2**20  # bytes; a gate takes 0.2 to 5 MB
LARGEST_FOLDER = 128 * 2**20  # bytes of all gates in it
LONGEST_WAIT = 120.0  # seconds for another process that trains the same gate

LOG = logging.getLogger("rs_corrector")


def kept_gate(
    axis: Axis, encode: Encode, encoder: str, folder: Path | None, progress: Progress | None = None, **settings: Any
) -> tuple[PromptGate, dict]:
    """The gate of an axis and its figures, as `train_gate`: loaded if it was trained before, else trained and kept.

    It is the same gate in both cases, bit for bit. If it cannot be kept, the log says so. Beyond LARGEST_FOLDER, the
    gates in the folder that were used longest ago are deleted.

    Args:
        axis, encode: as for `train_gate`.
        encoder: identity of the text encoder; "" if it is not known, and then nothing is kept.
        folder: where gates are kept, made if it is missing; None to keep nothing.
        progress: as for `train_gate`, not called if the gate is loaded.
        settings: for `train_gate`, as JSON has them.
    """

    def train() -> tuple[PromptGate, dict]:
        return train_gate(axis, encode, progress=progress, **settings)

    if folder is None or not encoder:
        return train()
    key = hashlib.sha256(json.dumps([VERSION, axis.hash, encoder, settings], sort_keys=True).encode()).hexdigest()
    path = folder / NAME.format(key[:20])
    with suppress(OSError, UnreadableError):
        return _load(path, key)
    try:
        with at_work(path, "a gate", LONGEST_WAIT):
            try:
                return _load(path, key)  # another process may have trained it meanwhile
            except UnreadableError as error:
                LOG.warning("%s: this gate cannot be used (%s), so it is trained again.", path, error)
            except OSError:
                pass  # it is not there, and if the folder cannot be used, this is said later
            gate, figures = train()
            _keep(gate, figures, path, key)
            return gate, figures
    except BusyError:
        LOG.warning("%s: another process is still training this gate; it is trained here, too, and not kept.", path)
    return train()


def _load(path: Path, key: str) -> tuple[PromptGate, dict]:
    """The gate in a file and its figures. Raises UnreadableError if it is not that of a key, or OSError."""
    metadata, tensors, _ = read_sealed(path, LARGEST_GATE)
    content = unsealed(metadata, tensors)
    if content is None or content.get("key") != key:
        raise UnreadableError("it is damaged, or another file")
    if broken := not_finite(tensors):
        raise UnreadableError(broken)
    gate = network_of(PromptGate, content["gate"], tensors)
    with suppress(OSError):  # a folder that is read only
        os.utime(path)
    return gate, content["figures"]


def _keep(gate: PromptGate, figures: dict, path: Path, key: str) -> None:
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in gate.state_dict().items()}
    try:
        write_whole(path, sealed({"key": key, "gate": gate.config, "figures": figures}, tensors))
    except OSError as error:
        LOG.warning("%s: the gate was not kept (%s), so it is trained again next time.", path.parent, error.strerror)
    _make_room(path)


def _make_room(path: Path) -> None:
    """Delete the gates in the folder of `path` that were used longest ago, but not that one."""
    gates = []
    for file in path.parent.glob(NAME.format("*")):
        with suppress(OSError):  # another process may delete it
            status = file.stat()
            gates.append((file == path, status.st_mtime, status.st_size, file))
    total = 0
    for in_use, _, size, file in sorted(gates, reverse=True):
        total += size
        if total > LARGEST_FOLDER and not in_use:
            with suppress(OSError):
                file.unlink()
