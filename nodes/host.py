"""ComfyUI as a LearningHost: encode, denoise, sample and decode with MODEL, CLIP and VAE of a graph.

The host always runs in inference mode and training does not, so the results are copied into normal tensors.
"""

import math
from collections.abc import Sequence
from contextlib import contextmanager
from functools import lru_cache

import comfy.model_management
import comfy.sample
import comfy.samplers
import torch
import torch.nn.functional as F
from PIL import Image

from ..corrector.hosts.prompts import TEXTS_AT_ONCE, Prompts
from ..corrector.latents.devices import quickly
from ..corrector.latents.host import Hook, starting_noise
from .correction import SPACES, check_model
from .identity import identity_of

ENCODED = 1024  # size of the cache of encoded prompts: those of an axis are reused many times
WORDS_KEPT = 10_000  # by the package tokenizers, of what each tokenizer has seen
SMALLEST = 128  # minimum side of pictures without a VAE, in pixels, so that a region has enough of them


def encode_each(clip, prompts, progress=None):
    """Many texts -> an iterator of their token vectors [T, W] of a CLIP, on the CPU; raises if the host is stopped.

    ComfyUI encodes the chunks of a long prompt as one batch: so are the chunks of several prompts here.
    `progress(texts)` is called after each batch.
    """
    for start in range(0, len(prompts), TEXTS_AT_ONCE):
        comfy.model_management.throw_exception_if_processing_interrupted()
        with _words_forgotten(clip):
            each = [clip.tokenize(prompt) for prompt in prompts[start : start + TEXTS_AT_ONCE]]
        together = {name: [chunk for chunks in each for chunk in chunks[name]] for name in each[0]}
        with torch.inference_mode(), quickly(clip.patcher.load_device):
            vectors = clip.encode_from_tokens_scheduled(together)[0][0][0].float().cpu()
        counts = [max(map(len, chunks.values())) for chunks in each]
        yield from vectors.split([len(vectors) // sum(counts) * count for count in counts])
        if progress:
            progress(len(each))


@contextmanager
def _words_forgotten(clip):
    """Without the memory of words of byte-pair tokenizers, which the package tokenizers never frees: thousands of texts
    with rare words would leave megabytes behind, also once the CLIP is gone."""
    tokenizers = [getattr(part, "tokenizer", None) for part in vars(clip.tokenizer).values()]
    parts = [getattr(tokenizer, "backend_tokenizer", None) for tokenizer in tokenizers]
    models = [part.model for part in parts if part is not None]
    models = [model for model in models if hasattr(model, "_resize_cache")]
    for model in models:
        model._resize_cache(0)
    try:
        yield
    finally:
        for model in models:
            model._resize_cache(WORDS_KEPT)


class ComfyPrompts(Prompts):
    """Prompts as ComfyUI's CLIP encodes them, one CONDITIONING each."""

    def alike(self):
        """Groups of indices of prompts that fit into one batch: same number of tokens, same extra tensors."""
        groups = {}
        for index, conditioning in enumerate(self.conditionings):
            shapes = [(cond.shape, *sorted((k, v.shape) for k, v in _tensors(beside))) for cond, beside in conditioning]
            groups.setdefault(tuple(shapes), []).append(index)
        return [torch.tensor(group) for group in groups.values()]

    def batched(self):
        """One CONDITIONING for a batch with one prompt per picture; the prompts must be `alike`."""
        batch = []
        for entries in zip(*self.conditionings, strict=True):
            beside = dict(entries[0][1])
            beside |= {name: torch.cat([entry[1][name] for entry in entries]) for name, _ in _tensors(beside)}
            batch.append([torch.cat([entry[0] for entry in entries]), beside])
        return batch


def _tensors(beside):
    return [(name, value) for name, value in beside.items() if isinstance(value, torch.Tensor)]


class OneEvaluation(comfy.samplers.Sampler):
    """A "sampler" that only evaluates the model at x and sigma [B], with the host's loading and conditioning."""

    def __init__(self, sigma):
        self.sigma = sigma

    def sample(self, guider, sigmas, extra_args, callback, noise, *_, **__):
        conds, sigma = [guider.conds["positive"]], self.sigma.to(noise)
        (self.denoised,) = comfy.samplers.calc_cond_batch(
            guider.inner_model, conds, noise, sigma, extra_args["model_options"]
        )
        return noise


class ComfyHost:
    """A LearningHost of ComfyUI's models. Raises CorrectionError if the model is not supported.

    Args:
        model, clip, vae: ComfyUI's MODEL, CLIP and VAE; without a VAE, pictures are approximate colours.
        width, height: size of the pictures in pixels.
        sampler, scheduler: their names in KSampler.
        batch: maximum number of pictures in one batch.
        steps: default number of sampling steps.
    """

    def __init__(
        self, model, clip, vae=None, width=512, height=512, sampler="euler", scheduler="karras", batch=8, steps=16
    ):
        check_model(model, ())
        self.model, self.clip, self.vae, self.batch, self.steps = model, clip, vae, batch, steps
        self.sampler, self.scheduler, self.device = sampler, scheduler, model.load_device
        self.latent_format = model.get_model_object("latent_format")
        self.space = SPACES[type(self.latent_format).__name__]
        self.shape = (self.latent_format.latent_channels, height // 8, width // 8)
        self._encoded = lru_cache(ENCODED)(self._encode)

    @property
    def vocabulary(self):
        return vocabulary_of(self.clip)

    @property
    def identity(self):
        return {
            "checkpoint": identity_of(self.model),
            "text encoder": identity_of(self.clip.patcher, self.clip.layer_idx, self.clip.tokenizer_options),
            "vae": identity_of(self.vae.patcher) if self.vae else "none",
            "sampler": self.sampler,
            "scheduler": self.scheduler,
            "size": f"{self.shape[2] * 8} x {self.shape[1] * 8}",
        }

    def encode(self, prompts):
        comfy.model_management.throw_exception_if_processing_interrupted()
        return ComfyPrompts(self._encoded(prompt) for prompt in prompts)

    def encode_each(self, prompts):
        return encode_each(self.clip, prompts)

    @torch.inference_mode()
    def _encode(self, prompt):
        return self.clip.encode_from_tokens_scheduled(self.clip.tokenize(prompt))

    def denoise(self, x, sigma, conditioning):
        conditioning, denoised = conditioning.expand(len(x)), torch.zeros(x.shape)
        for which in self.batches(conditioning):
            guider = comfy.samplers.CFGGuider(self.model)
            guider.inner_set_conds({"positive": conditioning[which].batched()})
            once = OneEvaluation(sigma[which])
            with torch.inference_mode():
                level = once.sigma.max().reshape(1).cpu()
                guider.sample(x[which].float(), torch.zeros(x[which].shape), once, level, disable_pbar=True, seed=0)
            denoised[which] = once.denoised.float().cpu()
        return denoised

    def sample(
        self, conditioning: ComfyPrompts, seeds: Sequence[int], cfg: float = 2.0, steps: int | None = None,
        hook: Hook | None = None,
    ) -> torch.Tensor:  # fmt: skip
        """Sample with ComfyUI's samplers, of which some draw further noise per batch; arguments as `Host.sample`."""
        conditioning, latents = conditioning.expand(len(seeds)), torch.zeros(len(seeds), *self.shape)
        for which in self.batches(conditioning):
            own = [int(seeds[i]) for i in which.tolist()]
            latents[which] = self._sample(conditioning[which], own, cfg, steps or self.steps, hook, which)
        return latents

    @torch.inference_mode()
    def _sample(self, conditioning, seeds, cfg, steps, hook, which):
        model = self.model.clone()
        if hook:

            def hooked(args):
                return hook(args["denoised"], args["input"], args["sigma"], which, args["cond_denoised"])

            model.set_model_sampler_post_cfg_function(hooked)
        noise = starting_noise(seeds, self.shape)
        latents = comfy.sample.sample(
            model, noise, steps, cfg, self.sampler, self.scheduler, conditioning.batched(),
            self.encode([""]).batched(), torch.zeros_like(noise), callback=_stop_if_interrupted, disable_pbar=True,
            seed=seeds[0],
        )  # fmt: skip
        return self.latent_format.process_in(latents.float()).cpu()

    def batches(self, conditioning):
        """Indices of the pictures of each batch; stops between batches if the user has interrupted the run."""
        for group in conditioning.alike():
            for which in group.split(self.batch):
                comfy.model_management.throw_exception_if_processing_interrupted()
                yield which

    def decode(self, latents):
        """Latents [N, C, H, W] -> pictures [N, 3, height, width] in -1..1, by the VAE or as approximate colours."""
        return torch.cat([self._decode(part) for part in latents.split(self.batch)])

    def _decode(self, latents):
        if self.vae is None:
            colours = self.colours(latents)
            larger = min(8, math.ceil(SMALLEST / min(latents.shape[2:])))
            return F.interpolate(colours, scale_factor=larger, mode="bilinear")
        with torch.inference_mode():
            pictures = self.vae.decode(self.latent_format.process_out(latents))  # [N, H, W, 3] in 0..1
        return pictures.movedim(-1, 1).float().cpu() * 2 - 1

    def colours(self, latents):
        """Latents -> approximate colours [N, 3, H, W] in -1..1, by the host's factors for previews."""
        factors = torch.tensor(self.latent_format.latent_rgb_factors)  # [C, 3]
        bias = torch.tensor(self.latent_format.latent_rgb_factors_bias or [0.0, 0.0, 0.0])
        return (torch.einsum("nchw,cr->nrhw", latents.float(), factors) + bias.view(3, 1, 1)).clamp(-1, 1)

    def preview(self, latents):
        """A small PIL image of the first latent."""
        colours = ((self.colours(latents[:1])[0] + 1) * 127.5).nan_to_num().to(torch.uint8)
        return Image.fromarray(colours.permute(1, 2, 0).numpy())


def vocabulary_of(clip) -> tuple[str, ...]:
    """The tokens that a CLIP's first tokenizer knows, as texts; () if it does not say."""
    words = (getattr(part, "inv_vocab", None) for part in vars(clip.tokenizer).values())
    return tuple(next(filter(None, words), {}).values())


def _stop_if_interrupted(*_):
    comfy.model_management.throw_exception_if_processing_interrupted()
