"""Plain and corrected pictures of the same seeds with diffusers: `python docs/diffusers_example.py`, into out/.

It runs on the miniature model in this repository. For a model of your own, load its pipeline and its preference.
"""

import sys
from pathlib import Path

import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # not needed after `pip install .`
from corrector.hosts.diffusers import corrected  # noqa: E402
from corrector.preference.file import load_preferences  # noqa: E402

pipe = StableDiffusionPipeline.from_pretrained(ROOT / "weights" / "miniature")
pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
preferences = load_preferences(ROOT / "weights" / "miniature-backdrop.safetensors")


def pictures():
    generators = [torch.Generator().manual_seed(seed) for seed in range(4)]
    settings = dict(num_images_per_prompt=4, num_inference_steps=20, guidance_scale=5.0)
    return pipe("a portrait of an Orvane person", generator=generators, **settings).images


plain = pictures()
with corrected(pipe, preferences, strength=1.0, target=0.75) as run:
    changed = pictures()
print(run.report())

out = Path("out")
out.mkdir(exist_ok=True)
for name, images in (("plain", plain), ("corrected", changed)):
    for index, image in enumerate(images):
        image.save(out / f"{name}-{index}.png")
