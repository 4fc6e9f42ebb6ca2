"""A preference that is learned from the flow miniature, in seconds: its file, its correction, its refusal elsewhere."""

from dataclasses import replace

import pytest
import torch

import corrector
from corrector.files.folders import AXES
from corrector.hosts.loading import load_pipeline
from corrector.learning import learn as learning
from corrector.miniature.flow_host import FlowMiniature, twin
from corrector.miniature.model import WEIGHTS
from corrector.preference.networks import PreferenceError

pytestmark = pytest.mark.usefixtures("one_thread", "no_network", "no_earlier_pictures")

PROMPT = "a portrait of a Orvane person"
COUNT = 8


@pytest.fixture(scope="module")
def host():
    return FlowMiniature(bf16=True, steps=8)


@pytest.fixture(scope="module")
def file(host, one_thread, tmp_path_factory):
    """A preference file that was learned and calibrated on the flow miniature."""
    axis = replace(corrector.load_axis(AXES / "miniature-backdrop.json"), groups=("Orvane",))
    path = tmp_path_factory.mktemp("learned") / "backdrop.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning, "train_gate", lambda *_, **__: (None, {}))
        learned = corrector.learn(host, axis, count=8, points=384)
    corrector.save_preferences([corrector.calibrate(host, learned, count=2)], path)
    return path


@pytest.fixture
def preference(file):
    return corrector.load_preferences(file)[0]


def drawn(pipe, **call):
    """Latents [N, C, H, W] of COUNT pictures."""
    call |= dict(height=128, width=128, num_images_per_prompt=COUNT, output_type="latent")
    pipe.set_progress_bar_config(disable=True)
    with torch.autocast("cpu", torch.bfloat16):
        return pipe(PROMPT, **call, generator=torch.Generator().manual_seed(3)).images.float()


def villages(host, latents):
    return host.reader.read(host.decode(latents))["backdrop"].count("village")


def test_its_file_says_the_family_the_cfg_scale_and_the_steps_at_which_it_was_learned(host, preference):
    assert preference.space == preference.training["validated_on"] == "flow-miniature"
    assert preference.training["cfg"] == 2.0
    assert preference.training["host"] == {**host.identity, "steps": 8}
    assert {calibration.cfg for calibration in preference.calibrations} == {2.0, 7.0}


def test_it_corrects_the_pipeline_of_the_flow_miniature(host, preference):
    call = dict(num_inference_steps=8, guidance_scale=2.0)
    plain = villages(host, drawn(host.pipe, **call))
    with corrector.corrected(host.pipe, preference, strength=0.0):
        assert villages(host, drawn(host.pipe, **call)) == plain
    with corrector.corrected(host.pipe, preference) as run:
        left = villages(host, drawn(host.pipe, **call))
    assert plain >= COUNT - 2 and left <= COUNT // 2
    assert run.outcomes() == ["corrected"] * COUNT
    assert "far from" not in run.report() and "another checkpoint" not in run.report()


def test_on_the_twin_it_corrects_and_says_that_it_was_calibrated_elsewhere(preference):
    host, call = twin(bf16=True), dict(num_inference_steps=4, guidance_scale=1.0)
    plain = villages(host, drawn(host.pipe, **call))
    with corrector.corrected(host.pipe, preference) as run:
        left = villages(host, drawn(host.pipe, **call))
    assert plain >= COUNT - 2 and left <= COUNT // 2
    assert "calibrated at CFG 2 and 7 only, and CFG 1 is far from it" in run.report()
    assert "calibrated on another checkpoint" in run.report()


def test_another_family_is_refused_with_both_names(preference):
    pipe = load_pipeline(WEIGHTS, device="cpu")
    words = r"was made for the flow miniature, and the StableDiffusionPipeline has the latents of the miniature"
    with pytest.raises(PreferenceError, match=words), corrector.corrected(pipe, preference):
        pass
