"""Preference files: safetensors with readable metadata, and a clear refusal of everything else.

Metadata "rs_corrector" is one JSON object: format, name, axis, latent space, configuration of the networks,
calibrations, training figures, licence; or a list "preferences" of such, whose tensors have the prefixes "0.", "1." and
so on. Its last field is the checksum of all others and of the tensors: a file of which a bit has changed is refused. No
pickle: nothing in a file is executed.
"""

import hashlib
import json
import math
from collections import Counter
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import save

from ..axis.axis import axis_from_dict
from ..files import whole_files
from ..files.errors import RSCorrectorError, short
from ..files.json_files import LARGEST as LARGEST_TEXT
from ..files.json_files import UnreadableError, parse_json
from ..files.json_schema import complaint
from ..files.tensor_files import checksum, not_finite, read_header, read_tensors
from ..gate.prompt_gate import PromptGate
from ..latents.spaces import LATENT_SPACES
from .calibration import Calibration
from .judge import Judge
from .networks import Distilled
from .preference import Preference

FORMAT = 3  # 1 and 2 are of development versions
KEY, CHECKSUM = "rs_corrector", "checksum"
LARGEST = 16 * 2**20  # bytes; a preference is a few MB
SUFFIX = ".safetensors"
SEVERAL = 16  # preferences in a file, at most
HIGHEST = 65504.0  # absolute value in a tensor: that of float16, in which they are saved
SCHEMA = Path(__file__).with_name("preference.schema.json")


class PreferenceFileError(RSCorrectorError):
    """A file that is not a usable preference; the message names the file and says what to do."""


def save_preference(preference, path):
    """Write a preference -> its hash, as `save_preferences`."""
    return save_preferences([preference], path)[0]


def check_writable(path: Path) -> None:
    """Raises PreferenceFileError if a preference cannot be written to a path; for before it is learned.

    A file that is there must be a preference file, as it is replaced.
    """
    path = Path(path)
    if path.is_dir():
        raise PreferenceFileError(f"{path}: this is a folder; name the file to write, as {path / f'mine{SUFFIX}'}.")
    if path.suffix != SUFFIX:
        raise PreferenceFileError(f"{path}: the name of a preference file ends in {SUFFIX}; add that.")
    with _told(path):
        whole_files.check_writable(path)
        if path.exists() and not _is_preference(path):
            raise PreferenceFileError(
                f"{path}: there is another file of this name, which is no preference, and it would be replaced; choose "
                "another name, or move it away."
            )


def _is_preference(path):
    """Whether a file says that it is a preference, readable or not."""
    try:
        return KEY in read_header(path, types=None).metadata
    except UnreadableError:
        return False


def save_preferences(preferences, path):
    """Write preferences of different axes into one file, in fp16 -> their hashes, which are also set.

    Raises PreferenceFileError if they cannot be written; an older file is then left as it was.
    """
    with held(path):
        return write_held(preferences, path)


@contextmanager
def held(path):
    """Hold a preference file while it is read and written again. Raises PreferenceFileError if it cannot be written."""
    with _told(path), whole_files.locked(path):
        yield


@contextmanager
def _told(path):
    """Tell of a file that cannot be written by a PreferenceFileError."""
    try:
        yield
    except OSError as error:
        raise PreferenceFileError(f"{path}: the file cannot be written: {whole_files.why_not(error)}.") from None


def write_held(preferences, path):
    """`save_preferences` into a file that is held."""
    described, tensors = [], {}
    for index, preference in enumerate(preferences):
        metadata, own = _described(preference)
        described.append(metadata)
        prefix = f"{index}." if len(preferences) > 1 else ""
        tensors |= {prefix + name: tensor for name, tensor in own.items()}
    axes = Counter(preference.axis.id for preference in preferences)
    if twice := next((axis for axis, times in axes.items() if times > 1), None):
        raise PreferenceFileError(f'Two preferences of the axis "{twice}" cannot share a file; keep one of them.')
    metadata = described[0] if len(described) == 1 else {"format": FORMAT, "preferences": described}
    path, halves = Path(path), {name: t.detach().cpu().to(torch.float16).contiguous() for name, t in tensors.items()}
    if broken := not_finite(halves):
        raise PreferenceFileError(
            f"{path.name}: nothing was written, as {broken}; learn the preference again, with another seed or the "
            "checkpoint in float32."
        )
    metadata = {**metadata, CHECKSUM: checksum(json.dumps(metadata), halves)}
    data = save(halves, {KEY: json.dumps(metadata)})  # one text: safetensors writes several in any order
    whole_files.write_whole(path, data)
    return _set_hashes(preferences, data)


def _described(preference):
    """-> (metadata, tensors) of one preference."""
    if not preference.source.has_weights:
        raise PreferenceFileError("A text preference has no weights to save; keep its two prompts instead.")
    parts = {part: getattr(preference, part) for part in ("source", "gate", "judge") if getattr(preference, part)}
    tensors = {f"{part}.{name}": t for part, module in parts.items() for name, t in module.state_dict().items()}
    metadata = {
        "format": FORMAT,
        "name": preference.name,
        "axis": preference.axis.to_dict(),
        "axis_hash": preference.axis.hash,
        "latent_space": preference.space,
        "source": preference.source.config,
        "gate": preference.gate and preference.gate.config,
        "judge": preference.judge and preference.judge.config,
        "calibrations": [_finite(asdict(c)) for c in preference.calibrations],
        "training": _finite(preference.training),
        "licence": preference.axis.licence,
    }
    metadata = json.loads(json.dumps(metadata))
    wrong = complaint(metadata, _schema()) or _across_fields(metadata, tensors)
    if wrong:
        raise PreferenceFileError(f"The preference cannot be saved, as no program could read it: {wrong.rstrip('.')}.")
    return metadata, tensors


def _finite(figures):
    """Figures without those that are NaN or infinity, which JSON does not have."""
    if not isinstance(figures, dict):
        return figures
    left = {name: value for name, value in figures.items() if not isinstance(value, float) or math.isfinite(value)}
    return {name: _finite(value) for name, value in left.items()}


def _set_hashes(preferences, data):
    """Set the hashes of a file's preferences: that of its bytes, or one for each of several -> the hashes."""
    whole = hashlib.sha256(data).hexdigest()[:10]
    for index, preference in enumerate(preferences):
        several = hashlib.sha256(f"{whole} {index}".encode()).hexdigest()[:10]
        preference.hash = whole if len(preferences) == 1 else several
    return [preference.hash for preference in preferences]


def load_preference(path):
    """Read a file of one preference. Raises PreferenceFileError."""
    found = load_preferences(path)
    if len(found) > 1:
        names = ", ".join(preference.name for preference in found)
        raise PreferenceFileError(
            f"{Path(path).name}: it holds {len(found)} preferences ({names}) and one is needed; give a file of one."
        )
    return found[0]


def load_preferences(path):
    """Read a preference file -> list of the preferences in it. Raises PreferenceFileError."""
    path = Path(path)
    try:
        header, tensors, data = read_tensors(path, LARGEST)
        metadata = parse_json(header.metadata.get(KEY, "null"), largest=2 * LARGEST_TEXT)
    except FileNotFoundError:
        raise PreferenceFileError(f"{path.name}: no such file in {path.parent}; pick another or put it back.") from None
    except OSError as error:
        raise PreferenceFileError(f"{path.name}: it cannot be read ({error.strerror}); pick another.") from None
    except UnreadableError as error:
        raise PreferenceFileError(f"{path.name}: {error}; pick a preference file (ends in .safetensors).") from None
    if not isinstance(metadata, dict) or type(metadata.get("format")) is not int:
        raise PreferenceFileError(
            f"{path.name}: a safetensors file, but not an RS-Corrector preference; pick one from models/rs_corrector."
        )
    if metadata["format"] > FORMAT:
        raise PreferenceFileError(
            f"{path.name}: format {metadata['format']} is newer than this RS-Corrector knows ({FORMAT}); update it."
        )
    if metadata["format"] < FORMAT:
        raise PreferenceFileError(
            f"{path.name}: format {metadata['format']} is of a development version; learn it again."
        )
    if CHECKSUM not in metadata:
        raise PreferenceFileError(f"{path.name}: it has no checksum, as of a development version; learn it again.")
    if metadata.pop(CHECKSUM) != checksum(json.dumps(metadata), tensors):
        raise PreferenceFileError(
            f"{path.name}: its checksum is not that of its content, so it was damaged, or another program changed it; "
            "copy it again, or learn it again."
        )
    several = metadata.get("preferences")
    if several is None:
        found = [_checked(metadata, tensors, path)]
    elif isinstance(several, list) and 0 < len(several) <= SEVERAL and all(isinstance(one, dict) for one in several):
        found = [_checked(one, _part(tensors, f"{index}."), path) for index, one in enumerate(several)]
    else:
        raise PreferenceFileError(f"{path.name}: its list of preferences is broken; combine them again.")
    if len({preference.axis.id for preference in found}) < len(found):
        raise PreferenceFileError(f"{path.name}: two of its preferences are of one axis; combine them again.")
    _set_hashes(found, data)
    return found


@cache
def _schema():
    return json.loads(SCHEMA.read_text(encoding="utf-8"))


def _checked(metadata, tensors, path):
    """The preference of metadata and tensors, which are checked."""
    space = metadata.get("latent_space")
    if isinstance(space, str) and space not in LATENT_SPACES:
        raise PreferenceFileError(
            f'{path.name}: made for the latent space "{space}", which this version does not know; update RS-Corrector.'
        )
    try:
        wrong = complaint(metadata, _schema()) or not_finite(tensors, HIGHEST) or _across_fields(metadata, tensors)
        if not wrong:
            return _build(metadata, tensors, path)
    except (RSCorrectorError, RuntimeError, TypeError, ValueError, AssertionError) as error:
        wrong = " ".join(str(error).split())
    raise PreferenceFileError(
        f"{path.name}: its parts do not fit together ({short(wrong.rstrip('.'), 300)}); learn it again."
    ) from None


def _across_fields(metadata, tensors):
    """Checks across fields, which a schema cannot express -> what is wrong, or None."""
    groups, source = metadata["axis"].get("groups"), metadata["source"]
    own = [source["groups"], *([metadata["gate"]["groups"]] if metadata.get("gate") else [])]
    if not isinstance(groups, list) or any(number != len(groups) for number in own):
        return "the number of its axis' groups is not that of its networks"
    if source["space"] != metadata["latent_space"]:
        return "its network is for another latent space"
    if metadata.get("judge") and metadata["judge"]["channels"] != LATENT_SPACES[source["space"]].channels:
        return "its judge is for another latent space"
    for known in metadata["calibrations"]:
        if known["group"] not in groups:
            return f'a calibration is of the group "{known["group"]}", which its axis does not have'
        divisors = known.get("lean_spread", 0), known.get("lean_sigma", 0)
        if known.get("lean_slope") and min(divisors) < 1e-9:
            return "a calibration has a lean without a spread"
    if "gate.spread" in tensors and float(tensors["gate.spread"].min()) < 1e-9:
        return "its gate divides by zero"
    return None


def _build(metadata, tensors, path):
    kinds = {"source": Distilled, "gate": PromptGate, "judge": Judge}
    networks = {name: (kind, metadata.get(name)) for name, kind in kinds.items()}
    if unused := [name for name in tensors if name.partition(".")[0] not in networks]:
        raise ValueError(f'its tensor "{unused[0]}" belongs to no network')
    with torch.inference_mode(False):  # ComfyUI runs nodes in it, and tensors of it cannot be trained
        parts = {name: _filled(*network, _part(tensors, f"{name}.")) for name, network in networks.items()}
    return Preference(
        axis=axis_from_dict(metadata["axis"], "its axis"),
        space=metadata["latent_space"],
        calibrations=tuple(_calibration(values) for values in metadata["calibrations"]),
        training=metadata["training"],
        name=metadata["name"] or path.stem,
        **parts,
    )


def _calibration(values):
    return Calibration(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})


def _filled(kind, config, tensors):
    """A network with its tensors, or None if there are none.

    Sizes are compared first, so that absurd ones in a file allocate nothing.
    """
    if not tensors and kind is not Distilled:
        return None
    if config is None:
        raise ValueError("it has tensors of a network that it does not describe")
    with torch.device("meta"):
        described = {name: tensor.shape for name, tensor in kind(**config).state_dict().items()}
    if described != {name: tensor.shape for name, tensor in tensors.items()}:
        raise ValueError("its tensors are not those of its description")
    module = kind(**config)
    module.load_state_dict(tensors)  # in float32
    return module.eval().requires_grad_(False)


def _part(tensors, prefix):
    """The tensors whose names have a prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def file_hash(path):
    """Ten hex digits of a file's SHA-256, as WebUI shows for models."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:10]
