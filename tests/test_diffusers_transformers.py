"""`corrected(pipe, ...)` with diffusers' pipelines whose denoiser is a transformer, most of them flow models."""

import diffusers
import pytest
import torch

from corrector.correction.asked import AskedSides
from corrector.correction.run import Run
from corrector.correction.update import CorrectionError
from corrector.correction.verdict import Verdict
from corrector.hosts.components import PipelineTexts
from corrector.hosts.diffusers import corrected
from corrector.hosts.evaluations import Evaluations
from corrector.hosts.families import default_encoding, encode_texts
from corrector.preference.networks import PreferenceError
from corrector.preference.preference import Preference
from corrector.preference.text import Text
from tiny_transformers import NAMES, TRUE_CFG, WIDTH, latents_of, settings_of, spied, transformer_pipeline

pytestmark = pytest.mark.usefixtures("one_thread", "no_network", "no_earlier_pictures")

PROMPTS = ["a portrait of an Orvane person", "a cat"]
EMBEDDED = dict(
    StableDiffusion3Pipeline=("prompt_embeds", None, "pooled_prompt_embeds"),
    FluxPipeline=("prompt_embeds", "pooled_prompt_embeds"),
    QwenImagePipeline=("prompt_embeds", "prompt_embeds_mask"),
    Lumina2Pipeline=("prompt_embeds", "prompt_attention_mask"),
    PixArtSigmaPipeline=("prompt_embeds", "prompt_attention_mask"),
)  # arguments of a call, in the order of what encode_prompt returns
LONGEST = dict(
    StableDiffusion3Pipeline=2 * (77 + 256), FluxPipeline=1024, ZImagePipeline=512, QwenImagePipeline=512,
    Lumina2Pipeline=256, SanaPipeline=300, PixArtAlphaPipeline=120, PixArtSigmaPipeline=300,
)  # fmt: skip
WIDTHS = dict(StableDiffusion3Pipeline=32)


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


def test_the_gate_reads_prompts_as_it_was_trained_on_them(name, asks, monkeypatch):
    pipe, read, begin = transformer_pipeline(name), [], Run.__init__

    def spy(run, preferences, settings, coins, prompts, **more):
        read.extend(prompts)
        begin(run, preferences, settings, coins, prompts, **more)

    monkeypatch.setattr(Run, "__init__", spy)
    with corrected(pipe, asks):
        latents_of(pipe, prompt=PROMPTS)
    trained = list(PipelineTexts(pipe).encode_each(PROMPTS))
    assert len(read) == 2
    for (tokens,), wanted in zip(read, trained, strict=True):
        assert wanted.any(dim=-1).all() and wanted.shape[-1] == WIDTHS.get(name, WIDTH)
        torch.testing.assert_close(tokens[0], wanted, rtol=0.02, atol=0.04)  # some CPUs train in bfloat16


def test_prompts_that_are_too_long_get_the_phrase_behind_them(name, asks, villages, monkeypatch):
    pipe = transformer_pipeline(name)
    lengths, side = [], Evaluations.side  # twice the longest prompt, or where models do not take that, all that fit

    def spy(evaluations, prompts, x, sigma, index):
        lengths.extend(row[0][0].shape[1] for row in prompts.conditionings)
        return side(evaluations, prompts, x, sigma, index)

    monkeypatch.setattr(Evaluations, "side", spy)
    prompt = "a quiet portrait in soft light, " * 100
    with corrected(pipe, asks) as run:
        latents_of(pipe, prompt=prompt)
    assert run.outcomes() == ["corrected"] and set(lengths) == {LONGEST[name]}


@pytest.mark.parametrize("name", EMBEDDED)
def test_prompts_that_are_given_as_token_vectors_get_the_phrase_behind_them(name, asks, villages):
    pipe = transformer_pipeline(name)
    encoded = encode_texts(pipe, pipe.encode_prompt, {"prompt": "a portrait"}, default_encoding(pipe))
    given = {argument: part for argument, part in zip(EMBEDDED[name], encoded, strict=False) if argument}
    plain = latents_of(pipe, prompt=None, **given)
    assert torch.equal(plain, latents_of(pipe))
    with corrected(pipe, asks) as run:
        changed = latents_of(pipe, prompt=None, **given)
    assert run.outcomes() == ["corrected"] and changed.isfinite().all() and not torch.equal(changed, plain)


def test_pictures_that_are_left_alone_keep_their_bits(name, cfg, asks, villages):
    pipe = transformer_pipeline(name)
    call = dict(prompt=["a portrait of somebody", "a cat"])
    call |= dict(negative_prompt=["a dog in a field"] * 2) if name in TRUE_CFG and cfg > 1 else {}
    plain = latents_of(pipe, cfg, **call)
    with corrected(pipe, asks, strength=torch.tensor([1.0, 0.0])):
        changed = latents_of(pipe, cfg, **call)
    assert [torch.equal(*pair) for pair in zip(plain, changed, strict=True)] == [False, True]


@pytest.mark.parametrize("name", ["StableDiffusion3Pipeline", "FluxPipeline", "ZImagePipeline"])
def test_half_precision(name, asks, villages):
    pipe = transformer_pipeline(name).to(torch.bfloat16)
    plain = latents_of(pipe, 4.0)
    with corrected(pipe, asks) as run:
        changed = latents_of(pipe, 4.0)
    assert run.outcomes() == ["corrected"] and changed.isfinite().all() and not torch.equal(changed, plain)


@pytest.mark.parametrize("scheduler", ["FlowMatchHeunDiscrete", "DPMSolverMultistep", "UniPCMultistep"])
def test_other_schedulers_for_flow_models(scheduler, asks, villages, monkeypatch):
    """The sigmas of a run are those that the transformer is told."""
    pipe, kind, levels, sigmas = (
        transformer_pipeline("SanaPipeline"),
        getattr(diffusers, f"{scheduler}Scheduler"),
        [],
        [],
    )
    flow = dict(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0)
    pipe.scheduler = kind(shift=3.0) if scheduler.startswith("Flow") else kind(**flow)
    hook = pipe.transformer.register_forward_pre_hook(
        lambda _, args, given: levels.append(float(given["timestep"][0]) / 1000), with_kwargs=True
    )
    latents_of(pipe)
    hook.remove()
    spied(monkeypatch, lambda run, x, sigma, *_: sigmas.append(float(sigma[0])))
    with corrected(pipe, asks):
        latents_of(pipe)
    assert len(sigmas) >= 4 and [sigma / (1 + sigma) for sigma in sigmas] == pytest.approx(levels, abs=2e-3)


def test_pixart_with_a_scheduler_that_goes_by_timesteps(asks, villages):
    pipe = transformer_pipeline("PixArtSigmaPipeline")
    pipe.scheduler = diffusers.DDIMScheduler(clip_sample=False)
    with corrected(pipe, asks) as run:
        assert latents_of(pipe, 4.0).isfinite().all()
    assert run.outcomes() == ["corrected"]


def test_schedulers_of_other_kinds_are_refused_by_name(asks):
    pipe = transformer_pipeline("StableDiffusion3Pipeline")
    for scheduler, told in (
        (diffusers.EulerDiscreteScheduler(), "is EulerDiscreteScheduler, which .* for a flow model"),
        (diffusers.DPMSolverMultistepScheduler(), "DPMSolverMultistepScheduler without flow sigmas"),
    ):
        pipe.scheduler = scheduler
        with pytest.raises(CorrectionError, match=told), corrected(pipe, asks):
            raise AssertionError("the block was entered")


def test_a_preference_for_other_latents_is_refused_by_name(exact):
    with (
        pytest.raises(
            PreferenceError, match=r"made for SD1\.5 and SD2\.x, and the FluxPipeline has the latents of Flux\.1"
        ),
        corrected(transformer_pipeline("FluxPipeline"), exact(space="sd15")),
    ):
        raise AssertionError("the block was entered")


def test_a_part_of_the_sampling_is_a_part_of_its_steps(asks, villages, monkeypatch):
    pipe, acted, change = transformer_pipeline("FluxPipeline"), [], Run.change

    def spy(run, *given):
        changed = change(run, *given)
        acted.append(changed is not None)
        return changed

    monkeypatch.setattr(Run, "change", spy)
    with corrected(pipe, asks, start=0.5):
        latents_of(pipe, num_inference_steps=4)
    with corrected(pipe, asks, end=0.3):
        latents_of(pipe, num_inference_steps=4)
    assert acted == [False, False, True, True, True, True, False, False]


@pytest.mark.parametrize("name", TRUE_CFG)
def test_a_call_that_was_stopped_between_prompt_and_negative_prompt_is_forgotten(name, asks, villages):
    pipe = transformer_pipeline(name)
    with corrected(pipe, asks) as run:
        with pytest.raises(ValueError, match="generators"):
            pipe("a dog", **settings_of(name, 4.0), generator=[torch.Generator()] * 3)
        latents_of(pipe, 4.0)
    assert run.outcomes() == ["corrected"]
