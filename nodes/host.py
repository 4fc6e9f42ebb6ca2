"""ComfyUI as a host of the package: encode, denoise, sample and decode with the MODEL, CLIP and VAE of a graph.

Learning and calibration run outside inference mode, the host always in it: what it returns is copied out.
"""

import math
from functools import lru_cache

import comfy.model_management
import comfy.sample
import comfy.samplers
import torch
import torch.nn.functional as F
from PIL import Image

from ..corrector.hosts.prompts import Prompts
from .correction import SPACES, check_model
from .identity import identity_of

ENCODED = 1024  # prompts whose encoding is kept: those of an axis come back again and again
SMALLEST = 128  # pixels a side that pictures without a VAE have at least, so that a region of them holds some


class ComfyPrompts(Prompts):
    """Prompts as ComfyUI's CLIP encodes them, a CONDITIONING each."""

    def alike(self):
        """Indices of the prompts that fit into one batch: same number of tokens, same extra tensors."""
        groups = {}
        for index, conditioning in enumerate(self.conditionings):
            shapes = [(cond.shape, *sorted((k, v.shape) for k, v in _tensors(beside))) for cond, beside in conditioning]
            groups.setdefault(tuple(shapes), []).append(index)
        return [torch.tensor(group) for group in groups.values()]

    def batched(self):
        """One CONDITIONING for a batch of pictures with a prompt each, which must be `alike`."""
        batch = []
        for entries in zip(*self.conditionings, strict=True):
            beside = dict(entries[0][1])
            beside |= {name: torch.cat([entry[1][name] for entry in entries]) for name, _ in _tensors(beside)}
            batch.append([torch.cat([entry[0] for entry in entries]), beside])
        return batch


def _tensors(beside):
    return [(name, value) for name, value in beside.items() if isinstance(value, torch.Tensor)]


class OneEvaluation(comfy.samplers.Sampler):
    """A "sampler" that only asks for the prediction at x and sigma, a sigma a picture.

    As a sampler it gets the model loaded and the conditioning prepared by the host, as for any other.
    """

    def __init__(self, sigma):
        self.sigma = sigma

    def sample(self, guider, sigmas, extra_args, callback, noise, *_, **__):
        conds, sigma = [guider.conds["positive"]], self.sigma.to(noise)
        (self.denoised,) = comfy.samplers.calc_cond_batch(
            guider.inner_model, conds, noise, sigma, extra_args["model_options"]
        )
        return noise


class ComfyHost:
    """What ComfyUI has loaded, with a sampler and a size, as the package's four functions. Latents in model space.

    `batch`: most pictures at once. Raises CorrectionError where the model's latents are of a kind not known.
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
    def identity(self):
        """All that pictures depend on but prompt, seed, CFG and steps; each part by its name."""
        return {
            "checkpoint": identity_of(self.model),
            "text encoder": identity_of(self.clip.patcher, self.clip.layer_idx, self.clip.tokenizer_options),
            "vae": identity_of(self.vae.patcher) if self.vae else "none",
            "sampler": self.sampler,
            "scheduler": self.scheduler,
            "size": f"{self.shape[2] * 8} x {self.shape[1] * 8}",
        }

    def encode(self, prompts):
        """Texts -> Prompts."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        return ComfyPrompts(self._encoded(prompt) for prompt in prompts)

    @torch.inference_mode()
    def _encode(self, prompt):
        return self.clip.encode_from_tokens_scheduled(self.clip.tokenize(prompt))

    def denoise(self, x, sigma, conditioning):
        """(x [N, C, H, W], sigma [N], Prompts of N or 1) -> the prediction without CFG, on the CPU."""
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

    def sample(self, conditioning, seeds, cfg=2.0, steps=None, hook=None, batch=None, progress=None):
        """From seeds to latents [N, C, H, W], by the host's own sampler; Prompts of N or 1.

        A picture's starting noise depends on its own seed alone; samplers that add noise on the way draw it a batch.
        `hook(denoised, x, sigma, which)`, called after CFG, returns the new denoised; `which` says which of the N
        pictures are in the batch. `progress(pictures)` is called after each batch.
        """
        conditioning, latents = conditioning.expand(len(seeds)), torch.zeros(len(seeds), *self.shape)
        for which in self.batches(conditioning, batch):
            own = [int(seeds[i]) for i in which.tolist()]
            latents[which] = self._sample(conditioning[which], own, cfg, steps or self.steps, hook, which)
            if progress:
                progress(len(which))
        return latents

    @torch.inference_mode()
    def _sample(self, conditioning, seeds, cfg, steps, hook, which):
        model = self.model.clone()
        if hook:

            def hooked(args):
                return hook(args["denoised"], args["input"], args["sigma"], which)

            model.set_model_sampler_post_cfg_function(hooked)
        noise = torch.stack([torch.randn(self.shape, generator=torch.Generator().manual_seed(s)) for s in seeds])
        latents = comfy.sample.sample(
            model, noise, steps, cfg, self.sampler, self.scheduler, conditioning.batched(),
            self.encode([""]).batched(), torch.zeros_like(noise), callback=_stop_where_asked, disable_pbar=True,
            seed=seeds[0],
        )  # fmt: skip
        return self.latent_format.process_in(latents.float()).cpu()

    def batches(self, conditioning, batch=None):
        """Indices of the pictures, a batch at a time; between batches the artist may have stopped it."""
        for group in conditioning.alike():
            for which in group.split(batch or self.batch):
                comfy.model_management.throw_exception_if_processing_interrupted()
                yield which

    def decode(self, latents):
        """Latents [N, C, H, W] -> pictures [N, 3, height, width] in -1..1: the VAE's, else their rough colours."""
        pictures = [self._decode(part) for part in latents.split(self.batch)]
        return torch.cat(pictures)

    def _decode(self, latents):
        if self.vae is None:
            colours = self.colours(latents)
            larger = min(8, math.ceil(SMALLEST / min(latents.shape[2:])))
            return F.interpolate(colours, scale_factor=larger, mode="bilinear")
        with torch.inference_mode():
            pictures = self.vae.decode(self.latent_format.process_out(latents))  # [N, H, W, 3] in 0..1
        return pictures.movedim(-1, 1).float().cpu() * 2 - 1

    def colours(self, latents):
        """Latents -> their rough colours [N, 3, H, W] in -1..1, by the host's factors for previews."""
        factors = torch.tensor(self.latent_format.latent_rgb_factors)  # [C, 3]
        bias = torch.tensor(self.latent_format.latent_rgb_factors_bias or [0.0, 0.0, 0.0])
        return (torch.einsum("nchw,cr->nrhw", latents.float(), factors) + bias.view(3, 1, 1)).clamp(-1, 1)

    def preview(self, latents):
        """The first of some latents, as the host's progress bar shows it."""
        colours = ((self.colours(latents[:1])[0] + 1) * 127.5).nan_to_num().to(torch.uint8)
        return "JPEG", Image.fromarray(colours.permute(1, 2, 0).numpy()), 512


def _stop_where_asked(*_):
    comfy.model_management.throw_exception_if_processing_interrupted()
