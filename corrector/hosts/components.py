"""Text encoders and VAE of a diffusers pipeline, as learning, audits and corrections use them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..correction.update import CorrectionError
from ..latents.devices import quickly
from .denoiser_arguments import prompts_of
from .families import default_encoding, encode_texts, family_of
from .pipelines import identity_of, is_sd3, is_sdxl, name_of
from .prompts import TEXTS_AT_ONCE, Prompts, chunks_of

if TYPE_CHECKING:
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

LATENTS_AT_ONCE = 2**14  # latent pixels in the VAE: a single picture of 1024 x 1024 takes more memory than all else
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
        self.family = family_of(pipe)
        names = ("text_encoder", "text_encoder_2", "text_encoder_3")
        self.encoders = [encoder for name in names if (encoder := getattr(pipe, name, None)) is not None]
        tokenizers = [getattr(pipe, name, None) for name in (self.family.texts, "tokenizer", "tokenizer_2")]
        tokenizers = [tokenizer for tokenizer in tokenizers if tokenizer is not None]
        if not self.encoders or not tokenizers:
            raise CorrectionError(
                f"{name_of(pipe)}: it has no text encoder, and an axis is about what prompts say; load the pipeline "
                "with it, or use a learned preference."
            )
        self.tokenizer, self.tokenizers = tokenizers[0], tokenizers
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
            with quickly(self.device), _not_searched(self.pipe, self.tokenizers):
                encoded = self._encoded_like_calls(prompts[start : start + TEXTS_AT_ONCE])
            yield from (row[0] for ((row, _),) in encoded.conditionings)

    @torch.no_grad()
    def _encoded_like_calls(self, prompts):
        """Prompts as calls of the pipeline encode them, without what stands for no text."""
        if self.family.repeats or (self.sd3 and self.pipe.text_encoder_3 is None):
            return self.encoded(prompts)
        options = default_encoding(self.pipe) | {"device": self.device}
        texts = {"prompt": [_valid(prompt) for prompt in prompts]}
        encoded = prompts_of(self.family, encode_texts(self.pipe, self.pipe.encode_prompt, texts, options))
        return Prompts([[spoken(row).float().cpu(), {}]] for ((row, _),) in encoded.conditionings)

    @torch.no_grad()
    def encoded(self, prompts: Sequence[str]) -> Prompts:
        """Prompts of any length, in chunks that follow each other: token vectors [1, 77 k, W] of each."""
        chunks = [chunks_of(self.tokenizer, _valid(prompt)) for prompt in prompts]
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


@contextmanager
def _not_searched(pipe, tokenizers):
    """Without diffusers' search of prompts for embeddings of several vectors, where none is loaded: for thousands of
    texts it takes as long as to encode them.
    """
    vocabularies = [tokenizer.added_tokens_encoder for tokenizer in tokenizers]
    several = any(f"{token}_1" in tokens for tokens in vocabularies for token in tokens)
    if several or not hasattr(pipe, "maybe_convert_prompt"):
        yield
        return
    pipe.maybe_convert_prompt = lambda prompt, tokenizer: prompt
    try:
        yield
    finally:
        del pipe.maybe_convert_prompt


def spoken(tokens: Tensor) -> Tensor:
    """Token vectors [1, T, W] without zeros, which stand for no text, as where SD3 has no T5."""
    filled = tokens[0].any(dim=-1)
    return tokens[:, filled] if bool(filled.any()) else tokens


def _valid(prompt):
    """A prompt that tokenizers take: they refuse halves of surrogate pairs, which become question marks."""
    return prompt.encode("utf-8", "replace").decode()


@torch.no_grad()
def decoded(pipe: DiffusionPipeline, latents: Tensor, device: torch.device) -> Tensor:
    """Latents [N, C, H, W] in model space -> a pipeline's pictures [N, 3, height, width] in -1..1, on the CPU."""
    scale, shift = _scale_and_shift(pipe)
    at_once = max(1, min(PICTURES_AT_ONCE, LATENTS_AT_ONCE // (latents.shape[2] * latents.shape[3])))
    pictures = []
    with _upcast(pipe.vae) as vae:
        for part in latents.split(at_once):
            z = (part.to(device) / scale.to(device) + shift.to(device)).to(vae.dtype)
            if _has_frames(vae):
                pictures.append(vae.decode(z[:, :, None]).sample[:, :, 0].float().cpu())
            else:
                pictures.append(vae.decode(z).sample.float().cpu())
    return torch.cat(pictures).clamp(-1, 1)


@torch.no_grad()
def encoded(pipe: DiffusionPipeline, pictures: Tensor, device: torch.device) -> Tensor:
    """Pictures [N, 3, height, width] in -1..1 -> their likeliest latents [N, C, H, W] in model space, on the CPU."""
    scale, shift = _scale_and_shift(pipe)
    latents = []
    with _upcast(pipe.vae) as vae:
        for picture in pictures.split(1):
            picture = picture.to(device, vae.dtype)
            output = vae.encode(picture[:, :, None] if _has_frames(vae) else picture)
            named = (name for name in ("latents", "latent") if hasattr(output, name))  # of AutoencoderTiny, of DC
            name = next(named, None)
            z = (getattr(output, name) if name else output.latent_dist.mode()).float().cpu()
            latents.append(((z[:, :, 0] if _has_frames(vae) else z) - shift) * scale)
    return torch.cat(latents)


def _scale_and_shift(pipe):
    """Scale and shift of the VAE, each a number or [C, 1, 1], as tensors on the CPU."""
    config = pipe.vae.config
    if _has_frames(pipe.vae):
        deviations, means = (torch.tensor(config[name])[:, None, None] for name in ("latents_std", "latents_mean"))
        return 1 / deviations, means
    return torch.tensor(config.scaling_factor), torch.tensor(config.get("shift_factor") or 0.0)


def _has_frames(vae):
    """Whether a VAE is Qwen-Image's, which is one for video: [B, C, T, H, W], scaled by channel."""
    return "latents_mean" in vae.config and "z_dim" in vae.config


@contextmanager
def _upcast(vae):
    """A VAE that overflows in float16 (SDXL's) in float32 for a while, as diffusers' pipelines do it."""
    upcast = vae.dtype == torch.float16 and vae.config.get("force_upcast")
    try:
        yield vae.to(torch.float32) if upcast else vae
    finally:
        if upcast:
            vae.to(torch.float16)
