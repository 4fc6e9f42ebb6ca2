"""RS-Corrector on a CUDA GPU, each figure beside the plain run's.

Needs the repository, requirements-demo.txt and a torch with CUDA; downloads nothing. `same`: corrected latents and
decisions of the miniature against the CPU's. `step`: time and memory of a sampling step of a full-size SD1.5 UNet of
random weights, by precision and batch, with torch.compile and with CPU offload. Without a GPU only `--quick` runs, on
the CPU: its figures mean nothing. For ComfyUI and the WebUIs on a GPU, run tests/hosts there.
"""

import time
from collections.abc import Iterator
from itertools import pairwise
from statistics import median
from typing import Any

import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from torch import Tensor

from benchmarks.measuring import Options, number
from benchmarks.overhead import random_pipeline, random_preference
from benchmarks.records import ROOT, Row
from benchmarks.worlds import MINIATURE
from corrector.hosts.diffusers import corrected
from corrector.latents.devices import device_of
from corrector.miniature.host import Miniature
from corrector.preference.file import load_preference
from corrector.preference.preference import Preference

SEED = 2026
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SMALL_UNET = dict(sample_size=16, layers_per_block=1, attention_head_dim=4, block_out_channels=(32,) * 4)


def gpu(options: Options) -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda:0")
    if not options.quick:
        raise SystemExit(
            "No CUDA device was found; run this on a machine with an NVIDIA GPU and a torch built for CUDA, or with "
            "--quick."
        )
    return torch.device("cpu")


def row(figures: dict[str, float], n: int, **settings: str | float) -> Row:
    """A row with the name of the device."""
    name = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "CPU"
    return Row({**settings, "device": name}, {figure: number(value, n) for figure, value in figures.items()}, SEED)


def same(options: Options) -> Iterator[Row]:
    """The largest difference of a latent, and how many decisions at target 0.5 are alike."""
    n, drawn = options.count(32, quick=4), []
    preference = load_preference(ROOT / "weights" / "miniature-backdrop.safetensors")
    prompts, seeds = MINIATURE.prompts(preference.axis.groups[0], n), range(SEED, SEED + n)
    call = dict(num_inference_steps=2 if options.quick else 16, guidance_scale=2.0, output_type="latent")
    for device in (torch.device("cpu"), gpu(options)):
        host = Miniature()
        host.pipe.to(device).set_progress_bar_config(disable=True)
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # matrix products have none by default
            plain = host.pipe(prompts, latents=host.noise(seeds), **call).images.cpu()
            with corrected(host.pipe, preference, target=0.5) as run:
                latents = host.pipe(prompts, latents=host.noise(seeds), **call).images.cpu()
        drawn.append((plain, latents, run.reasons[0]))
        homes = {str(device_of(part)) for part in (preference.source, preference.gate)}
        if homes != {"cpu"}:
            raise RuntimeError(f"After the run networks are on {sorted(homes)}; expected the CPU.")
    on_cpu, here = drawn
    figures = {
        "plain: difference": float((on_cpu[0] - here[0]).abs().max()),
        "corrected: difference": float((on_cpu[1] - here[1]).abs().max()),
        "decided alike": sum(map(str.__eq__, on_cpu[2], here[2])) / n,
    }
    yield row(figures, n, sampler="Euler", target=0.5)


def step(options: Options) -> Iterator[Row]:
    device, preference = gpu(options), random_preference("corrector")
    pipe = random_pipeline(**(SMALL_UNET if options.quick else {}))
    ways = [("eager", precision, batch) for precision in PRECISIONS for batch in (1, 4)]
    ways += [("torch.compile", "fp16", 1), ("CPU offload", "fp16", 1)]
    eager = pipe.unet
    for way, precision, batch in ways if device.type == "cuda" else ways[:2]:
        pipe.unet = torch.compile(eager) if way == "torch.compile" else eager
        if way == "CPU offload":
            pipe.enable_model_cpu_offload(device=device)
        else:
            pipe.to(device, PRECISIONS[precision])
        figures, n = measured(pipe, preference, PRECISIONS[precision], batch, 4 if options.quick else 20)
        yield row(figures, n, way=way, precision=precision, batch=batch)


def measured(
    pipe: StableDiffusionPipeline, preference: Preference, dtype: torch.dtype, batch: int, steps: int
) -> tuple[dict[str, float], int]:
    """-> (figures of a step, number of steps); plain and corrected calls from the same seed alternate."""
    device = pipe._execution_device
    names = ("prompt_embeds", "negative_prompt_embeds")
    embeds = {name: torch.randn(batch, 77, pipe.unet.config.cross_attention_dim).to(device, dtype) for name in names}

    def call(corrects: bool) -> tuple[Tensor, list[float], float]:
        """-> (latents [B, C, H, W], milliseconds of each step but the first, MiB at most)."""
        moments: list[float] = []

        def mark(*_):
            if device.type == "cuda":
                torch.cuda.synchronize()
            moments.append(1000 * time.perf_counter())
            return {}

        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        more: dict[str, Any] = dict(
            num_inference_steps=steps, generator=torch.Generator().manual_seed(SEED), guidance_scale=7.0
        )
        strength = float(corrects)  # 0 replaces nothing
        with corrected(pipe, preference, strength, use_gate=False) as run:
            latents = pipe(**embeds, **more, output_type="latent", callback_on_step_end=mark).images
        if corrects and set(run.outcomes()) != {"corrected"}:
            raise RuntimeError(f"Not all pictures were corrected: {run.report()}")
        if not latents.isfinite().all():
            raise RuntimeError("There are latents with NaN or infinity.")
        peak = torch.cuda.max_memory_allocated() / 2**20 if device.type == "cuda" else 0.0
        return latents, [after - before for before, after in pairwise(moments)], peak

    latents, times, peaks = {}, {False: [], True: []}, {}
    for repetition in range(3):  # the first warms up
        for corrects in (False, True) if repetition % 2 else (True, False):
            latents[corrects], milliseconds, peaks[corrects] = call(corrects)
            times[corrects] += milliseconds if repetition else []
    if latents[False].equal(latents[True]):
        raise RuntimeError("The correction changed nothing.")
    added = [after - before for before, after in zip(times[False], times[True], strict=True)]
    figures = {"plain: ms": median(times[False]), "corrected: ms": median(times[True]), "added: ms": median(added)}
    return figures | {"plain: peak MiB": peaks[False], "corrected: peak MiB": peaks[True]}, len(added)


PARTS = {"same": same, "step": step}
