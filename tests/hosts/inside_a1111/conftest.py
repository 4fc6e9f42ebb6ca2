"""Automatic1111's own files with stubs for others; not a running A1111.

Real: script_callbacks, script_loading, scripts (ScriptRunner), prompt_parser, sd_samplers_cfg_denoiser,
sd_samplers_timesteps with DDIM, PLMS and UniPC. Stubs: the model, and modules that are imported but not called.
"""

import os
import sys
import types
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

REPOSITORY = Path(__file__).resolve().parents[3]
A1111 = Path(os.environ["A1111_PATH"])
MODELS = Path(os.environ["RS_MODELS"])
CONDITIONINGS = load_file(os.environ["RS_REFERENCE"])  # prompt -> [77, 128]
REPORTED = []  # errors that the host prints to the console


def stub(name, **content):
    module = types.ModuleType(name)
    module.__dict__.update(content)
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent in sys.modules:
        setattr(sys.modules[parent], child, module)
    return module


class Sampler:
    """The part of sd_samplers_common.Sampler that denoiser and scripts use."""

    def __init__(self, conditioning=None):
        self.last_latent, self.sampler_extra_args = None, {"cond": conditioning}

    def launch_sampling(self, steps, func):
        return func()


def start():
    sys.argv = sys.argv[:1]
    modules = stub("modules")
    modules.__path__ = [str(A1111 / "modules")]
    options = dict(
        skip_early_cond=0.0, s_min_uncond_all=False, pad_cond_uncond=False, pad_cond_uncond_v0=False,
        batch_cond_uncond=True, live_preview_content="Combined", uni_pc_order=3, uni_pc_skip_type="time_uniform",
        uni_pc_variant="bh1", uni_pc_lower_order_final=True, CLIP_stop_at_last_layers=1,
    )  # fmt: skip
    state = SimpleNamespace(interrupted=False, skipped=False, sampling_step=0, sampling_steps=4)
    shared = stub("modules.shared", opts=SimpleNamespace(**options), state=state, cmd_opts=SimpleNamespace())
    shared.sd_model = Model()
    stub("modules.errors", report=lambda message, **_: REPORTED.append((message, sys.exc_info()[1])))
    stub("modules.timer", startup_timer=SimpleNamespace(record=lambda name: None))
    stub("modules.devices", device=torch.device("cpu"))
    stub("modules.paths", models_path=str(MODELS), script_path=str(A1111), data_path=str(MODELS.parent / "data"))
    stub("modules.sd_models", model_data=SimpleNamespace(sd_model=shared.sd_model))
    extension = SimpleNamespace(
        canonical_name="rs", name="rs", is_builtin=False, path=str(REPOSITORY), list_files=files_of,
        metadata=SimpleNamespace(list_callback_order_instructions=list, get_script_requirements=lambda *a: []),
    )  # fmt: skip
    stub("modules.extensions", extensions=[extension], active=lambda: [extension], find_extension=lambda name: None)
    stub(
        "modules.sd_samplers_common",
        Sampler=Sampler, SamplerData=lambda *content: content, apply_refiner=lambda *a: False,
        store_latent=lambda latent: None, InterruptedException=KeyboardInterrupt,
        decode_first_stage=lambda sd_model, latents: sd_model.decode_first_stage(latents),
        images_tensor_to_samples=lambda image, model: model.miniature.encode_pictures(image * 2 - 1),
    )  # fmt: skip
    stub("k_diffusion")
    stub("k_diffusion.sampling", torch=torch)
    torch.set_num_threads(1)


def files_of(folder, suffix):
    from modules.scripts import ScriptFile

    found = (REPOSITORY / folder).glob(f"*{suffix}")
    return [ScriptFile(str(REPOSITORY), path.name, str(path)) for path in found]


class Model:
    """A formula instead of Stable Diffusion: x and a prompt's tokens -> eps."""

    cond_stage_key, parameterization, is_sd1 = "txt", "eps", True

    def __init__(self):
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64).square()
        self.alphas_cumprod = (1 - betas).cumprod(0).float()
        self.model = SimpleNamespace(conditioning_key="crossattn")

    def get_learned_conditioning(self, prompts):
        return torch.stack([CONDITIONINGS[prompt.strip()] for prompt in prompts])

    def denoise(self, x, sigma, tokens):
        sigma = sigma.view(-1, 1, 1, 1)
        tint = tokens.mean(dim=1)[:, : x.shape[1], None, None]
        smooth = torch.nn.functional.avg_pool2d(x / (1 + sigma.square()).sqrt(), 3, stride=1, padding=1)
        return torch.tanh(smooth + tint)

    def apply_model(self, x, timestep, cond):
        a = self.alphas_cumprod[timestep.long()].view(-1, 1, 1, 1)
        sigma = ((1 - a) / a).sqrt()
        x = x / a.sqrt()
        return (x - self.denoise(x, sigma.flatten(), cond["c_crossattn"][0])) / sigma


class MiniatureModel(Model):
    """The miniature, as TracedMiniature."""

    def __init__(self):
        super().__init__()
        sys.path.append(str(REPOSITORY / "tests"))
        from webui_miniature import TracedMiniature

        self.miniature = TracedMiniature(Path(os.environ["RS_MINIATURE"]))
        self.decode_first_stage, self.get_learned_conditioning = self.miniature.decode, self.miniature.encode
        self.cond_stage_model = torch.nn.ModuleList([self.miniature.text_encoder])
        self.cond_stage_model.tokenizer = self.miniature.tokenizer

    def denoise(self, x, sigma, tokens):
        levels = ((1 - self.alphas_cumprod) / self.alphas_cumprod).sqrt()
        timestep = (levels.log() - sigma.log()[:, None]).abs().argmin(dim=1)
        sigma = sigma.view(-1, 1, 1, 1)
        return x - sigma * self.miniature.eps(x / (1 + sigma.square()).sqrt(), timestep, tokens)

    def apply_model(self, x, timestep, cond):
        return self.miniature.eps(x, timestep, cond["c_crossattn"][0])


start()


def k_denoiser(sampler):
    """A1111's CFGDenoiser for k-diffusion samplers."""
    from modules import shared
    from modules.sd_samplers_cfg_denoiser import CFGDenoiser

    class Wrapped(CFGDenoiser):
        @property
        def inner_model(self):
            return lambda x, sigma, cond: shared.sd_model.denoise(x, sigma, cond["c_crossattn"][0])

    return Wrapped(sampler)


class Processing:
    """The attributes of `p` that scripts and the denoiser read."""

    def __init__(self, prompts, seeds, cfg_scale, mask=None, init_latent=None):
        from modules import shared

        self.sd_model, self.cfg_scale, self.is_hr_pass, self.subseed_strength = shared.sd_model, cfg_scale, False, 0
        self.prompts, self.seeds, self.subseeds, self.batch_size = list(prompts), list(seeds), list(seeds), len(prompts)
        self.extra_generation_params, self.comments, self.extra_network_data = {}, {}, {}
        self.mask, self.nmask, self.init_latent = mask, None if mask is None else 1 - mask, init_latent
        self.width = self.height = 128
        self.firstpass_steps, self.sampler = 4, Sampler()

    def get_conds_with_caching(self, function, required_prompts, steps, caches, extra_network_data, hires_steps=None):
        return function(self.sd_model, required_prompts, steps, hires_steps, False)

    def comment(self, text):
        self.comments[text] = 1


class Host:
    """Loads the extension as A1111 does, and samples with A1111's denoisers."""

    def __init__(self):
        import modules.scripts as scripts
        from modules import script_callbacks

        scripts.list_scripts = lambda folder, suffix, **_: files_of(folder, suffix)  # ours only
        sys.modules["modules.scripts_auto_postprocessing"] = types.ModuleType("none")
        scripts.load_scripts()
        self.runner, self.callbacks = scripts.ScriptRunner(), script_callbacks
        found = [data.script_class() for data in scripts.scripts_data]
        assert [script.title() for script in found] == ["RS-Corrector"], REPORTED
        (script,) = found
        script.filename = scripts.scripts_data[0].path
        script.args_from, script.args_to, script.is_img2img = 1, 10, False
        self.script = script
        self.runner.scripts = self.runner.alwayson_scripts = found

    @torch.no_grad()
    def generate(
        self, *values, prompts, sampler="Euler", seeds=(1, 2), cfg_scale=7.0, mask=None, init_latent=None, steps=4
    ):
        from modules import prompt_parser, shared

        p = Processing(prompts, seeds, cfg_scale, mask, init_latent)
        p.firstpass_steps = steps
        p.scripts, p.script_args = self.runner, (0, *values, *[None] * (9 - len(values)))
        runner = self.runner
        runner.process(p)
        runner.process_batch(p, batch_number=0, prompts=p.prompts, seeds=p.seeds, subseeds=p.subseeds)
        p.c = prompt_parser.get_multicond_learned_conditioning(shared.sd_model, p.prompts, steps)
        p.uc = prompt_parser.get_learned_conditioning(shared.sd_model, [""] * len(prompts), steps)
        noise = torch.stack([torch.randn(4, 16, 16, generator=torch.Generator().manual_seed(s)) for s in seeds])
        runner.process_before_every_sampling(p=p, x=noise, noise=noise, c=p.c, uc=p.uc)
        latents = p.sampler.launch_sampling(steps, lambda: self.sample(p, sampler, noise, steps))
        runner.postprocess_batch(p, latents, batch_number=0)
        outcome = {k: v(index=0) if callable(v) else v for k, v in p.extra_generation_params.items()}
        p.processed = SimpleNamespace(comments="")
        runner.postprocess(p, p.processed)
        return latents, outcome, p

    def denoiser(self, p, timesteps):
        from modules import sd_samplers_timesteps

        sampler = Sampler(p.c)
        denoiser = sd_samplers_timesteps.CFGDenoiserTimesteps(sampler) if timesteps else k_denoiser(sampler)
        denoiser.p, denoiser.steps, denoiser.total_steps = p, p.firstpass_steps, p.firstpass_steps
        denoiser.mask, denoiser.init_latent = p.mask, p.init_latent
        denoiser.nmask = None if p.mask is None else 1 - p.mask
        return denoiser

    def sample(self, p, sampler, noise, steps):
        from modules import sd_samplers_timesteps_impl as timesteps_samplers

        denoiser = self.denoiser(p, sampler != "Euler")
        arguments = dict(uncond=p.uc, cond=p.c, cond_scale=p.cfg_scale, s_min_uncond=0.0)
        arguments["image_cond"] = torch.zeros(len(noise), 5, 1, 1)
        if sampler == "Euler":
            levels = torch.logspace(1.1644, -1, steps) if steps > 4 else torch.tensor([14.6, 5.0, 1.5, 0.4])
            sigmas, x = torch.cat([levels, torch.zeros(1)]), noise * levels[0]
            for sigma, following in pairwise(sigmas):
                denoised = denoiser(x, sigma.expand(len(x)), **arguments)
                x = denoised + following / sigma * (x - denoised)
            return x
        timesteps = torch.linspace(1, 951, steps).long() if steps > 4 else torch.tensor([1, 201, 401, 601, 801])
        function = getattr(timesteps_samplers, sampler.lower())
        return function(
            denoiser, noise, timesteps=timesteps, extra_args=arguments, disable=True, callback=lambda d: None
        )


@pytest.fixture(scope="session")
def host():
    return Host()


@pytest.fixture
def miniature(host):
    """The miniature, which the host has loaded for a test."""
    from modules import sd_models, shared

    before = shared.sd_model
    shared.sd_model = sd_models.model_data.sd_model = MiniatureModel()
    yield shared.sd_model.miniature
    shared.sd_model = sd_models.model_data.sd_model = before


@pytest.fixture(autouse=True)
def no_errors_in_callbacks():
    REPORTED.clear()
    yield
    assert not REPORTED
