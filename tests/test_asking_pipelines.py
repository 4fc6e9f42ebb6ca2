"""`corrected(pipe, axis)` with diffusers' pipelines of each task, and with UNets that are stored or run otherwise."""

from dataclasses import replace

import accelerate
import pytest
import torch

from corrector.correction.asked import AskedSides
from corrector.correction.run import Run
from corrector.correction.update import CorrectionError
from corrector.correction.verdict import Verdict
from corrector.hosts.diffusers import corrected
from corrector.preference.preference import Preference
from corrector.preference.text import Text
from other_device import OTHER, other_device
from test_diffusers import channels_last, compiled, stored_in_float8
from test_diffusers_pipelines import CALLS, build, classes, latents_of, parts  # noqa: F401
from tiny_checkpoints import pipeline

pytestmark = pytest.mark.usefixtures("one_thread", "no_network", "no_earlier_pictures")

UNASKED = "PAG", "Kolors", "Panorama"  # other rows in a batch; another text encoder than the tiny one here


@pytest.fixture
def asks(axis):
    """A preference of any model that asks it."""
    return Preference(replace(axis, skin_region=(0.3, 0.3, 0.6, 0.6)), "any", Text(), name="asks", hash="0")


@pytest.fixture
def villages(monkeypatch):
    """Models of random weights show a village."""
    monkeypatch.setattr(AskedSides, "verdict", lambda _, made, noises: Verdict(-torch.ones(len(made))))


def cpu_offloaded(unet):
    accelerate.cpu_offload(unet, "cpu")
    return unet


@pytest.mark.parametrize("prepared", [stored_in_float8, compiled, channels_last, cpu_offloaded])
def test_with_a_unet_that_is_stored_or_run_otherwise(asks, villages, prepared):
    pipe = pipeline("sd15")
    pipe.unet = prepared(pipe.unet)
    plain = latents_of(pipe)
    with corrected(pipe, asks) as run:
        changed = latents_of(pipe)
    assert changed.isfinite().all() and not torch.equal(plain, changed)
    assert run.outcomes() == ["corrected"] and run.results()
    assert torch.equal(plain, latents_of(pipe))


def test_with_the_model_on_another_device(asks, villages):
    plain, wanted = latents_of(pipe := pipeline("sdxl")), None
    with corrected(pipe, asks):
        wanted = latents_of(pipe)
    with other_device(), corrected(pipe.to(OTHER), asks) as run:
        latents = latents_of(pipe)
        assert latents.device == OTHER and run.outcomes() == ["corrected"]
        torch.testing.assert_close(latents.cpu(), wanted, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(plain, wanted, atol=0.01)


@pytest.mark.parametrize("cfg", [1.0, 5.0])
@pytest.mark.parametrize("name", [name for name in CALLS if not any(part in name for part in UNASKED)])
def test_every_task_can_ask(classes, parts, asks, villages, monkeypatch, name, cfg):  # noqa: F811
    if name not in classes:
        pytest.skip(f"this diffusers has no {name}")
    pipe = build(classes[name], parts)
    call = dict(CALLS[name], guidance_scale=cfg)
    plain, finished, kept = latents_of(pipe, **call), Run.finished, []
    monkeypatch.setattr(Run, "finished", lambda run, made: kept.append(finished(run, made)) or kept[-1])
    with corrected(pipe, asks) as run:
        changed = latents_of(pipe, **call)
    assert run.outcomes() == ["corrected"] and run.results() == [
        "a village: 1 -> 1 of 1; a run that starts from a picture keeps more of it the lower its denoise is"
    ]
    assert changed.isfinite().all() and not torch.equal(changed, plain)
    if "Inpaint" not in name and "LDM3D" not in name:  # those repaint, or are decoded
        assert torch.equal(changed, kept[-1]), "what the pipeline decodes is what was finished"
    assert torch.equal(latents_of(pipe, **call), plain)


def test_pipelines_that_cannot_be_asked_are_refused(classes, parts, asks, villages):  # noqa: F811
    with (
        corrected(pipe := build(classes["StableDiffusionPAGPipeline"], parts), asks),
        pytest.raises(CorrectionError, match="3 latents for 1 pictures; use a learned preference"),
    ):
        latents_of(pipe, guidance_scale=5.0)
    pipe = pipeline("sd15")
    pipe.text_encoder = None
    with pytest.raises(CorrectionError, match="no text encoder"), corrected(pipe, "miniature-backdrop"):
        raise AssertionError("the block was entered")
