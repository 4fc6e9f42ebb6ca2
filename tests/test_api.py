"""The package's public names, and what they do with a diffusers pipeline."""

import pydoc
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline

import corrector
from corrector.files.folders import AXES, WEIGHTS
from corrector.hosts.checkpoint import Checkpoint
from corrector.learning import learn as learn_module
from corrector.learning.store import PairError

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def pipe():
    return StableDiffusionPipeline.from_pretrained(WEIGHTS / "miniature")


def test_every_public_name_is_there_and_others_are_not():
    assert all(callable(getattr(corrector, name)) for name in corrector.__all__)
    with pytest.raises(AttributeError, match="no attribute 'unknown'"):
        corrector.unknown  # noqa: B018
    assert f'\nversion = "{corrector.__version__}"\n' in (ROOT / "pyproject.toml").read_text()


def test_help_lists_every_public_name_and_shows_the_functions():
    page = pydoc.plain(pydoc.render_doc(corrector))
    assert set(corrector.__all__) <= set(re.findall(r"\w+", corrector.__doc__)) and set(corrector.__all__) <= {
        *dir(corrector)
    }
    for name in ("corrected", "correct", "learn", "calibrate", "load_axis", "load_preferences", "save_preferences"):
        summary = getattr(corrector, name).__doc__.split("\n")[0]
        assert re.search(rf"^    {name}\(", page, re.MULTILINE) and summary in page


def test_a_preference_is_printed_in_three_lines():
    (preference,) = corrector.load_preferences(WEIGHTS / "miniature-backdrop.safetensors")
    lines = str(preference).splitlines()
    assert lines[0].startswith(f"miniature-backdrop [{preference.hash}]") and len(lines) == 3
    assert all(group in lines[1] for group in preference.axis.groups) and preference.axis.title in lines[1]
    assert lines[2].startswith("calibrated at CFG 2")
    assert str(replace(preference, calibrations=())).endswith("not calibrated")
    assert len(repr([preference])) < 60 and preference.hash in repr(preference)


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, corrector; assert not {'torch', 'numpy', 'diffusers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_learning_resumes_from_a_folder_and_uses_the_shells_cfg_scale(pipe, tmp_path, monkeypatch):
    monkeypatch.setattr(learn_module, "train_gate", lambda *_, **__: (None, {}))
    axis = replace(corrector.load_axis(AXES / "miniature-backdrop.json"), groups=("Orvane",))
    host = Checkpoint(pipe)
    learned, evaluations = [], []
    for _ in range(2):
        learned.append(corrector.learn(host, axis, count=2, steps=4, points=10, folder=tmp_path))
        evaluations.append(host.evaluations)
    assert learned[0].training == learned[1].training and learned[0].training["cfg"] == 2.0
    verdicts = 4 * 4  # two pairs, four evaluations a picture
    thumbnail = 2 * 4 * 2 * min(host.steps, 8)  # four pictures plain and corrected, with two evaluations a step
    assert evaluations[1] - evaluations[0] == verdicts + thumbnail, "no pair and no point is drawn twice"
    assert evaluations[1] < 2 * evaluations[0] and learned[0].thumbnail == learned[1].thumbnail != ""
    assert learned[0].training["host"]["checkpoint"] == host.identity["checkpoint"]
    assert learned[0].training["version"] == corrector.__version__
    with pytest.raises(PairError, match="CFG scale is nan"):
        corrector.learn(host, axis, count=2, cfg=float("nan"))


def test_a_pipeline_is_learned_from_calibrated_and_audited(pipe, tmp_path, monkeypatch):
    monkeypatch.setattr(learn_module, "train_gate", lambda *_, **__: (None, {}))
    axis = replace(corrector.load_axis(AXES / "miniature-backdrop.json"), groups=("Orvane",))
    before = {name: tensor.clone() for name, tensor in pipe.unet.state_dict().items()}
    preference = corrector.learn(pipe, axis, count=2, steps=4, points=10, cfg=1.0)
    assert preference.space == "miniature" and not preference.calibrations
    preference = corrector.calibrate(pipe, preference, count=2, cfgs=(1.0,))
    assert [known.group for known in preference.calibrations] == list(preference.axis.groups)
    report = corrector.audit(pipe, axis, [preference], tmp_path, images=2, explicit=1, steps=2, cfgs=(1.0,))
    assert report["figures"] and any(tmp_path.rglob("audit.html"))
    after = pipe.unet.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
