"""A small preference, and its file changed as damage or another version would."""

import json

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from corrector.files.tensor_files import CHECKSUM, KEY, checksum
from corrector.gate.prompt_gate import PromptGate
from corrector.preference.calibration import Calibration
from corrector.preference.networks import Distilled
from corrector.preference.preference import Preference

SMALL = {"space": "miniature", "groups": 2, "width": 16, "blocks": 1}


def small_preference(axis):
    torch.manual_seed(0)
    source, gate = Distilled(**SMALL), PromptGate(width=12, groups=2, hidden=5)
    for module in (source, gate):
        module.eval().requires_grad_(False)
    calibrations = (Calibration("Orvane", 2.0, 0.05, 400, 0.99, 400, tone=-2.5, tone_drift=0.1, seed=7),)
    training = {"update_r2": 0.95, "update_r2_by_sigma": {"1 to 2": 0.9}, "tones": {"Orvane": -2.5, "Tavelu": 1.0}}
    return Preference(axis, "miniature", source, gate, calibrations, training, name="Village backdrop")


def rewrite(path, change_metadata=None, change_tensors=None):
    """The same file with its metadata object or tensors changed, and with the checksum of that."""
    with safe_open(path, "pt") as file:
        metadata = json.loads(file.metadata()[KEY])
    tensors = load_file(path)
    (change_metadata or (lambda m: None))(metadata)
    (change_tensors or (lambda t: None))(tensors)
    del metadata[CHECKSUM]
    metadata[CHECKSUM] = checksum(json.dumps(metadata), tensors)
    save_file(tensors, path, metadata={KEY: json.dumps(metadata)})
