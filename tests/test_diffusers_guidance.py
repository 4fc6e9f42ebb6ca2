"""What is asked of pipelines with a transformer, and what is changed, is what they themselves make of guidance."""
# ruff: noqa: F811

import diffusers
import pytest
import torch

from corrector.correction.asked import AskedSides
from corrector.correction.run import Run
from corrector.correction.verdict import Verdict
from corrector.hosts.asking import AskedPipeline
from corrector.hosts.diffusers import corrected
from test_diffusers_transformers import PROMPTS, asks, cfg, name, villages  # noqa: F401
from tiny_transformers import TRUE_CFG, latents_of, spied, transformer_pipeline

pytestmark = pytest.mark.usefixtures("one_thread", "no_network", "no_earlier_pictures")

RENORMALISED = ("QwenImagePipeline", "Lumina2Pipeline")
SPACES = dict(
    StableDiffusion3Pipeline="sd3", FluxPipeline="flux", ZImagePipeline="flux", QwenImagePipeline="qwen-image",
    Lumina2Pipeline="flux", PixArtAlphaPipeline="sd15", PixArtSigmaPipeline="sdxl",
)  # fmt: skip


def predictions_asked_for_the_prompts_are_the_own(monkeypatch, pipe, asks, cfg, **call):
    """The CFG scale of each step of a run, in which what is asked for the prompts is what the pipeline predicts."""
    scales = []

    def look(run, x, sigma, scale, conditional, predicted):
        model = run.asked.model
        for asked, wanted in ((model.prompted, conditional), (model.plain, predicted())):
            tolerance = dict(rtol=2e-3, atol=2e-3 * float(wanted.abs().max()))
            torch.testing.assert_close(asked(x, sigma), wanted.float(), **tolerance)
        scales.append(scale)

    spied(monkeypatch, look)
    with corrected(pipe, asks, strength=1e-6):
        latents_of(pipe, cfg, **call)
    return scales


def test_what_is_asked_for_the_prompts_is_what_the_pipeline_itself_predicts(name, cfg, asks, villages, monkeypatch):
    """Timesteps, packing, signs, rows, the CFG scale and its renormalisation are those of the pipeline."""
    call = dict(prompt=PROMPTS, num_images_per_prompt=2)
    call |= dict(negative_prompt=["a dog in a field"] * 2) if name in TRUE_CFG and cfg > 1 else {}
    pipe = transformer_pipeline(name)
    scales = predictions_asked_for_the_prompts_are_the_own(monkeypatch, pipe, asks, cfg, **call)
    assert scales == pytest.approx([cfg] * 4, abs=2e-3)


@pytest.mark.parametrize(
    "name, options, scales",
    [
        ("Lumina2Pipeline", dict(cfg_trunc_ratio=0.5), [4, 4, 1, 1]),
        ("Lumina2Pipeline", dict(cfg_normalization=False), [4] * 4),
        ("ZImagePipeline", dict(cfg_normalization=True), [4] * 4),
        ("ZImagePipeline", dict(cfg_truncation=0.3), [4, 4, 4, 1]),
        ("FluxPipeline", dict(guidance_scale=2.0), [4] * 4),
    ],
    ids=str,
)
def test_options_of_guidance_are_read_from_the_predictions(name, options, scales, asks, villages, monkeypatch):
    pipe, embedded = transformer_pipeline(name), set()
    pipe.transformer.register_forward_pre_hook(
        lambda _, args, given: embedded.add(float(given["guidance"][0]) if "guidance" in given else None),
        with_kwargs=True,
    )
    assert predictions_asked_for_the_prompts_are_the_own(monkeypatch, pipe, asks, 4.0, **options) == scales
    assert embedded == {options.get("guidance_scale")}, (
        "the guidance embedding of all that is asked is the prompt's own"
    )


def test_a_prompt_that_is_replaced_says_what_asking_beside_says(name, cfg, asks, villages):
    """CFG of the replaced prompt, with its renormalisation, against the change of the output after CFG."""
    pipe = transformer_pipeline(name)
    plain, drawn = latents_of(pipe, cfg), []
    for strength in (1.0, 0.9999):
        with corrected(pipe, asks, strength=strength, verdict=False):
            drawn.append(latents_of(pipe, cfg))
    apart = (drawn[0] - drawn[1]).norm() / (drawn[0] - plain).norm()
    assert apart < (0.3 if cfg > 1 and name in RENORMALISED else 1e-3)


@pytest.mark.parametrize("name", SPACES)
def test_a_learned_preference_reads_and_moves_the_denoised_of_the_flow(name, cfg, exact, monkeypatch):
    """What the scheduler steps with is the pipeline's own prediction with the corrected denoised in its place."""
    pipe, read, stepped, moved, before = transformer_pipeline(name), [], [], [], []
    preference = exact(space=SPACES[name], shape=(4 if name.startswith("PixArt") else 16, 8, 8))
    step, source_update, change = type(pipe.scheduler).step, preference.source.update, Run.change

    def spied_update(x, sigma, group, conditional):
        read.append((x.clone(), float(sigma[0])))
        return source_update(x, sigma, group, conditional)

    def spied_step(scheduler, output, timestep, sample, *args, **kwargs):
        stepped.append((output.clone(), sample.clone(), float(scheduler.sigmas[len(stepped)])))
        return step(scheduler, output, timestep, sample, *args, **kwargs)

    def spied_change(run, x, sigma, cfg, conditional, predicted, *more):
        before.append(predicted())
        moved.append(change(run, x, sigma, cfg, conditional, predicted, *more))
        return moved[-1]

    monkeypatch.setattr(preference.source, "update", spied_update)
    monkeypatch.setattr(type(pipe.scheduler), "step", spied_step)
    monkeypatch.setattr(Run, "change", spied_change)
    with corrected(pipe, preference, use_gate=False) as run:
        latents_of(pipe, cfg)
    assert run.outcomes() == ["corrected"] and len(read) == 1 + len(stepped) == 5, "the first step is looked at, too"
    for (x, level), (output, sample, sigma), plain, change in zip(read[1:], stepped, before, moved, strict=True):
        output, sample = pictures_of(pipe, output), pictures_of(pipe, sample)
        if name.startswith("PixArt"):
            alpha = 1 / (1 + sigma**2) ** 0.5
            after = sample / alpha - sigma * output
        else:
            alpha = max(1 - sigma, 1e-4)
            sigma, after = sigma / alpha, sample - sigma * output
        assert level == pytest.approx(sigma, rel=1e-4)
        torch.testing.assert_close(x, sample / alpha, rtol=1e-4, atol=1e-3)
        if cfg == 1 or name not in RENORMALISED:
            torch.testing.assert_close(after, plain + change, rtol=1e-3, atol=2e-3 * float(after.abs().max()))
    assert max(float(change.abs().max()) for change in moved) > 0.01


def pictures_of(pipe, latents):
    """Packed latents or not -> [B, C, H, W], by the pipeline's own function."""
    if latents.ndim == 3:
        latents = pipe._unpack_latents(latents, 64, 64, 8)
    return latents[:, :, 0] if latents.ndim == 5 else latents


def test_skip_layer_guidance_is_no_cfg(asks, villages, monkeypatch):
    pipe, scales = transformer_pipeline("StableDiffusion3Pipeline"), []
    call = dict(skip_guidance_layers=[0], skip_layer_guidance_start=-1, skip_layer_guidance_stop=0.6)
    spied(monkeypatch, lambda run, x, sigma, scale, *_: scales.append(scale))
    plain = latents_of(pipe, 4.0, **call)
    with corrected(pipe, asks) as run:
        changed = latents_of(pipe, 4.0, **call)
    assert scales == [4.0] * 4 and run.outcomes() == ["corrected"]
    assert not torch.equal(plain, changed) and not torch.equal(plain, latents_of(pipe, 4.0))


@pytest.mark.parametrize("name", ["StableDiffusion3Pipeline", "FluxPipeline", "ZImagePipeline", "QwenImagePipeline"])
def test_a_step_can_be_asked_for_before_its_own_evaluation(name, asks, monkeypatch):
    """As where the sampler adds noise: the picture is previewed again, from the pipeline's prediction after CFG."""
    monkeypatch.setattr(AskedSides, "verdict", lambda _, made, noises: Verdict(torch.ones(len(made))))
    monkeypatch.setattr("corrector.correction.run.OTHER_NOISE", -2.0)  # as if some of it were kept
    pipe, asked, compared, plain = transformer_pipeline(name), {}, [], AskedPipeline.plain
    pipe.scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0, stochastic_sampling=True)

    def spied_plain(model, x, sigma):
        result = plain(model, x, sigma)
        return asked.setdefault(float(sigma[0]), result)

    def look(run, x, sigma, scale, conditional, predicted):
        for level, result in asked.items():
            if level == pytest.approx(float(sigma[0]), rel=1e-6) and level < 5:
                tolerance = dict(rtol=2e-3, atol=2e-3 * float(result.abs().max()))
                torch.testing.assert_close(result, predicted().float(), **tolerance)
                compared.append(level)

    monkeypatch.setattr(AskedPipeline, "plain", spied_plain)
    spied(monkeypatch, look)
    with corrected(pipe, asks):
        latents_of(pipe, 4.0)
    assert len(compared) == 1
