"""Cost of the correction relative to a full-size SD1.5 UNet (random weights, 64 x 64 latents) in ComfyUI on the CPU.

`COMFYUI_PATH=... <ComfyUI's python> benchmarks/overhead.py --json overhead.json`. The times of the hook and of the CFG
step are measured in the same steps of one run. Operations are counted when PyTorch dispatches them, without views,
because on a GPU each is at least one kernel launch.
"""

import argparse
import asyncio
import importlib.util
import json
import os
import statistics
import sys
import time
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode

ROOT = Path(__file__).resolve().parents[1]
VIEWS = (
    "view", "expand", "permute", "transpose", "t", "unsqueeze", "squeeze", "select", "slice", "split", "alias",
    "detach", "as_strided", "reshape", "_unsafe_view", "split_with_sizes", "unbind", "empty", "empty_like", "chunk",
)  # fmt: skip


class Count(TorchDispatchMode):
    """Counts dispatched operations except views."""

    def __init__(self):
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.operations += function.overloadpacket.__name__ not in VIEWS
        return function(*args, **(kwargs or {}))


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


def full_size_sd15():
    """SD1.5's UNet with 860 million random parameters."""
    import comfy.model_base
    import comfy.model_patcher
    import comfy.supported_models

    config = dict(comfy.supported_models.SD15.unet_config)
    config.pop("use_temporal_attention", None)
    config |= dict(
        image_size=32, in_channels=4, out_channels=4, model_channels=320, channel_mult=(1, 2, 4, 4),
        num_res_blocks=[2, 2, 2, 2], transformer_depth=[1, 1, 1, 1, 1, 1, 0, 0], transformer_depth_middle=1,
        transformer_depth_output=[1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0], use_spatial_transformer=True, legacy=False,
        context_dim=768, adm_in_channels=None, dtype=torch.float32,
    )  # fmt: skip
    config = comfy.supported_models.SD15(config)
    config.unet_config |= {"num_heads": 8, "num_head_channels": -1}
    model = comfy.model_base.BaseModel(config).eval()
    torch.manual_seed(0)
    for parameter in model.parameters():
        parameter.data.normal_(std=0.5 / max(1, parameter[0].numel()) ** 0.5).add_(parameter.ndim == 1)
    return comfy.model_patcher.ModelPatcher(model, torch.device("cpu"), torch.device("cpu"))


def preference():
    """A distilled preference of the shipped size with random weights and without a gate."""
    from rs_pack.corrector.axis.axis import Axis, Side
    from rs_pack.corrector.preference.networks import Distilled
    from rs_pack.corrector.preference.preference import Preference

    axis = Axis("a", "a", ("person",), ("{group}",), Side("a village", ("village",)), Side("a city", ("city",)))
    with torch.inference_mode(False):
        return Preference(axis, "sd15", Distilled("sd15", 1).eval().requires_grad_(False), name="random")


def peak_memory(call):
    """Maximum memory that a call allocates, in bytes."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        call()
    held = peak = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


@torch.inference_mode()
def measure(steps, size=64):
    import comfy.sample
    from rs_pack.corrector.correction.update import Settings
    from rs_pack.nodes.correction import corrected

    source = preference()
    model = corrected(full_size_sd15(), (source,), Settings())
    (hook,) = model.model_options["sampler_post_cfg_function"]
    clock, times, counts = [time.perf_counter()], [], {}

    def timed(args):
        """Record two times per step: the step without the hook, and the hook."""
        began = time.perf_counter()
        if len(times) == steps - 1:  # the last step counts operations and is not timed
            with Count() as count:
                denoised = hook(args)
            counts["hook_operations"] = count.operations
            counts["hook_peak_bytes"] = peak_memory(lambda: hook(args))
            with Count() as count:
                conds = {"c_crossattn": args["cond"][0]["model_conds"]["c_crossattn"].cond}
                args["model"].apply_model(args["input"], args["sigma"], **conds)
            counts["unet_operations"] = count.operations
            return denoised
        denoised = hook(args)
        ended = time.perf_counter()
        times.append((began - clock[0], ended - began))
        clock[0] = ended
        return denoised

    model.model_options["sampler_post_cfg_function"] = [timed]
    latent, cond = torch.zeros(1, 4, size, size), [[torch.randn(1, 77, 768), {}]]
    noise = comfy.sample.prepare_noise(latent, 0)
    comfy.sample.sample(model, noise, steps, 7.0, "euler", "normal", cond, cond, latent, seed=0)
    kept = times[1:]  # the first step warms up
    ratios = [hook_time / step for step, hook_time in kept]
    weights = sum(parameter.numel() * parameter.element_size() for parameter in source.source.parameters())
    return {
        "model": "SD1.5 UNet, random weights, 64 x 64 latents, batch 1, CFG, fp32, CPU",
        "n_steps": len(kept),
        "seed": 0,
        "step_seconds_median": statistics.median(step for step, _ in kept),
        "hook_seconds_median": statistics.median(hook_time for _, hook_time in kept),
        "hook_over_step_median": statistics.median(ratios),
        "hook_over_step_range": [min(ratios), max(ratios)],
        **{name: counts[name] for name in ("hook_operations", "unet_operations")},
        "extra_memory_bytes": weights + counts["hook_peak_bytes"],
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--steps", type=int, default=12)
    args = parser.parse_args()
    sys.argv = sys.argv[:1]  # ComfyUI reads it too
    load_pack(Path(os.environ.get("COMFYUI_PATH") or Path.home() / "ComfyUI"), cpu=True)
    figures = measure(args.steps)
    for name, value in figures.items():
        print(f"{name:24} {value}")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
