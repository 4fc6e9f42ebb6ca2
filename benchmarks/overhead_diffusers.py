"""What `corrected` costs beside a full-size SD1.5 UNet (random weights, 64 x 64 latents) in a diffusers pipeline, CPU.

`python benchmarks/overhead_diffusers.py --json overhead.json`. Time in the wrapper around `scheduler.step` and time of
the CFG step around it come from the same steps of the same run.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from unittest.mock import patch

import diffusers
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from corrector.axis.axis import Axis, Side
from corrector.hosts.diffusers import PipelineRun, corrected
from corrector.preference.networks import Distilled
from corrector.preference.preference import Preference
from corrector.preference.prompt_gate import PromptGate

LIMIT = 0.002  # of a step


def full_size_sd15():
    """A pipeline with SD1.5's UNet, 860 million parameters from a seed; prompts are given as embeddings."""
    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel(sample_size=64, cross_attention_dim=768).eval()
    scheduler = diffusers.EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    rest = dict(text_encoder=None, tokenizer=None, safety_checker=None, feature_extractor=None)
    vae = diffusers.AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4,
        block_out_channels=[32] * 4, latent_channels=4,
    )  # fmt: skip
    return diffusers.StableDiffusionPipeline(
        vae=vae, unet=unet, scheduler=scheduler, requires_safety_checker=False, **rest
    )


def preference():
    """A distilled preference of the shipped size with random weights."""
    axis = Axis("a", "a", ("person",), ("{group}",), Side("a village", ("village",)), Side("a city", ("city",)))
    source, gate = (
        network.eval().requires_grad_(False) for network in (Distilled("sd15", 1), PromptGate(768, 1, 36, reach=5))
    )
    return Preference(axis, "sd15", source, gate, name="random")


def measure(steps):
    pipe, own, clock, times = full_size_sd15(), PipelineRun._step, [0.0], []

    def timed(run, original, *args, **kwargs):
        """One pair of times a step: all of the step but the wrapper, and the wrapper."""
        began, inside = time.perf_counter(), [0.0]

        def step(*args, **kwargs):
            entered = time.perf_counter()
            stepped = original(*args, **kwargs)
            inside[0] = time.perf_counter() - entered
            return stepped

        stepped = own(run, step, *args, **kwargs)
        ended = time.perf_counter()
        times.append((began - clock[0] + inside[0], ended - began - inside[0]))
        clock[0] = ended
        return stepped

    embeds = dict(prompt_embeds=torch.randn(1, 77, 768), negative_prompt_embeds=torch.randn(1, 77, 768))
    with patch.object(PipelineRun, "_step", timed), corrected(pipe, preference(), use_gate=False) as run:
        pipe(**embeds, num_inference_steps=steps, guidance_scale=7.0, output_type="latent")
    assert run.outcomes() == ["corrected"]
    kept = times[1:]  # the first step warms up
    ratios = [wrapper / step for step, wrapper in kept]
    return {
        "model": "SD1.5 UNet, random weights, 64 x 64 latents, batch 1, CFG, fp32, CPU",
        "n_steps": len(kept),
        "seed": 0,
        "step_seconds_median": statistics.median(step for step, _ in kept),
        "wrapper_seconds_median": statistics.median(wrapper for _, wrapper in kept),
        "wrapper_over_step_median": statistics.median(ratios),
        "wrapper_over_step_range": [min(ratios), max(ratios)],
        "limit": LIMIT,
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "threads": torch.get_num_threads(),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--steps", type=int, default=12)
    args = parser.parse_args()
    figures = measure(args.steps)
    for name, value in figures.items():
        print(f"{name:26} {value}")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
