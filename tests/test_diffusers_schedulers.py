"""What `corrected` does at each step of each scheduler of diffusers, against the UNet's own input and `correct`."""

import functools
import sys
from types import SimpleNamespace

import diffusers
import pytest
import torch

from corrector.correction.decision import Decision
from corrector.correction.sampled import sample_corrected
from corrector.correction.update import CorrectionError, Settings, correct
from corrector.hosts.diffusers import corrected
from corrector.hosts.schedulers import BY_TIMESTEP, check_scheduler
from corrector.latents.spaces import denoised_from_output
from corrector.miniature.host import Miniature
from corrector.preference.file import load_preference
from tiny_checkpoints import BETAS, pipeline

pytestmark = pytest.mark.usefixtures("one_thread", "no_network")

SCHEDULERS = [
    "EulerDiscrete", "EulerAncestralDiscrete", "HeunDiscrete", "LMSDiscrete", "KDPM2Discrete", "KDPM2AncestralDiscrete",
    "DPMSolverSDE", "DPMSolverMultistep", "DPMSolverMultistep SDE", "DPMSolverSinglestep", "UniPCMultistep",
    "DEISMultistep", "SASolver", "DDIM", "DDPM", "PNDM", "PNDM PLMS", "LCM", "TCD",
]  # fmt: skip
KARRAS = ["EulerDiscrete", "HeunDiscrete", "LMSDiscrete", "KDPM2Discrete", "DPMSolverMultistep", "DPMSolverSinglestep"]
KARRAS += ["UniPCMultistep", "DPMSolverMultistep SDE", "DPMSolverSDE"]
OPTIONS = {"SDE": dict(algorithm_type="sde-dpmsolver++"), "PLMS": dict(skip_prk_steps=True)}
DEFAULTS = {"DDIM": dict(clip_sample=False), "DDPM": dict(clip_sample=False)}


@pytest.fixture
def scheduler(monkeypatch):
    """-> a function that makes a scheduler by its name in SCHEDULERS."""

    def make(name, **options):
        name, *more = name.split()
        options = {**BETAS, **DEFAULTS.get(name, {}), **(OPTIONS[more[0]] if more else {}), **options}
        if name != "DPMSolverSDE":
            return getattr(diffusers, f"{name}Scheduler")(**options)
        if not diffusers.utils.is_torchsde_available():
            monkeypatch.setitem(sys.modules, "torchsde", SimpleNamespace())
        from diffusers.schedulers import scheduling_dpmsolver_sde as module

        noise = lambda x, *_: lambda sigma, following: torch.ones_like(x)  # noqa: E731
        monkeypatch.setattr(module, "BrownianTreeNoiseSampler", noise)
        return module.DPMSolverSDEScheduler(**options)

    return make


@pytest.fixture(scope="module")
def pipe():
    pipe = pipeline("sd15")
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def preference(exact):
    return exact(space="sd15", shape=(4, 8, 8))


def run_and_spy(pipe, preference, cfg=1.0, steps=6, **call):
    """What the UNet saw and gave, what the preference saw, and what the scheduler's own `step` was given."""
    seen = SimpleNamespace(inputs=[], outputs=[], read=[], stepped=[])
    source, own = preference.source.update, type(pipe.scheduler).step

    def look(_, given, output):
        seen.inputs.append((given[0].clone(), given[1]))
        seen.outputs.append(output[0])

    def update(x, sigma, group, conditional):
        seen.read.append((x.clone(), sigma.clone()))
        return source(x, sigma, group, conditional)

    @functools.wraps(own)
    def step(self, model_output, *args, **kwargs):
        seen.stepped.append(model_output.clone())
        return own(self, model_output, *args, **kwargs)

    hook = pipe.unet.register_forward_hook(look)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preference.source, "update", update)
        patch.setattr(type(pipe.scheduler), "step", step)
        with corrected(pipe, preference) as run:
            pipe("a portrait", num_inference_steps=steps, guidance_scale=cfg, output_type="latent", **call)
    hook.remove()
    assert set(run.outcomes()) == {"corrected"}
    del seen.read[0]  # it looks at the first step before it corrects this
    return seen


@pytest.mark.parametrize(
    "name, karras", [(name, False) for name in SCHEDULERS] + [(name, True) for name in KARRAS], ids=str
)
def test_the_preference_reads_the_latents_and_the_sigma_that_the_unet_saw(pipe, preference, scheduler, name, karras):
    pipe.scheduler = scheduler(name, **({"use_karras_sigmas": True} if karras else {}))
    seen = run_and_spy(pipe, preference, cfg=3.0, generator=torch.Generator().manual_seed(0))
    alphas = pipe.scheduler.alphas_cumprod
    log_sigmas = ((1 - alphas) / alphas).sqrt().log()
    assert len(seen.inputs) == len(seen.read) >= 6
    for (given, timestep), (x, sigma) in zip(seen.inputs, seen.read, strict=True):
        torch.testing.assert_close((x / (sigma.square() + 1).sqrt()).repeat(2, 1, 1, 1), given, rtol=1e-4, atol=1e-4)
        low, part = divmod(float(timestep), 1)
        trained = torch.lerp(log_sigmas[int(low)], log_sigmas[min(int(low) + 1, 999)], part).exp()
        torch.testing.assert_close(trained.expand(len(x)), sigma.float(), rtol=5e-3 if karras else 1e-4, atol=0)


@pytest.mark.parametrize(
    "name, prediction",
    [(name, "epsilon") for name in SCHEDULERS]
    + [(name, "v_prediction") for name in ("EulerDiscrete", "DDIM", "DPMSolverMultistep", "UniPCMultistep", "PNDM")]
    + [(name, "sample") for name in ("EulerDiscrete", "DDIM", "DPMSolverMultistep")],
)
def test_the_model_output_is_corrected_as_correct_corrects_the_denoised(pipe, preference, scheduler, name, prediction):
    pipe.scheduler = scheduler(name, prediction_type=prediction)
    seen = run_and_spy(pipe, preference, num_images_per_prompt=2, generator=torch.Generator().manual_seed(0))
    kind = {"epsilon": "eps", "v_prediction": "v"}.get(prediction)
    to_x0 = (
        (lambda output, x, sigma: output) if kind is None else functools.partial(denoised_from_output, prediction=kind)
    )
    every = torch.ones(2, dtype=torch.bool)
    decision = Decision(every, torch.zeros(2, dtype=torch.long), torch.zeros(2), ~every)
    changes = []
    for output, stepped, (x, sigma) in zip(seen.outputs, seen.stepped, seen.read, strict=True):
        wanted = correct(to_x0(output, x, sigma), x, sigma, [preference], [decision], Settings(), cfg=1.0)
        changes.append(float((wanted - to_x0(output, x, sigma)).abs().max()))
        torch.testing.assert_close(to_x0(stepped, x, sigma), wanted, rtol=1e-4, atol=1e-4)
    assert max(changes) > 0.1


@pytest.mark.parametrize("cfg", [1.0, 7.0])
def test_a_run_is_the_same_as_that_of_the_own_euler_sampler(cfg):
    host, preference = Miniature(), load_preference("weights/miniature-backdrop.safetensors")
    host.schedule_settings |= dict(timestep_spacing="leading", steps_offset=1)
    host.pipe.scheduler = diffusers.EulerDiscreteScheduler(**host.schedule_settings)
    host.pipe.scheduler.set_timesteps(8)
    host.schedule = lambda steps: host.pipe.scheduler.sigmas.clone()
    prompts = ["a portrait of an Orvane person", "a photo of a Tavelu man"]
    own, reasons = sample_corrected(host, prompts, [1, 2], [preference], Settings(), cfg=cfg)
    plain = host.sample(host.encode(prompts), [1, 2], cfg=cfg)
    host.pipe.set_progress_bar_config(disable=True)
    with corrected(host.pipe, preference) as run:
        latents = host.pipe(
            prompts, num_inference_steps=8, guidance_scale=cfg, latents=host.noise([1, 2]), output_type="latent"
        ).images
    assert run.reasons == reasons == [["", ""]]
    assert (own - plain).abs().max() > 0.1
    torch.testing.assert_close(latents, own, rtol=1e-4, atol=1e-3)


def test_an_unknown_scheduler_is_refused_by_name_and_nothing_is_left_behind(pipe, preference):
    unknown = [
        (diffusers.EDMEulerScheduler(), "EDMEulerScheduler"),
        (diffusers.FlowMatchEulerDiscreteScheduler(), "FlowMatchEulerDiscreteScheduler"),
        (diffusers.UniPCMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction"), "flow sigmas"),
        (diffusers.DPMSolverMultistepScheduler(prediction_type="flow_prediction"), "flow_prediction"),
        (diffusers.DDIMScheduler(**BETAS), r"DDIMScheduler.from_config\(pipe.scheduler.config, clip_sample=False\)"),
        (diffusers.DDPMScheduler(**BETAS, thresholding=True), "clip_sample=False, thresholding=False"),
        (diffusers.UniPCMultistepScheduler(**BETAS, thresholding=True), "UniPCMultistep.*thresholding=False"),
    ]
    for scheduler, told in unknown:
        pipe.scheduler, before = scheduler, (dict(vars(pipe)), dict(vars(scheduler)))
        with pytest.raises(CorrectionError, match=told), corrected(pipe, preference):
            raise AssertionError("the block was entered")
        assert (vars(pipe).keys(), vars(scheduler)) == (before[0].keys(), before[1])


@pytest.mark.parametrize("folder", ["weights/miniature", "benchmarks/second_world/weights"])
@pytest.mark.parametrize("name", BY_TIMESTEP)
def test_schedulers_made_from_the_configuration_of_a_shipped_folder_do_not_clip(folder, name):
    config = diffusers.EulerDiscreteScheduler.from_pretrained(folder, subfolder="scheduler").config
    check_scheduler(getattr(diffusers, f"{name}Scheduler").from_config(config))


def test_a_scheduler_may_be_swapped_inside_the_block(pipe, preference, scheduler):
    pipe.scheduler = scheduler("LCM")
    with corrected(pipe, preference) as run:
        for name in ("DDIM", "EulerDiscrete", "DPMSolverMultistep"):
            pipe.scheduler = scheduler(name)
            pipe("a portrait", num_inference_steps=2, output_type="latent")
            assert "step" not in vars(pipe.scheduler)
    assert run.outcomes() == ["corrected"] * 3 and len(run.report().splitlines()) == 3


def test_zero_terminal_snr_stays_finite(pipe, preference):
    zero = dict(rescale_betas_zero_snr=True, timestep_spacing="trailing", prediction_type="v_prediction")
    for kind in (diffusers.DDIMScheduler, diffusers.EulerDiscreteScheduler):
        pipe.scheduler = kind.from_config(dict(BETAS, clip_sample=False, **zero))
        with corrected(pipe, preference) as run:
            latents = pipe("a portrait", num_inference_steps=4, output_type="latent").images
        assert latents.isfinite().all() and run.outcomes() == ["corrected"]
