"""Learning and calibration on a checkpoint from the shell."""

import json
import re
from dataclasses import replace
from functools import partial

import pytest
from PIL import Image

from corrector.cli import commands as cli
from corrector.cli import learning as cli_learning
from corrector.correction.sampled import sample_corrected
from corrector.correction.update import Settings
from corrector.files import folders
from corrector.hosts.checkpoint import Checkpoint
from corrector.learning import learn as learning
from corrector.preference.file import load_preference, save_preference

PROMPTS = ["a portrait of a Orvane person", "a photo of a Tavelu man in a village"]

pytestmark = pytest.mark.usefixtures("one_thread", "no_network")


def test_the_shell_learns_and_calibrates_on_a_folder(checkpoints, axis, tmp_path, monkeypatch, capsys):
    small = dict(steps=2)
    monkeypatch.setattr(learning, "learn", partial(learning.learn, **small))
    monkeypatch.setattr(learning, "train_gate", partial(learning.train_gate, count=80))
    monkeypatch.setattr(learning, "ALIKE_PAIRS", 0)  # a model of random weights draws no sides
    axis_file, file, pairs = tmp_path / "axis.json", tmp_path / "own.safetensors", tmp_path / "pairs"
    axis_file.write_text(json.dumps(axis.to_dict()))
    where = ["--checkpoint", str(checkpoints["sdxl"]), "--steps", "2", "--size", "128x64", "--cfg", "3"]
    options = ["--pairs", "4", "--points", "40", "--calibration", "0"]
    options += ["--pairs-folder", str(pairs), "--out", str(file)]
    cli.main(["learn", str(axis_file), *where, *options])
    said = capsys.readouterr().out
    assert re.search(r"This takes [\d,]+ evaluations of the model, about \d+ (seconds|minutes) on this machine", said)
    assert str(pairs) in said and "from 192 points" in said and "This preference is weak: " in said
    assert len(list(pairs.glob("*.safetensors"))) == 4
    with Image.open(tmp_path / "own.png") as report:
        assert min(report.size) > 400
    learned = load_preference(file)
    assert learned.space == "sdxl" and learned.gate.width == 40 and not learned.calibrations
    assert learned.training["cfg"] == 3 and learned.training["host"]["shape"] == [4, 8, 16]
    cli.main(["calibrate", str(file), *where, "--images", "2", "--target", "0.8"])
    said = capsys.readouterr().out
    assert "Orvane at CFG 3" in said and "80%" in said
    calibrated = load_preference(file)
    assert "Calibration at CFG 3 and 7: at most 20 pictures, kept in " in said
    assert [(c.group, c.cfg, c.base_n) for c in calibrated.calibrations] == [
        (group, cfg, 2) for group in axis.groups for cfg in (3, 7)
    ]
    latents, reasons = sample_corrected(
        Checkpoint.load(checkpoints["sdxl"]), PROMPTS, [1, 2], [calibrated], Settings(), steps=2
    )
    assert latents.shape == (2, 4, 8, 8) and len(reasons[0]) == 2


def test_the_shell_keeps_what_it_made_when_it_is_stopped_and_refuses_at_once_what_would_be_lost(
    checkpoints, axis, tmp_path, monkeypatch
):
    monkeypatch.setattr(learning, "learn", partial(learning.learn, steps=2))
    monkeypatch.setattr(learning, "train_gate", partial(learning.train_gate, count=80))
    monkeypatch.setattr(learning, "ALIKE_PAIRS", 0)  # a model of random weights draws no sides
    monkeypatch.setattr(folders, "HOME", tmp_path)
    monkeypatch.setattr(folders, "AXES", tmp_path / "axes")
    axis_file, file = tmp_path / "axis.json", tmp_path / "own.safetensors"
    axis_file.write_text(json.dumps(axis.to_dict()))
    where = ["--checkpoint", str(checkpoints["sd15"]), "--steps", "2", "--size", "64x64", "--cfg", "3"]
    options = [*where, "--pairs", "4", "--points", "40", "--calibration", "2"]
    with pytest.raises(SystemExit, match=r"this is a folder; name the file to write"):
        cli.main(["learn", str(axis_file), *options, "--out", str(tmp_path)])

    def stopped(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(cli_learning, "_calibrated", stopped)
        cli.main(["learn", str(axis_file), *options, "--out", str(file)])
    assert len(list(tmp_path.glob("out/pairs/test-*/*.safetensors"))) == 4
    learned = load_preference(file)  # training is not lost with the calibration
    cli.main(["calibrate", str(file), *where, "--images", "2"])
    known, *_ = load_preference(file).calibrations
    assert known.checkpoint == Checkpoint.load(checkpoints["sd15"]).identity["checkpoint"]
    learned.calibrations = (replace(known, checkpoint=known.checkpoint.translate(str.maketrans("0123", "3210"))),)
    save_preference(learned, file)
    with pytest.raises(SystemExit, match=r"calibrated on another checkpoint or LoRA.*would be lost.*--out"):
        cli.main(["calibrate", str(file), *where, "--images", "2"])
    other = ["--checkpoint", str(checkpoints["sd2"]), *where[2:], "--out", str(tmp_path / "other.safetensors")]
    with pytest.raises(SystemExit, match=r"conditioning is \d+ wide.*use a preference made for this model"):
        cli.main(["calibrate", str(file), *other, "--images", "2"])
