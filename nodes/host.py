"""ComfyUI as a LearningHost: encode, denoise, sample and decode with MODEL, CLIP and VAE of a graph.

The host always runs in inference mode and training does not, so the results are copied into normal tensors.
"""

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import comfy.model_management
import comfy.sample
import comfy.samplers
import torch
import torch.nn.functional as F
from comfy.latent_formats import LatentFormat
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP, VAE
from PIL import Image
from torch import Tensor

from ..corrector.correction.update import CorrectionError
from ..corrector.hosts.prompts import TEXTS_AT_ONCE
from ..corrector.latents.devices import quickly
from ..corrector.latents.host import Hook, default_cfg, starting_noise
from ..corrector.latents.skin import LinearColours, Pictures
from .identity import identity_of, identity_of_text_encoder
from .models import check_model, name_of, space_of
from .prompts import ComfyPrompts
from .sampling import Sampling

CACHED_PROMPTS = 1024  # encoded, since those of an axis are used many times
SAME_VECTOR = 0.1  # relative distance below which two vectors of a token differ by rounding only, also in bfloat16
SMALLEST_PICTURE = 128  # pixels per side without a VAE, so that a region has enough of them


def encode_each(clip: CLIP, prompts: Sequence[str]) -> Iterator[Tensor]:
    """Many texts -> an iterator of their token vectors [T, W] of a CLIP, on the CPU; raises if the host is stopped.

    Each text gets the vectors that it gets alone. Texts with equal numbers of tokens are encoded together if the first
    two of them show that this CLIP allows it: some concatenate the tokens of two encoders, or cut off a chat template.
    """
    batchable = {}  # {the lengths of a text's chunks: whether such texts can be encoded together}
    for start in range(0, len(prompts), TEXTS_AT_ONCE):
        comfy.model_management.throw_exception_if_processing_interrupted()
        batch = [clip.tokenize(prompt) for prompt in prompts[start : start + TEXTS_AT_ONCE]]
        same_lengths = {}
        for index, chunks in enumerate(batch):
            same_lengths.setdefault(_lengths(chunks), []).append(index)
        vectors = {}
        with torch.inference_mode(), quickly(clip.patcher.load_device):
            for lengths, indices in same_lengths.items():
                texts = [batch[index] for index in indices]
                if len(texts) > 1 and lengths not in batchable:
                    batchable[lengths] = _can_batch(clip, texts[:2])
                if batchable.get(lengths):
                    encoded = _joined_vectors(clip, texts).tensor_split(len(texts))
                else:
                    encoded = [_vectors(clip, text) for text in texts]
                vectors |= zip(indices, encoded, strict=True)
        yield from (vectors[index] for index in range(len(batch)))


def _lengths(tokens):
    return tuple((name, tuple(map(len, chunks))) for name, chunks in tokens.items())


def _vectors(clip, tokens):
    """The token vectors [T, W] of what a CLIP's tokenizer returned. Raises CorrectionError if it gives none."""
    vectors = next((vectors for vectors, _ in clip.encode_from_tokens_scheduled(tokens)), None)
    if vectors is None or vectors.ndim != 3 or not vectors.numel():
        raise CorrectionError(
            "This CLIP gives no vectors for the words of a text, by which RS-Corrector reads prompts. Connect the CLIP "
            "that encodes your prompt; if it is that one, RS-Corrector cannot correct this model."
        )
    return vectors[0].float().cpu()


def _joined_vectors(clip, texts):
    """The token vectors of tokenized texts of equal lengths, whose chunks are encoded like those of one long prompt."""
    return _vectors(clip, {name: [chunk for chunks in texts for chunk in chunks[name]] for name in texts[0]})


def _can_batch(clip, texts):
    """Whether two texts have the same vectors together as alone, up to rounding."""
    joined, alone = _joined_vectors(clip, texts), torch.cat([_vectors(clip, text) for text in texts])
    if joined.shape != alone.shape:
        return False
    distances = (joined - alone).norm(dim=1)  # [T], each compared with its own token's norm, as these differ a lot
    return bool((distances <= SAME_VECTOR * alone.norm(dim=1)).all())


class _OneEvaluation(comfy.samplers.Sampler):
    """A "sampler" that only evaluates the model at x and sigma [B], with the host's loading and conditioning."""

    def __init__(self, sigma: Tensor):
        self.sigma = sigma

    def sample(self, guider, sigmas, extra_args, callback, noise, *_, **__):
        conds, sigma = [guider.conds["positive"]], self.sigma.to(noise)
        (self.denoised,) = comfy.samplers.calc_cond_batch(
            guider.inner_model, conds, noise, sigma, extra_args["model_options"]
        )
        return noise


class ComfyHost:
    """A LearningHost of ComfyUI's models. Raises CorrectionError if the model makes no pictures, or if only a VAE shows
    them and there is none.

    Args:
        model, clip, vae: ComfyUI's MODEL, CLIP and VAE; without a VAE, pictures are approximate colours.
        width, height: size of the pictures in pixels.
        sampler, scheduler: their names in KSampler.
        batch: maximum number of pictures in one batch.
        steps: default number of sampling steps.
    """

    def __init__(
        self, model: ModelPatcher, clip: CLIP, vae: VAE | None = None, width: int = 512, height: int = 512,
        sampler: str = "euler", scheduler: str = "karras", batch: int = 8, steps: int = 16,
    ):  # fmt: skip
        check_model(model, ())
        self.model = model
        self.clip = clip
        self.vae = vae
        self.invertible = vae is not None
        self.batch = batch
        self.steps = steps
        self.sampler = sampler
        self.scheduler = scheduler
        self.device = model.load_device
        self.latent_format = model.get_model_object("latent_format")
        self.space = space_of(model)
        self.sampling = Sampling(model, frames=self.latent_format.latent_dimensions == 3)
        self.ratio = self.latent_format.spacial_downscale_ratio
        self.shape = (self.latent_format.latent_channels, height // self.ratio, width // self.ratio)
        self.reader: Any = None  # the miniature's, if it can read the pictures
        colours = preview_colours(self.latent_format)
        if colours is None and vae is None:
            raise CorrectionError(
                f"{name_of(model)} has no approximate colours that pictures could be judged by; connect its VAE."
            )
        self._colours: Any = colours
        self._encoded = lru_cache(CACHED_PROMPTS)(self._encode)

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return vocabulary_of(self.clip)

    @property
    def identity(self) -> dict[str, str]:
        return {
            "checkpoint": identity_of(self.model),
            "text encoder": identity_of_text_encoder(self.clip),
            "vae": identity_of(self.vae.patcher) if self.vae else "none",
            "sampler": self.sampler,
            "scheduler": self.scheduler,
            "size": f"{self.shape[2] * self.ratio} x {self.shape[1] * self.ratio}",
        }

    def encode(self, prompts: Sequence[str]) -> ComfyPrompts:
        comfy.model_management.throw_exception_if_processing_interrupted()
        return ComfyPrompts(self._encoded(prompt) for prompt in prompts)

    def encode_each(self, prompts: Sequence[str]) -> Iterator[Tensor]:
        return encode_each(self.clip, prompts)

    @torch.inference_mode()
    def _encode(self, prompt):
        return self.clip.encode_from_tokens_scheduled(self.clip.tokenize(prompt))

    def denoise(self, x: Tensor, sigma: Tensor, conditioning: ComfyPrompts) -> Tensor:
        conditioning = conditioning.expand(len(x))
        denoised = torch.zeros(x.shape)
        for index in self.batches(conditioning):
            guider = comfy.samplers.CFGGuider(self.model)
            guider.inner_set_conds({"positive": conditioning[index].batched()})
            noisy, level = self.sampling.sampled(x[index].float(), sigma[index].float())
            once = _OneEvaluation(level)
            with torch.inference_mode():
                highest = level.max().reshape(1).cpu()
                guider.sample(noisy, torch.zeros(noisy.shape), once, highest, disable_pbar=True, seed=0)
            denoised[index] = self.sampling.pictures(once.denoised).float().cpu()
        return denoised

    def sample(
        self, conditioning: ComfyPrompts, seeds: Sequence[int], cfg: float | None = None, steps: int | None = None,
        hook: Hook | None = None,
    ) -> Tensor:  # fmt: skip
        """Sample with ComfyUI's samplers, of which some draw further noise per batch; arguments as `Host.sample`."""
        conditioning = conditioning.expand(len(seeds))
        cfg = default_cfg(self.space) if cfg is None else cfg
        latents = torch.zeros(len(seeds), *self.shape)
        for index in self.batches(conditioning):
            batch_seeds = [int(seeds[i]) for i in index.tolist()]
            latents[index] = self._sample(conditioning[index], batch_seeds, cfg, steps or self.steps, hook, index)
        return latents

    @torch.inference_mode()
    def _sample(self, conditioning, seeds, cfg, steps, hook, index):
        model = self.model.clone()
        if hook:

            def hooked(args):
                running = args["model"], args["model"].current_patcher
                predictions = (self.sampling.pictures(args[name]) for name in ("denoised", "cond_denoised"))
                try:
                    denoised, conditional = predictions
                    noisy = self.sampling.exploding(args["input"], args["sigma"])
                    return self.sampling.latents(hook(denoised, *noisy, index, conditional))
                finally:  # a hook that asks with `denoise` ends a sampling of its own
                    running[0].current_patcher = running[1]

            model.set_model_sampler_post_cfg_function(hooked)
        noise = self.sampling.latents(starting_noise(seeds, self.shape))
        latents = comfy.sample.sample(
            model, noise, steps, cfg, self.sampler, self.scheduler, conditioning.batched(),
            self.encode([""]).batched(), torch.zeros_like(noise), callback=_stop_if_interrupted, disable_pbar=True,
            seed=seeds[0],
        )  # fmt: skip
        return self.sampling.pictures(self.latent_format.process_in(latents.float())).cpu()

    def batches(self, conditioning: ComfyPrompts) -> Iterator[Tensor]:
        """Indices of the pictures of each batch; stops between batches if the user has interrupted the run."""
        for group in conditioning.alike():
            for index in group.split(self.batch):
                comfy.model_management.throw_exception_if_processing_interrupted()
                yield index

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [N, C, H, W] -> pictures [N, 3, height, width] in -1..1, by the VAE or as approximate colours."""
        return torch.cat([self._decode(part) for part in latents.split(self.batch)])

    def _decode(self, latents):
        if self.vae is None:
            larger = min(self.ratio, math.ceil(SMALLEST_PICTURE / min(latents.shape[2:])))
            return F.interpolate(self.colours(latents), scale_factor=larger, mode="bilinear")
        return pictures_of(self.vae).decode(self.latent_format.process_out(self.sampling.latents(latents)))

    def encode_pictures(self, pictures: Tensor) -> Tensor:
        """Pictures [N, 3, height, width] in -1..1 -> latents [N, C, H, W], by the VAE or from approximate colours."""
        if self.vae is None:
            small = F.interpolate(pictures, self.shape[1:], mode="area")
            return self._colours.latents(small)
        return self.latent_format.process_in(pictures_of(self.vae).encode(pictures))

    def colours(self, latents: Tensor) -> Tensor:
        """Latents -> approximate colours [N, 3, H, W] in -1..1, by the host's factors for previews."""
        return self._colours.rgb(latents).clamp(-1, 1)

    def preview(self, latents: Tensor) -> Image.Image | None:
        """A small PIL image of the first latent, if the host has its approximate colours."""
        if self._colours is None:
            return None
        colours = ((self.colours(latents[:1])[0] + 1) * 127.5).nan_to_num().to(torch.uint8)
        return Image.fromarray(colours.permute(1, 2, 0).numpy())


def pictures_of(vae: VAE) -> Pictures:
    """How a VAE shows latents, here in VAE space."""

    @torch.inference_mode()
    def decode(latents: Tensor) -> Tensor:
        rgb = vae.decode(latents)  # [N, H, W, 3] in 0..1, with a dimension for frames where latents have one
        return rgb.flatten(0, -4).movedim(-1, 1).float().cpu() * 2 - 1

    @torch.inference_mode()
    def encode(pictures: Tensor) -> Tensor:
        rgb = (pictures.movedim(1, -1) + 1) / 2
        return torch.cat([vae.encode(picture) for picture in rgb.split(1)]).float().cpu()  # several would be frames

    return Pictures(decode, encode)


def preview_colours(latent_format: LatentFormat) -> LinearColours | None:
    """The approximate colours of latents in model space, by the host's factors for previews; None if it has none, or
    if several pixels share a cell.
    """
    if not latent_format.latent_rgb_factors or latent_format.latent_rgb_factors_reshape:
        return None
    bias = latent_format.latent_rgb_factors_bias or [0.0, 0.0, 0.0]
    return LinearColours(torch.tensor(latent_format.latent_rgb_factors), torch.tensor(bias))


def vocabulary_of(clip: CLIP) -> tuple[str, ...]:
    """The tokens that a CLIP's first tokenizer knows, as texts; () if it does not say."""
    words = (getattr(part, "inv_vocab", None) for part in vars(clip.tokenizer).values())
    return tuple(next(filter(None, words), {}).values())


def _stop_if_interrupted(*_):
    comfy.model_management.throw_exception_if_processing_interrupted()
