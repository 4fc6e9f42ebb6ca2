"""Cost of the correction relative to a full-size SD1.5 UNet (random weights, 64 x 64 latents) in Forge on the CPU.

`FORGE_PATH=... <Forge's python> benchmarks/overhead_forge.py --json figures.json`. The UNet, its patcher and the
sampling function are Forge's. The times of the hook and of the CFG step are measured in the same steps of one run.
"""

import argparse
import importlib
import json
import os
import statistics
import sys
import time
from itertools import pairwise
from pathlib import Path
from types import ModuleType, SimpleNamespace

import torch

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "rs_corrector_extension"


def start(forge):
    """Load Forge's modules on the CPU, and our package without its script."""
    sys.argv = ["launch.py", "--always-cpu"]
    sys.path.insert(0, str(forge))
    os.chdir(forge)
    from modules_forge.initialization import initialize_forge

    initialize_forge()
    sys.modules[PACKAGE] = package = ModuleType(PACKAGE)
    package.__path__ = [str(ROOT)]
    return [importlib.import_module(f"{PACKAGE}.{name}") for name in ("sd_webui.forge", "corrector.correction.run")]


def full_size_sd15():
    """SD1.5's UNet in Forge's class and patcher, with 860 million random parameters."""
    from backend.modules.k_prediction import Prediction
    from backend.nn.unet import IntegratedUNet2DConditionModel
    from backend.patcher.unet import UnetPatcher

    unet = IntegratedUNet2DConditionModel(
        in_channels=4, out_channels=4, model_channels=320, num_res_blocks=[2, 2, 2, 2], channel_mult=(1, 2, 4, 4),
        num_heads=8, use_spatial_transformer=True, transformer_depth=[1, 1, 1, 1, 1, 1, 0, 0],
        transformer_depth_output=[1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0], transformer_depth_middle=1, context_dim=768,
    )  # fmt: skip
    torch.manual_seed(0)
    for parameter in unet.parameters():
        parameter.data.normal_(std=0.5 / max(1, parameter[0].numel()) ** 0.5).add_(parameter.ndim == 1)
    unet.eval().requires_grad_(False)
    unet.storage_dtype = unet.computation_dtype = torch.float32
    unet.load_device = unet.offload_device = unet.initial_device = torch.device("cpu")
    return UnetPatcher.from_model(unet, None, SimpleNamespace(), k_predictor=Prediction(prediction_type="epsilon"))


def preference():
    """A distilled preference of the shipped size with random weights and without a gate."""
    from rs_corrector_extension.corrector.axis.axis import Axis, Side
    from rs_corrector_extension.corrector.preference.networks import Distilled
    from rs_corrector_extension.corrector.preference.preference import Preference

    axis = Axis("a", "a", ("person",), ("{group}",), Side("a village", ("village",)), Side("a city", ("city",)))
    return Preference(axis, "sd15", Distilled("sd15", 1).eval().requires_grad_(False), name="random")


class Job:
    """The part of a Job that the hook uses."""

    def guarded(self, call, *args, otherwise=None):
        return call(*args)


@torch.inference_mode()
def measure(forge, run_module, steps, size=64):
    from backend.sampling.condition import compile_conditions
    from backend.sampling.sampling_function import sampling_function_inner
    from rs_corrector_extension.corrector.correction.update import Settings

    with torch.inference_mode(False):
        source, unet = preference(), full_size_sd15()
    p = SimpleNamespace(cfg_scale=7.0, sd_model=SimpleNamespace(forge_objects=SimpleNamespace(unet=unet)))
    job = Job()
    job.run = run_module.Run([source], Settings(), torch.zeros(1), [[]])
    forge.install(p, job, job.run)
    unet = p.sd_model.forge_objects.unet
    (hook,) = unet.model_options["sampler_post_cfg_function"]
    clock, times = [time.perf_counter()], []

    def timed(args):
        """Record two times per step: the step without the hook, and the hook."""
        began = time.perf_counter()
        denoised = hook(args)
        ended = time.perf_counter()
        assert denoised is not args["denoised"], "the correction did not act"
        times.append((began - clock[0], ended - began))
        clock[0] = ended
        return denoised

    unet.model_options["sampler_post_cfg_function"] = [timed]
    sigmas = torch.linspace(14.6, 0.1, steps + 1)
    x = torch.randn(1, 4, size, size, generator=torch.Generator().manual_seed(0)) * sigmas[0]
    text = torch.randn(2, 1, 77, 768, generator=torch.Generator().manual_seed(1))
    for sigma, following in pairwise(sigmas):
        cond, uncond = compile_conditions(text[0]), compile_conditions(text[1])
        options = unet.model_options
        denoised = sampling_function_inner(unet.model, x, sigma[None], uncond, cond, 7.0, options)
        x = denoised + following / sigma * (x - denoised)
    kept = times[1:]  # the first step warms up
    ratios = [hook_time / step for step, hook_time in kept]
    return {
        "model": "SD1.5 UNet of Forge, random weights, 64 x 64 latents, batch 1, CFG 7, fp32, CPU",
        "n_steps": len(kept),
        "seed": 0,
        "step_seconds_median": statistics.median(step for step, _ in kept),
        "hook_seconds_median": statistics.median(hook_time for _, hook_time in kept),
        "hook_over_step_median": statistics.median(ratios),
        "hook_over_step_range": [min(ratios), max(ratios)],
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--steps", type=int, default=12)
    args = parser.parse_args()
    path = args.json and args.json.resolve()
    forge, run_module = start(Path(os.environ.get("FORGE_PATH") or Path.home() / "stable-diffusion-webui-forge"))
    figures = measure(forge, run_module, args.steps)
    for name, value in figures.items():
        print(f"{name:24} {value}")
    if path:
        path.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
