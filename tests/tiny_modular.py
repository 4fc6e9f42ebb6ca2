"""Modular pipelines of diffusers with the components of others, and their guiders."""

import diffusers
import torch
from diffusers.guiders import ClassifierFreeGuidance

from corrector.hosts.guider import RSCorrectorGuidance


def modular(pipe):
    """The modular pipeline of a pipeline's components, which ends with latents."""
    kind = getattr(diffusers, type(pipe).__name__.replace("Pipeline", "ModularPipeline"))
    blocks = getattr(diffusers, kind.default_blocks_name)()
    blocks.sub_blocks.pop("decode")
    made = blocks.init_pipeline()
    made.update_components(**{name: part for name, part in pipe.components.items() if name in made.component_names})
    made.set_progress_bar_config(disable=True)
    return made


def guided(pipe, *preferences, **settings):
    """The pipeline with an RSCorrectorGuidance."""
    guider = RSCorrectorGuidance(preferences, **settings).attach(pipe)
    pipe.update_components(guider=guider)
    return pipe


def plain(pipe, **settings):
    """The pipeline with a ClassifierFreeGuidance."""
    pipe.update_components(guider=ClassifierFreeGuidance(**settings))
    return pipe


def latents_of(pipe, **call):
    """Latents [B, C, H, W]."""
    settings = dict(prompt=["a portrait"], negative_prompt=["a dog"], height=64, width=96, num_inference_steps=4)
    made = pipe(**settings | call, generator=torch.Generator().manual_seed(1), output="latents")
    return made[:, :, 0] if made.ndim == 5 else made
