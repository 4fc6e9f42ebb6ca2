"""Time of the correction beside that of a step, in each host on the CPU.

`<the host's python> -m benchmarks overhead comfyui|forge|diffusers`, with COMFYUI_PATH or FORGE_PATH. The UNet is that
of SD1.5 in full size with random weights, latents of 64 x 64, batch 1, CFG 7, fp32; UNet, patcher and sampling are the
host's. Both times are of the same steps of one run.
"""

import asyncio
import importlib
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import torch

from benchmarks.measuring import Options, number
from benchmarks.records import ROOT, Estimate, Row

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline

    from corrector.preference.preference import Preference

LATENT_SIZE = 64
BLOCKS = dict(
    in_channels=4, out_channels=4, model_channels=320, channel_mult=(1, 2, 4, 4), num_res_blocks=[2, 2, 2, 2],
    transformer_depth=[1, 1, 1, 1, 1, 1, 0, 0], transformer_depth_middle=1, context_dim=768,
    transformer_depth_output=[1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0], use_spatial_transformer=True,
)  # fmt: skip


class Clock:
    """Seconds of each step: the host's part, and the correction."""

    def __init__(self):
        self.ended = time.perf_counter()
        self.steps: list[tuple[float, float]] = []

    def step(self, began: float, inside: float = 0.0) -> None:
        """A step ends; its correction began at `began`, and `inside` seconds since then were the host's."""
        now = time.perf_counter()
        self.steps.append((began - self.ended + inside, now - began - inside))
        self.ended = now

    def timed(self, hook: Callable) -> Callable:
        """A post-CFG hook of ComfyUI or Forge, timed."""

        def wrapper(args):
            began = time.perf_counter()
            denoised = hook(args)
            self.step(began)
            if denoised is args["denoised"]:
                raise RuntimeError("the correction did not act")
            return denoised

        return wrapper

    def row(self, host: str) -> Row:
        """Medians of all steps but the first, which warms up; `ratio` has their range."""
        ratios = [round(correction / step, 6) for step, correction in self.steps[1:]]
        steps, corrections = zip(*self.steps[1:], strict=True)
        figures = {
            "seconds of a step": number(median(steps), len(steps)),
            "seconds of the correction": number(median(corrections), len(steps)),
            "ratio": Estimate(median(ratios), min(ratios), max(ratios), len(steps)),
        }
        return Row({"host": host, "threads": torch.get_num_threads()}, figures)


def random_preference(package: str) -> "Preference":
    """A distilled preference of the shipped size, with random weights and no gate; `package` is our `corrector`."""
    axis, networks, preferences = (
        importlib.import_module(f"{package}.{name}")
        for name in ("axis.axis", "preference.networks", "preference.preference")
    )
    sides = axis.Side("a village", ("village",)), axis.Side("a city", ("city",))
    source = networks.Distilled("sd15", 1).eval().requires_grad_(False)
    return preferences.Preference(axis.Axis("a", "a", ("person",), ("{group}",), *sides), "sd15", source, name="random")


def filled(unet: torch.nn.Module) -> torch.nn.Module:
    """The UNet with random weights of about the size of trained ones."""
    torch.manual_seed(0)
    for parameter in unet.parameters():
        parameter.data.normal_(std=0.5 / max(1, parameter[0].numel()) ** 0.5).add_(parameter.ndim == 1)
    return unet.eval().requires_grad_(False)


def comfyui(clock: Clock, steps: int) -> None:
    sys.path.insert(0, os.environ.get("COMFYUI_PATH") or str(Path.home() / "ComfyUI"))
    sys.argv = sys.argv[:1]  # ComfyUI reads it too
    import comfy.cli_args

    comfy.cli_args.args.cpu = True
    import utils.extra_config  # noqa: F401  the host's "utils", before its comfy/ folder joins sys.path

    folders = [str(ROOT)]
    spec = importlib.util.spec_from_file_location("rs_pack", ROOT / "__init__.py", submodule_search_locations=folders)
    sys.modules["rs_pack"] = pack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pack)
    asyncio.run(pack.comfy_entrypoint())
    import comfy.model_base
    import comfy.model_patcher
    import comfy.sample
    import comfy.supported_models
    from rs_pack.corrector.correction.update import Settings
    from rs_pack.nodes.correction import corrected

    config = dict(comfy.supported_models.SD15.unet_config) | BLOCKS
    config.pop("use_temporal_attention", None)
    config |= dict(image_size=32, legacy=False, adm_in_channels=None, dtype=torch.float32)
    config = comfy.supported_models.SD15(config)
    config.unet_config |= {"num_heads": 8, "num_head_channels": -1}
    cpu = torch.device("cpu")
    model = comfy.model_patcher.ModelPatcher(filled(comfy.model_base.BaseModel(config)), cpu, cpu)
    model = corrected(model, (random_preference("rs_pack.corrector"),), Settings())
    options = model.model_options
    options["sampler_post_cfg_function"] = [clock.timed(hook) for hook in options["sampler_post_cfg_function"]]
    with torch.inference_mode():
        latent, cond = torch.zeros(1, 4, LATENT_SIZE, LATENT_SIZE), [[torch.randn(1, 77, 768), {}]]
        noise = comfy.sample.prepare_noise(latent, 0)
        comfy.sample.sample(model, noise, steps, 7.0, "euler", "normal", cond, cond, latent, seed=0)


def forge(clock: Clock, steps: int) -> None:
    folder, package = os.environ.get("FORGE_PATH") or Path.home() / "stable-diffusion-webui-forge", "rs_extension"
    sys.argv = ["launch.py", "--always-cpu"]
    sys.path.insert(0, str(folder))
    os.chdir(folder)
    from modules_forge.initialization import initialize_forge

    initialize_forge()
    sys.modules[package] = ModuleType(package)
    sys.modules[package].__path__ = [str(ROOT)]
    from backend.modules.k_prediction import Prediction
    from backend.nn.unet import IntegratedUNet2DConditionModel
    from backend.patcher.unet import UnetPatcher
    from backend.sampling.condition import compile_conditions
    from backend.sampling.sampling_function import sampling_function_inner

    install, run, update = (
        importlib.import_module(f"{package}.{name}")
        for name in ("sd_webui.forge", "corrector.correction.run", "corrector.correction.update")
    )
    unet = filled(IntegratedUNet2DConditionModel(num_heads=8, **BLOCKS))
    unet.storage_dtype = unet.computation_dtype = torch.float32
    unet.load_device = unet.offload_device = unet.initial_device = torch.device("cpu")
    patcher = UnetPatcher.from_model(unet, None, SimpleNamespace(), k_predictor=Prediction(prediction_type="epsilon"))
    p = SimpleNamespace(cfg_scale=7.0, sd_model=SimpleNamespace(forge_objects=SimpleNamespace(unet=patcher)))
    # The part of a Job that Forge's hook uses.
    job = SimpleNamespace(guarded=lambda call, *args, otherwise=None: call(*args))
    job.run = run.Run([random_preference(f"{package}.corrector")], update.Settings(), torch.zeros(1), [[]])
    install.install(p, job, job.run)
    patcher = p.sd_model.forge_objects.unet
    options = patcher.model_options
    options["sampler_post_cfg_function"] = [clock.timed(hook) for hook in options["sampler_post_cfg_function"]]
    with torch.inference_mode():
        sigmas, text = torch.linspace(14.6, 0.1, steps + 1), torch.randn(2, 1, 77, 768)
        x = torch.randn(1, 4, LATENT_SIZE, LATENT_SIZE) * sigmas[0]
        for sigma, following in pairwise(sigmas):
            cond, uncond = compile_conditions(text[0]), compile_conditions(text[1])
            denoised = sampling_function_inner(patcher.model, x, sigma[None], uncond, cond, 7.0, options)
            x = denoised + following / sigma * (x - denoised)


def random_pipeline(**unet_config) -> "StableDiffusionPipeline":
    """A diffusers pipeline with SD1.5's UNet in random weights; prompts are given as embeddings."""
    import diffusers

    torch.manual_seed(0)
    config: dict[str, Any] = dict(sample_size=LATENT_SIZE, cross_attention_dim=768) | unet_config
    unet = diffusers.UNet2DConditionModel(**config).eval().requires_grad_(False)
    blocks: dict[str, Any] = dict(down_block_types=("DownEncoderBlock2D",) * 4, block_out_channels=(32,) * 4)
    vae = diffusers.AutoencoderKL(**blocks, up_block_types=("UpDecoderBlock2D",) * 4)
    betas: dict[str, Any] = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1)
    parts: dict[str, Any] = dict(text_encoder=None, tokenizer=None, safety_checker=None, feature_extractor=None)
    parts |= dict(vae=vae, unet=unet, scheduler=diffusers.EulerDiscreteScheduler(**betas))
    pipe = diffusers.StableDiffusionPipeline(**parts, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def in_diffusers(clock: Clock, steps: int) -> None:
    from corrector.hosts.diffusers import corrected
    from corrector.hosts.pipeline_run import PipelineRun

    wrapper = PipelineRun._step

    def timed(run, original, *args, **kwargs):
        began, inside = time.perf_counter(), []

        def step(*args, **kwargs):
            entered = time.perf_counter()
            stepped = original(*args, **kwargs)
            inside.append(time.perf_counter() - entered)
            return stepped

        stepped = wrapper(run, step, *args, **kwargs)
        clock.step(began, sum(inside))
        return stepped

    pipe, preference = random_pipeline(), random_preference("corrector")
    embeds: dict[str, Any] = dict(prompt_embeds=torch.randn(1, 77, 768), negative_prompt_embeds=torch.randn(1, 77, 768))
    with patch.object(PipelineRun, "_step", timed), corrected(pipe, preference, use_gate=False) as run:
        pipe(**embeds, num_inference_steps=steps, guidance_scale=7.0, output_type="latent")
    if run.outcomes() != ["corrected"]:
        raise RuntimeError("the correction did not act")


def measured(host: str, sample: Callable[[Clock, int], None]) -> Callable[[Options], Iterator[Row]]:
    def part(options: Options) -> Iterator[Row]:
        clock = Clock()
        sample(clock, options.count(12, quick=3))
        yield clock.row(host)

    return part


PARTS = {
    "comfyui": measured("ComfyUI", comfyui),
    "forge": measured("Forge", forge),
    "diffusers": measured("diffusers", in_diffusers),
}
