"""Time of the correction beside that of a step, in each host on the CPU.

`<the host's python> benchmarks/overhead.py comfyui|forge|diffusers --json FILE`, with COMFYUI_PATH or FORGE_PATH. The
UNet is SD1.5's in full size with random weights; UNet, patcher and sampling are the host's. Both times are of the same
steps of one run. In ComfyUI operations are counted too: on a GPU each is at least one kernel launch.
"""

import argparse
import asyncio
import importlib
import importlib.util
import json
import os
import statistics
import sys
import time
from itertools import pairwise
from pathlib import Path
from types import ModuleType, SimpleNamespace
from unittest.mock import patch

import torch
from torch.utils._python_dispatch import TorchDispatchMode

ROOT = Path(__file__).resolve().parents[1]
SIZE = 64  # of the latents
VIEWS = (
    "view", "expand", "permute", "transpose", "t", "unsqueeze", "squeeze", "select", "slice", "split", "alias",
    "detach", "as_strided", "reshape", "_unsafe_view", "split_with_sizes", "unbind", "empty", "empty_like", "chunk",
)  # fmt: skip
BLOCKS = dict(
    in_channels=4, out_channels=4, model_channels=320, channel_mult=(1, 2, 4, 4), num_res_blocks=[2, 2, 2, 2],
    transformer_depth=[1, 1, 1, 1, 1, 1, 0, 0], transformer_depth_middle=1, context_dim=768,
    transformer_depth_output=[1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0], use_spatial_transformer=True,
)  # fmt: skip


class Count(TorchDispatchMode):
    """Counts dispatched operations except views."""

    def __init__(self):
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.operations += function.overloadpacket.__name__ not in VIEWS
        return function(*args, **(kwargs or {}))


class Clock:
    """Seconds of each step: the host's part, and the correction."""

    def __init__(self):
        self.ended, self.steps = time.perf_counter(), []

    def step(self, began, inside=0.0):
        """A step ends; its correction began at `began`, and `inside` seconds since then were the host's."""
        now = time.perf_counter()
        self.steps.append((began - self.ended + inside, now - began - inside))
        self.ended = now

    def timed(self, hook):
        """A post-CFG hook of ComfyUI or Forge, timed."""

        def wrapper(args):
            began = time.perf_counter()
            denoised = hook(args)
            self.step(began)
            if denoised is args["denoised"]:
                raise RuntimeError("the correction did not act")
            return denoised

        return wrapper

    def figures(self):
        kept = self.steps[1:]  # the first step warms up
        ratios = [correction / step for step, correction in kept]
        return {
            "n_steps": len(kept),
            "step_seconds_median": statistics.median(step for step, _ in kept),
            "correction_seconds_median": statistics.median(correction for _, correction in kept),
            "correction_over_step_median": statistics.median(ratios),
            "correction_over_step_range": [min(ratios), max(ratios)],
        }


def preference(package):
    """A distilled preference of the shipped size, with random weights and no gate; `package` is our `corrector`."""
    axis, networks, preferences = (
        importlib.import_module(f"{package}.{name}")
        for name in ("axis.axis", "preference.networks", "preference.preference")
    )
    sides = axis.Side("a village", ("village",)), axis.Side("a city", ("city",))
    source = networks.Distilled("sd15", 1).eval().requires_grad_(False)
    return preferences.Preference(axis.Axis("a", "a", ("person",), ("{group}",), *sides), "sd15", source, name="random")


def filled(unet):
    """The UNet with random weights of about the size of trained ones."""
    torch.manual_seed(0)
    for parameter in unet.parameters():
        parameter.data.normal_(std=0.5 / max(1, parameter[0].numel()) ** 0.5).add_(parameter.ndim == 1)
    return unet.eval().requires_grad_(False)


def load_pack(comfyui, **options):
    """Load our pack as ComfyUI does -> its nodes. `options` are ComfyUI's, such as cpu."""
    sys.path.insert(0, str(comfyui))
    import comfy.cli_args

    vars(comfy.cli_args.args).update(options)
    import utils.extra_config  # noqa: F401  the host's "utils", before its comfy/ folder joins sys.path

    spec = importlib.util.spec_from_file_location(
        "rs_pack", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    sys.modules["rs_pack"] = pack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pack)
    return asyncio.run(asyncio.run(pack.comfy_entrypoint()).get_node_list())


def comfyui(clock, steps):
    load_pack(Path(os.environ.get("COMFYUI_PATH") or Path.home() / "ComfyUI"), cpu=True)
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
    cpu, source = torch.device("cpu"), preference("rs_pack.corrector")
    model = comfy.model_patcher.ModelPatcher(filled(comfy.model_base.BaseModel(config)), cpu, cpu)
    model = corrected(model, (source,), Settings())
    (hook,) = model.model_options["sampler_post_cfg_function"]
    timed, counts = clock.timed(hook), {}

    def counted(args):
        """The last step counts operations and is not timed."""
        if len(clock.steps) < steps - 1:
            return timed(args)
        conds = {"c_crossattn": args["cond"][0]["model_conds"]["c_crossattn"].cond}
        with Count() as of_hook:
            denoised = hook(args)
        with Count() as of_unet:
            args["model"].apply_model(args["input"], args["sigma"], **conds)
        counts.update(correction_operations=of_hook.operations, unet_operations=of_unet.operations)
        return denoised

    model.model_options["sampler_post_cfg_function"] = [counted]
    with torch.inference_mode():
        latent, cond = torch.zeros(1, 4, SIZE, SIZE), [[torch.randn(1, 77, 768), {}]]
        noise = comfy.sample.prepare_noise(latent, 0)
        comfy.sample.sample(model, noise, steps, 7.0, "euler", "normal", cond, cond, latent, seed=0)
    return counts


class Job:
    """The part of a Job that Forge's hook uses."""

    def guarded(self, call, *args, otherwise=None):
        return call(*args)


def forge(clock, steps):
    folder, package = Path(os.environ.get("FORGE_PATH") or Path.home() / "stable-diffusion-webui-forge"), "rs_extension"
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
    job = Job()
    job.run = run.Run([preference(f"{package}.corrector")], update.Settings(), torch.zeros(1), [[]])
    install.install(p, job, job.run)
    patcher = p.sd_model.forge_objects.unet
    options = patcher.model_options
    options["sampler_post_cfg_function"] = [clock.timed(hook) for hook in options["sampler_post_cfg_function"]]
    with torch.inference_mode():
        sigmas, text = torch.linspace(14.6, 0.1, steps + 1), torch.randn(2, 1, 77, 768)
        x = torch.randn(1, 4, SIZE, SIZE) * sigmas[0]
        for sigma, following in pairwise(sigmas):
            cond, uncond = compile_conditions(text[0]), compile_conditions(text[1])
            denoised = sampling_function_inner(patcher.model, x, sigma[None], uncond, cond, 7.0, options)
            x = denoised + following / sigma * (x - denoised)
    return {}


def in_diffusers(clock, steps):
    sys.path.insert(0, str(ROOT))
    import diffusers

    from corrector.hosts.diffusers import PipelineRun, corrected

    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel(sample_size=SIZE, cross_attention_dim=768).eval()
    scheduler = diffusers.EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    blocks = dict(down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4)
    vae = diffusers.AutoencoderKL(**blocks, block_out_channels=[32] * 4, latent_channels=4)
    rest = dict(text_encoder=None, tokenizer=None, safety_checker=None, feature_extractor=None)
    pipe = diffusers.StableDiffusionPipeline(
        vae=vae, unet=unet, scheduler=scheduler, requires_safety_checker=False, **rest
    )
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

    embeds = dict(prompt_embeds=torch.randn(1, 77, 768), negative_prompt_embeds=torch.randn(1, 77, 768))
    with patch.object(PipelineRun, "_step", timed), corrected(pipe, preference("corrector"), use_gate=False) as run:
        pipe(**embeds, num_inference_steps=steps, guidance_scale=7.0, output_type="latent")
    if run.outcomes() != ["corrected"]:
        raise RuntimeError("the correction did not act")
    return {"diffusers": diffusers.__version__}


HOSTS = {"comfyui": comfyui, "forge": forge, "diffusers": in_diffusers}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("host", choices=HOSTS)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--steps", type=int, default=12)
    args = parser.parse_args()
    path, clock = args.json and args.json.resolve(), Clock()
    sys.argv = sys.argv[:1]  # ComfyUI reads it too
    more = HOSTS[args.host](clock, args.steps)
    figures = {
        "model": "SD1.5 UNet, random weights, 64 x 64 latents, batch 1, CFG 7, fp32, CPU",
        **clock.figures(),
        **more,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    for name, value in figures.items():
        print(f"{name:28} {value}")
    if path:
        others = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(others | {args.host: figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
