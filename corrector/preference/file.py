"""Preference files: safetensors with readable metadata, and a clear refusal of everything else.

Metadata "rs_corrector" is one JSON object: format, name, axis, latent space, configuration of the networks,
calibrations, training figures, licence, thumbnail; or a list "preferences" of such, whose tensors have the prefixes
"0.", "1." and so on. Texts for other programs stand beside it (`modelspec.py`). All is sealed as
`files/tensor_files.py` says.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..axis.axis import axis_complaint, axis_from_dict
from ..files import whole_files
from ..files.errors import RSCorrectorError, short
from ..files.json_files import UnreadableError, complaint
from ..files.tensor_files import KEY, data_hash, header_of, network_of, not_finite, read_sealed, sealed, unsealed
from ..gate.prompt_gate import PromptGate
from ..latents.spaces import LATENT_SPACES
from .calibration import Calibration
from .modelspec import modelspec
from .networks import Distilled
from .preference import Preference

FORMAT = 4  # 1 to 3 are of development versions
LARGEST_PREFERENCE = 16 * 2**20  # bytes; a preference is a few MB
SUFFIX = ".safetensors"
MOST_PREFERENCES = 16  # in a file
LARGEST_WEIGHT = 65504.0  # absolute value in a tensor: that of float16, in which they are saved
PREFERENCE_SCHEMA = Path(__file__).with_name("preference.schema.json")
NETWORKS = {"source": Distilled, "gate": PromptGate}


class PreferenceFileError(RSCorrectorError):
    """A file that is not a usable preference; the message names the file and says what to do."""


def save_preference(preference: Preference, path: Path | str) -> str:
    """Write a preference -> its hash, as `save_preferences`."""
    return save_preferences([preference], path)[0]


def save_preferences(preferences: Sequence[Preference], path: Path | str) -> list[str]:
    """Write preferences of different axes into one file, in fp16 -> their hashes, which are also set.

    Raises PreferenceFileError if they cannot be written; an older file is then left as it was.
    """
    with held(path):
        return write_held(preferences, path)


def check_writable(path: Path | str) -> None:
    """Raises PreferenceFileError if a preference cannot be written to a path; for before it is learned.

    A file that is there must be a preference file, readable or not, as it is replaced.
    """
    path = Path(path)
    if path.is_dir():
        raise PreferenceFileError(f"{path}: this is a folder; name the file to write, as {path / f'mine{SUFFIX}'}.")
    if path.suffix != SUFFIX:
        raise PreferenceFileError(f"{path}: the name of a preference file ends in {SUFFIX}; add that.")
    with _write_errors_named(path):
        whole_files.check_writable(path)
        try:
            replaced = header_of(path)[0] if path.exists() else {KEY: ""}
        except UnreadableError:
            replaced = {}
        if KEY not in replaced:
            raise PreferenceFileError(
                f"{path}: there is another file of this name, which is no preference, and it would be replaced; choose "
                "another name, or move it away."
            )


@contextmanager
def held(path: Path | str) -> Iterator[None]:
    """Hold a preference file while it is read and written again. Raises PreferenceFileError if it cannot be written."""
    with _write_errors_named(path), whole_files.locked(path):
        yield


@contextmanager
def _write_errors_named(path: Path | str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PreferenceFileError(f"{path}: the file cannot be written: {whole_files.why_not(error)}.") from None


def write_held(preferences: Sequence[Preference], path: Path | str) -> list[str]:
    """`save_preferences` into a file that is held."""
    axes = [preference.axis.id for preference in preferences]
    if repeated := next((axis for axis in axes if axes.count(axis) > 1), None):
        raise PreferenceFileError(f'Two preferences of the axis "{repeated}" cannot share a file; keep one of them.')
    parts = [_described(preference) for preference in preferences]
    halves = {
        (f"{index}.{name}" if len(parts) > 1 else name): tensor.detach().cpu().to(torch.float16).contiguous()
        for index, (_, tensors) in enumerate(parts)
        for name, tensor in tensors.items()
    }
    if broken := not_finite(halves):
        raise PreferenceFileError(
            f"{Path(path).name}: nothing was written, as {broken}; learn the preference again, with another seed or "
            "the checkpoint in float32."
        )
    described = [metadata for metadata, _ in parts]
    metadata = described[0] if len(described) == 1 else {"format": FORMAT, "preferences": described}
    data = sealed(metadata, halves, modelspec(preferences, data_hash(halves)))
    whole_files.write_whole(path, data)
    return _set_hashes(preferences, data)


def _described(preference: Preference) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """-> (metadata, tensors) of one preference."""
    if not preference.source.has_weights:
        raise PreferenceFileError("A text preference has no weights to save; keep its two prompts instead.")
    networks = {part: getattr(preference, part) for part in NETWORKS}
    states = {part: network.state_dict() for part, network in networks.items() if network is not None}
    tensors = {f"{part}.{name}": tensor for part, state in states.items() for name, tensor in state.items()}
    metadata = {
        "format": FORMAT,
        "name": preference.name,
        "axis": preference.axis.to_dict(),
        "axis_hash": preference.axis.hash,
        "latent_space": preference.space,
        **{part: network and network.config for part, network in networks.items()},
        "calibrations": [_finite_figures(asdict(calibration)) for calibration in preference.calibrations],
        "training": _finite_figures(preference.training),
        "licence": preference.axis.licence,
        "thumbnail": preference.thumbnail,
    }
    metadata = json.loads(json.dumps(metadata))
    error = complaint(metadata, _schema()) or axis_complaint(metadata["axis"]) or _contradiction(metadata, tensors)
    if error:
        raise PreferenceFileError(f"The preference cannot be saved, as no program could read it: {error.rstrip('.')}.")
    return metadata, tensors


def _finite_figures(figures: Any) -> Any:
    """Figures without those that are NaN or infinity, which JSON does not have."""
    if not isinstance(figures, dict):
        return figures
    finite = {name: value for name, value in figures.items() if not isinstance(value, float) or math.isfinite(value)}
    return {name: _finite_figures(value) for name, value in finite.items()}


def _set_hashes(preferences: Sequence[Preference], data: bytes) -> list[str]:
    """Set the hashes of a file's preferences: that of its bytes, or one for each of several -> the hashes."""
    whole = hashlib.sha256(data).hexdigest()[:10]
    for index, preference in enumerate(preferences):
        several = hashlib.sha256(f"{whole} {index}".encode()).hexdigest()[:10]
        preference.hash = whole if len(preferences) == 1 else several
    return [preference.hash for preference in preferences]


def load_preference(path: Path | str) -> Preference:
    """Read a file of one preference. Raises PreferenceFileError."""
    preferences = load_preferences(path)
    if len(preferences) > 1:
        names = ", ".join(preference.name for preference in preferences)
        raise PreferenceFileError(
            f"{Path(path).name}: it holds {len(preferences)} preferences ({names}) and one is needed; give such a file."
        )
    return preferences[0]


def load_preferences(path: Path | str) -> list[Preference]:
    """Read a preference file -> list of the preferences in it. Raises PreferenceFileError."""
    path = Path(path)
    try:
        return _read(path)
    except FileNotFoundError:
        reason = f"no such file in {path.parent}; pick another or put it back"
    except OSError as error:
        reason = f"it cannot be read ({error.strerror}); pick another"
    except UnreadableError as error:
        reason = str(error)
    raise PreferenceFileError(f"{path.name}: {reason}.")


def _read(path: Path) -> list[Preference]:
    try:
        metadata, tensors, data = read_sealed(path, LARGEST_PREFERENCE)
    except UnreadableError as error:
        raise UnreadableError(f"{error}; pick a preference file (ends in .safetensors)") from None
    if not isinstance(metadata, dict) or type(metadata.get("format")) is not int:
        raise UnreadableError(
            "a safetensors file, but not an RS-Corrector preference; pick one from models/rs_corrector"
        )
    if metadata["format"] > FORMAT:
        raise UnreadableError(
            f"format {metadata['format']} is newer than this RS-Corrector knows ({FORMAT}); update it"
        )
    if metadata["format"] < FORMAT:
        raise UnreadableError(f"format {metadata['format']} is of a development version; learn it again")
    metadata = unsealed(metadata, tensors)
    if metadata is None:
        raise UnreadableError(
            "its checksum is not that of its content, so it was damaged, or another program changed it; copy it again, "
            "or learn it again"
        )
    described = metadata.get("preferences")
    if described is None:
        preferences = [_built(metadata, tensors, path.stem)]
    elif isinstance(described, list) and 0 < len(described) <= MOST_PREFERENCES:
        preferences = [_built(part, _part(tensors, f"{index}."), path.stem) for index, part in enumerate(described)]
    else:
        raise UnreadableError("its list of preferences is broken; combine them again")
    if len({preference.axis.id for preference in preferences}) < len(preferences):
        raise UnreadableError("two of its preferences are of one axis; combine them again")
    _set_hashes(preferences, data)
    return preferences


@cache
def _schema() -> dict[str, Any]:
    return json.loads(PREFERENCE_SCHEMA.read_text(encoding="utf-8"))


def _built(metadata: Any, tensors: dict[str, Tensor], name: str) -> Preference:
    """The preference of metadata and tensors, which are checked; `name` is that of a preference without one."""
    space = metadata.get("latent_space") if isinstance(metadata, dict) else None
    if isinstance(space, str) and space not in LATENT_SPACES:
        raise UnreadableError(
            f'made for the latent space "{space}", which this version does not know; update RS-Corrector'
        )
    try:
        if error := complaint(metadata, _schema()) or not_finite(tensors, LARGEST_WEIGHT):
            raise UnreadableError(error)
        axis = axis_from_dict(metadata["axis"], "its axis")
        if error := _contradiction(metadata, tensors):
            raise UnreadableError(error)
        return Preference(
            axis=axis,
            space=metadata["latent_space"],
            calibrations=tuple(Calibration(**_with_tuples(values)) for values in metadata["calibrations"]),
            training=metadata["training"],
            name=metadata["name"] or name,
            thumbnail=metadata.get("thumbnail", ""),
            **{part: _network(part, metadata.get(part), tensors) for part in NETWORKS},
        )
    except (RSCorrectorError, RuntimeError, TypeError, ValueError, AssertionError) as error:
        reason = short(" ".join(str(error).split()).rstrip("."), 300)
        raise UnreadableError(f"its parts do not fit together ({reason}); learn it again") from None


def _contradiction(metadata: dict[str, Any], tensors: Mapping[str, Tensor]) -> str | None:
    """The first contradiction between fields of metadata or tensors, each of which is valid, or None."""
    groups, source = metadata["axis"]["groups"], metadata["source"]
    if any(network["groups"] != len(groups) for network in (source, metadata.get("gate") or source)):
        return "the number of its axis' groups is not that of its networks"
    if source["space"] != metadata["latent_space"]:
        return "its network is for another latent space"
    for calibration in metadata["calibrations"]:
        if calibration["group"] not in groups:
            return f'a calibration is of the group "{calibration["group"]}", which its axis does not have'
        divisors = calibration.get("lean_spread", 0), calibration.get("lean_sigma", 0)
        if calibration.get("lean_slope") and min(divisors) < 1e-9:
            return "a calibration has a lean without a spread"
    if unused := [name for name in tensors if name.partition(".")[0] not in NETWORKS]:
        return f'its tensor "{unused[0]}" belongs to no network'
    if "gate.spread" in tensors and float(tensors["gate.spread"].min()) < 1e-9:
        return "its gate divides by zero"
    return None


def _with_tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _network(part: str, config: dict[str, Any] | None, tensors: Mapping[str, Tensor]) -> Any:
    """A network with its tensors, or None if there are none."""
    tensors = _part(tensors, f"{part}.")
    if not tensors and part != "source":
        return None
    if config is None:
        raise ValueError("it has tensors of a network that it does not describe")
    return network_of(NETWORKS[part], config, tensors)


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names have a prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def file_hash(path: Path | str) -> str:
    """Ten hex digits of a file's SHA-256, as WebUI shows for models."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:10]
