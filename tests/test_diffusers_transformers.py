"""`corrected(pipe, ...)` with diffusers' pipelines whose denoiser is a transformer, most of them flow models."""

import diffusers
import pytest
import torch

from corrector.correction.asked import AskedSides
from corrector.correction.run import MEMORY, Run
from corrector.correction.update import CorrectionError
from corrector.correction.verdict import Verdict
from corrector.hosts.diffusers import corrected
from corrector.hosts.evaluations import Evaluations
from corrector.preference.networks import PreferenceError
from corrector.preference.preference import Preference
from corrector.preference.text import Text
from tiny_transformers import NAMES, transformer_pipeline

pytestmark = pytest.mark.usefixtures("one_thread", "no_network")

PROMPTS = ["a portrait of an Orvane person", "a cat"]
TRUE_CFG = ("FluxPipeline", "QwenImagePipeline")  # beside a guidance embedding
SPACES = dict(
    StableDiffusion3Pipeline="sd3", FluxPipeline="flux", ZImagePipeline="flux", QwenImagePipeline="qwen-image",
    Lumina2Pipeline="flux", PixArtAlphaPipeline="sd15", PixArtSigmaPipeline="sdxl",
)  # fmt: skip


@pytest.fixture(autouse=True)
def no_earlier_pictures():
    MEMORY.pictures.clear()


@pytest.fixture
def asks(axis):
    return Preference(axis, "any", Text(), name="asks", hash="0")


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture(params=[1.0, 4.0], ids="cfg {}".format)
def cfg(request):
    return request.param


@pytest.fixture
def villages(monkeypatch):
    """Models of random weights show a village."""
    monkeypatch.setattr(AskedSides, "verdict", lambda _, made, noises: Verdict(-torch.ones(len(made))))


def settings_of(name, cfg):
    """Arguments of a call with a CFG scale."""
    call = dict(height=64, width=64, num_inference_steps=4, output_type="latent")
    if name.startswith(("Sana", "PixArt")):
        call |= dict(use_resolution_binning=False, clean_caption=False)
    if name in TRUE_CFG:
        return call | (dict(true_cfg_scale=cfg, negative_prompt="a dog in a field") if cfg > 1 else {})
    return call | dict(guidance_scale=cfg - 1 if name == "ZImagePipeline" else cfg)


def latents_of(pipe, cfg=1.0, prompt="a portrait", **call):
    settings = settings_of(type(pipe).__name__, cfg) | call
    return pipe(prompt=prompt, generator=torch.Generator().manual_seed(1), **settings).images


def spied(monkeypatch, look):
    """`look(run, x, sigma, cfg, conditional, predicted)` at each step of a run."""
    change = Run.change

    def spy(run, x, sigma, cfg, conditional, predicted, *more):
        changed = change(run, x, sigma, cfg, conditional, predicted, *more)
        look(run, x, sigma, cfg, conditional, predicted)
        return changed

    monkeypatch.setattr(Run, "change", spy)


def test_every_family_can_ask_and_strength_zero_is_bit_identical(name, cfg, asks, villages):
    pipe = transformer_pipeline(name)
    plain = latents_of(pipe, cfg)
    before = dict(vars(pipe)), vars(pipe.scheduler).keys()
    with corrected(pipe, asks) as run:
        changed = latents_of(pipe, cfg)
    assert run.outcomes() == ["corrected"] and run.results()
    assert changed.shape == plain.shape and changed.isfinite().all() and not torch.equal(changed, plain)
    assert vars(pipe) == before[0] and vars(pipe.scheduler).keys() == before[1]
    with corrected(pipe, asks, strength=0):
        assert torch.equal(latents_of(pipe, cfg), plain)
    assert torch.equal(latents_of(pipe, cfg), plain)


def test_what_is_asked_for_the_prompts_is_what_the_pipeline_itself_predicts(name, cfg, asks, villages, monkeypatch):
    """Timesteps, packing, signs, rows, the CFG scale and its renormalisation are those of the pipeline."""
    pipe, seen = transformer_pipeline(name), []

    def look(run, x, sigma, scale, conditional, predicted):
        model = run.asked.model
        for asked, wanted in ((model.prompted, conditional), (model.plain, predicted())):
            tolerance = dict(rtol=2e-3, atol=2e-3 * float(wanted.abs().max()))
            torch.testing.assert_close(asked(x, sigma), wanted.float(), **tolerance)
        assert scale == pytest.approx(cfg, abs=2e-3)
        seen.append(len(x))

    spied(monkeypatch, look)
    call = dict(prompt=PROMPTS, num_images_per_prompt=2)
    call |= dict(negative_prompt=["a dog in a field"] * 2) if name in TRUE_CFG and cfg > 1 else {}
    with corrected(pipe, asks, strength=1e-6):
        latents_of(pipe, cfg, **call)
    assert seen == [4] * 4


def test_a_prompt_that_is_replaced_says_what_asking_beside_says(name, cfg, asks, villages):
    """CFG of the replaced prompt, with its renormalisation, against the change of the output after CFG."""
    pipe = transformer_pipeline(name)
    plain, drawn = latents_of(pipe, cfg), []
    for strength in (1.0, 0.9999):
        with corrected(pipe, asks, strength=strength, verdict=False):
            drawn.append(latents_of(pipe, cfg))
    apart = (drawn[0] - drawn[1]).norm() / (drawn[0] - plain).norm()
    assert apart < (0.5 if cfg > 1 and name in ("QwenImagePipeline", "Lumina2Pipeline") else 0.05)
