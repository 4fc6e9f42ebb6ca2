"""What learning, calibration and audits need from a model, and Euler's method for hosts that have no sampler."""

from itertools import pairwise

import torch

from ..gate.prompt_gate import token_vectors
from .prompts import joined

TEXTS_AT_ONCE = 16  # that are encoded in one batch


class Host:
    """A model as four functions: encode, denoise, sample and decode.

    Latents are in model space, (VAE space - shift) * scale; x at sigma is x0 + sigma * noise. Arguments may be on any
    device; `denoise` and `sample` return float32 on `device`, `encode` and `decode` on the CPU. A conditioning is a
    tensor of token vectors [N, T, W], or Prompts. Subclasses provide

        encode(prompts): list of N texts -> conditioning of N prompts.
        denoise(x, sigma, conditioning): [B, C, H, W], [B], conditioning of B or 1 -> denoised without CFG [B, C, H, W].
        decode(latents): [N, C, H, W] -> pictures [N, 3, 8H, 8W] in -1..1.

    Attributes:
        space: name in LATENT_SPACES of the latents.
        shape: (C, H, W) of one latent.
        device: torch.device on which the networks compute.
        batch: most pictures in one batch of `sample`.
        steps: default number of sampling steps.
        cfg: default CFG scale of pairs.
        identity: dict of all that a picture depends on except prompt, seed, CFG and steps; JSON-serialisable, equal
            each time the same weights are loaded. Its "checkpoint" stands for UNet and text encoders.
        vocabulary: the tokens that the text encoder's tokenizer knows, as texts; () if that is not known.
        schedule_settings: betas, as arguments of diffusers' EulerDiscreteScheduler.
        sigmas: training sigmas, ascending [T].
    """

    batch = 50
    steps = 16
    cfg = 7.0
    vocabulary = ()

    def encode_each(self, prompts):
        """Many texts -> an iterator of their token vectors [T, W], as `encode` gives them for each, on the CPU."""
        for prompt in prompts:
            yield token_vectors(self.encode([prompt]))[0]

    def timestep(self, sigma):
        """sigma [B] -> the nearest training timestep in log sigma [B], as in ComfyUI, so that predictions agree."""
        return (sigma.log()[:, None] - self.sigmas.to(sigma.device).log()).abs().argmin(dim=1)

    def schedule(self, steps):
        """Karras et al. (2022) sigmas of the sampler, descending to 0: [steps + 1]."""
        from diffusers import EulerDiscreteScheduler

        scheduler = EulerDiscreteScheduler(**self.schedule_settings, use_karras_sigmas=True)
        scheduler.set_timesteps(steps)
        return scheduler.sigmas

    def noise(self, seeds):
        """Starting noise of each seed [N, C, H, W] on the CPU, independent of batch and device."""
        draws = [torch.randn(self.shape, generator=torch.Generator().manual_seed(int(seed))) for seed in seeds]
        return torch.stack(draws)

    @torch.no_grad()
    def sample(self, conditioning, seeds, cfg=2.0, steps=None, hook=None, batch=None, progress=None):
        """Euler's method from seeds to latents [N, C, H, W].

        Args:
            conditioning: of N prompts, or of one for all pictures.
            seeds: N integers.
            cfg: CFG scale; the negative prompt is empty.
            steps: by default `self.steps`.
            hook: `hook(denoised, x, sigma, which, conditional)`, called after CFG, returns the new denoised; `which`
                [B] are the indices of the batch's pictures, `conditional` is the prediction without CFG.
            batch: most pictures at once, by default `self.batch`.
            progress: `progress(pictures)`, called after each batch.
        """
        conditioning = conditioning.to("cpu").expand(len(seeds), -1, -1)
        empty = self.encode([""])
        sigmas, latents = self.schedule(steps or self.steps), []
        for which in torch.arange(len(seeds)).split(batch or self.batch):
            x = (self.noise([seeds[i] for i in which.tolist()]) * (sigmas[0].square() + 1).sqrt()).to(self.device)
            both = joined(conditioning[which], empty.expand(len(which), -1, -1))
            for sigma, following in pairwise(sigmas):
                level = sigma.to(self.device).expand(len(which))
                if cfg == 1.0:
                    denoised = conditional = self.denoise(x, level, both[: len(which)])
                else:
                    conditional, plain = self.denoise(x.repeat(2, 1, 1, 1), level.repeat(2), both).chunk(2)
                    denoised = plain + cfg * (conditional - plain)
                if hook:
                    denoised = hook(denoised, x, level, which, conditional)
                x = denoised + following / sigma * (x - denoised)  # Euler step
            latents.append(x)
            if progress:
                progress(len(which))
        return torch.cat(latents)
