"""`corrected(pipe, ...)` with diffusers' pipelines whose denoiser is a transformer, most of them flow models."""

import diffusers
import pytest
import torch

from corrector.correction.asked import AskedSides
from corrector.correction.run import MEMORY, Run
from corrector.correction.update import CorrectionError
from corrector.correction.verdict import Verdict
from corrector.hosts.asking import AskedPipeline
from corrector.hosts.components import PipelineTexts
from corrector.hosts.diffusers import corrected
from corrector.hosts.evaluations import Evaluations
from corrector.preference.networks import PreferenceError
from corrector.preference.preference import Preference
from corrector.preference.text import Text
from tiny_transformers import NAMES, WIDTH, transformer_pipeline

pytestmark = pytest.mark.usefixtures("one_thread", "no_network")

PROMPTS = ["a portrait of an Orvane person", "a cat"]
TRUE_CFG = ("FluxPipeline", "QwenImagePipeline")  # beside a guidance embedding
RENORMALISED = ("QwenImagePipeline", "Lumina2Pipeline")
LONGEST = dict(
    StableDiffusion3Pipeline=2 * (77 + 256), FluxPipeline=1024, ZImagePipeline=512, QwenImagePipeline=512,
    Lumina2Pipeline=256, SanaPipeline=300, PixArtAlphaPipeline=120, PixArtSigmaPipeline=300,
)  # fmt: skip
WIDTHS = dict(StableDiffusion3Pipeline=32)
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
    prompt = list(prompt) if isinstance(prompt, list) else prompt  # Z-Image writes its chat template into it
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
    step, source_read, change = type(pipe.scheduler).step, preference.source.read, Run.change

    def spied_read(x, sigma, group, conditional):
        read.append((x.clone(), float(sigma[0])))
        return source_read(x, sigma, group, conditional)

    def spied_step(scheduler, output, timestep, sample, *args, **kwargs):
        stepped.append((output.clone(), sample.clone(), float(scheduler.sigmas[len(stepped)])))
        return step(scheduler, output, timestep, sample, *args, **kwargs)

    def spied_change(run, x, sigma, cfg, conditional, predicted, *more):
        before.append(predicted())
        moved.append(change(run, x, sigma, cfg, conditional, predicted, *more))
        return moved[-1]

    monkeypatch.setattr(preference.source, "read", spied_read)
    monkeypatch.setattr(type(pipe.scheduler), "step", spied_step)
    monkeypatch.setattr(Run, "change", spied_change)
    with corrected(pipe, preference, use_gate=False) as run:
        latents_of(pipe, cfg)
    assert run.outcomes() == ["corrected"] and len(read) == len(stepped) == 4
    for (x, level), (output, sample, sigma), plain, change in zip(read, stepped, before, moved, strict=True):
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


def test_prompts_whose_text_is_not_known_or_too_long_get_the_phrase_behind_them(name, asks, villages, monkeypatch):
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
    monkeypatch.setattr("corrector.correction.asked_run.OTHER_NOISE", -2.0)  # as if some of it were kept
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
