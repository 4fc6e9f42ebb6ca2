"""Text encoders and VAE of a diffusers pipeline, as learning, audits and corrections use them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..correction.update import CorrectionError
from ..latents.devices import quickly
from .pipelines import identity_of, is_sd3, is_sdxl, name_of
from .prompts import TEXTS_AT_ONCE, Prompts, chunks_of

if TYPE_CHECKING:
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

LATENTS_AT_ONCE = 2**15  # latent pixels: 8 pictures of 512 x 512, or 2 of 1024 x 1024
PICTURES_AT_ONCE = 8  # pictures: more do not fit into a CPU's cache and take longer


class PipelineTexts:
    """The text encoders of a pipeline as a TextEncoder (`latents.host`).

    Raises CorrectionError if it has none, as one to which only `prompt_embeds` are given.

    Args:
        pipe: a pipeline with `encode_prompt`.
    """

    def __init__(self, pipe: DiffusionPipeline):
        self.pipe = pipe
        self.sdxl = is_sdxl(pipe)
        self.sd3 = is_sd3(pipe)
        self.encoders = [e for e in (pipe.text_encoder, getattr(pipe, "text_encoder_2", None)) if e is not None]
        tokenizers = [t for t in (pipe.tokenizer, getattr(pipe, "tokenizer_2", None)) if t is not None]
        if not self.encoders or not tokenizers:
            raise CorrectionError(
                f"{name_of(pipe)}: it has no text encoder, and an axis is about what prompts say; load the pipeline "
                "with it, or use a learned preference."
            )
        self.tokenizer = tokenizers[0]
        self._device: torch.device | None = None

    @property
    def device(self) -> torch.device:
        if self._device is None:  # diffusers looks at every module for it
            self._device = self.pipe._execution_device  # also right with CPU offload
        return self._device

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return tuple(self.tokenizer.get_vocab())

    @property
    def encoder_identity(self) -> str:
        """The identity of the text encoders' weights."""
        return identity_of(*self.encoders)

    def encode_each(self, prompts: Sequence[str]) -> Iterator[Tensor]:
        for start in range(0, len(prompts), TEXTS_AT_ONCE):
            with quickly(self.device):
                encoded = self.encoded(prompts[start : start + TEXTS_AT_ONCE])
            yield from (row[0] for ((row, _),) in encoded.conditionings)

    @torch.no_grad()
    def encoded(self, prompts: Sequence[str]) -> Prompts:
        """Prompts of any length, in chunks that follow each other: token vectors [1, 77 k, W] of each."""
        # Tokenizers refuse halves of surrogate pairs, which become question marks.
        prompts = [prompt.encode("utf-8", "replace").decode() for prompt in prompts]
        chunks = [chunks_of(self.tokenizer, prompt) for prompt in prompts]
        # Without zeros for the T5 of SD3; its prompts for the other encoders have no default.
        options = dict(prompt_2=None, prompt_3=None, max_sequence_length=0) if self.sd3 else {}
        tokens, _, *pooled = self.pipe.encode_prompt(
            [chunk for parts in chunks for chunk in parts],
            device=self.device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=False,
            **options,
        )
        counts = [len(parts) for parts in chunks]
        rows = [torch.cat(list(vectors))[None] for vectors in tokens.float().cpu().split(counts)]
        beside = [{}] * len(rows)
        if self.sdxl or self.sd3:
            beside = [{"pooled_output": vectors[:1]} for vectors in pooled[0].float().cpu().split(counts)]
        return Prompts([[row, pooled]] for row, pooled in zip(rows, beside, strict=True))


@torch.no_grad()
def decoded(pipe: DiffusionPipeline, latents: Tensor, device: torch.device) -> Tensor:
    """Latents [N, C, H, W] in model space -> a pipeline's pictures [N, 3, height, width] in -1..1, on the CPU."""
    scale, shift = _scale_and_shift(pipe)
    at_once = max(1, min(PICTURES_AT_ONCE, LATENTS_AT_ONCE // (latents.shape[2] * latents.shape[3])))
    pictures = []
    with _upcast(pipe.vae) as vae:
        for part in latents.split(at_once):
            z = (part.to(device) / scale + shift).to(vae.dtype)
            pictures.append(vae.decode(z).sample.float().cpu())
    return torch.cat(pictures).clamp(-1, 1)


@torch.no_grad()
def encoded(pipe: DiffusionPipeline, pictures: Tensor, device: torch.device) -> Tensor:
    """Pictures [N, 3, height, width] in -1..1 -> their likeliest latents [N, C, H, W] in model space, on the CPU."""
    scale, shift = _scale_and_shift(pipe)
    latents = []
    with _upcast(pipe.vae) as vae:
        for picture in pictures.split(1):
            output = vae.encode(picture.to(device, vae.dtype))
            z = output.latents if hasattr(output, "latents") else output.latent_dist.mode()
            latents.append((z.float().cpu() - shift) * scale)
    return torch.cat(latents)


def _scale_and_shift(pipe):
    config = pipe.vae.config
    return config.scaling_factor, config.get("shift_factor") or 0.0


@contextmanager
def _upcast(vae):
    """A VAE that overflows in float16 (SDXL's) in float32 for a while, as diffusers' pipelines do it."""
    upcast = vae.dtype == torch.float16 and vae.config.get("force_upcast")
    try:
        yield vae.to(torch.float32) if upcast else vae
    finally:
        if upcast:
            vae.to(torch.float16)
