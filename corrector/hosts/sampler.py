"""What hosts without a program around them share: starting noise, sampling schedule, Euler's method, identity."""

import hashlib
from functools import cached_property
from itertools import pairwise

import torch

SD15_SCHEDULE = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")


class Host:
    """Base of the miniature and of checkpoint folders, which add encode, denoise and decode.

    They set `space`, `shape` of one latent, `sigmas` of training, `dtype` by name, `weight_files`, those of the UNet
    and the text encoders, and `autoencoder_files`.
    """

    schedule_settings = SD15_SCHEDULE  # of diffusers' EulerDiscreteScheduler
    prediction = "eps"
    batch = 50  # most pictures at once
    steps = 16

    @property
    def identity(self):
        """What a picture depends on but prompt, seed, CFG and steps: JSON-able, the same at each load of the files."""
        return {
            **self._hashes,
            "space": self.space,
            "shape": list(self.shape),
            "dtype": self.dtype,
            "schedule": f"{self.prediction}, sigma {self.sigmas[0]:.4f} to {self.sigmas[-1]:.4f}",
        }

    @cached_property
    def _hashes(self):
        return {"checkpoint": _hash(self.weight_files), "vae": _hash(self.autoencoder_files)}

    def timestep(self, sigma):
        """sigma [B] -> the nearest training timestep in log sigma [B], as in ComfyUI, so that predictions agree."""
        return (sigma.log()[:, None] - self.sigmas.log()).abs().argmin(dim=1)

    def schedule(self, steps):
        """Karras et al. (2022) sigmas of the sampler, descending to 0: [steps + 1]."""
        from diffusers import EulerDiscreteScheduler

        scheduler = EulerDiscreteScheduler(**self.schedule_settings, use_karras_sigmas=True)
        scheduler.set_timesteps(steps)
        return scheduler.sigmas

    def noise(self, seeds):
        """One starting noise a seed, [N, C, H, W], each the same in whatever batch it is drawn."""
        draws = [torch.randn(self.shape, generator=torch.Generator().manual_seed(int(seed))) for seed in seeds]
        return torch.stack(draws)

    @torch.no_grad()
    def sample(self, conditioning, seeds, cfg=2.0, steps=None, hook=None, batch=None, progress=None):
        """Euler's method from seeds to latents [N, C, H, W]; conditioning of N pictures or of one for all.

        `hook(denoised, x, sigma, which)`, called after CFG as programs do, returns the new denoised; `which` [B] says
        which of the N pictures are in the batch. `batch`: most pictures at once. `progress(pictures)` is called after
        each batch.
        """
        conditioning = conditioning.expand(len(seeds), -1, -1)
        empty = self.encode([""])
        sigmas, latents = self.schedule(steps or self.steps), []
        for which in torch.arange(len(seeds)).split(batch or self.batch):
            x = self.noise([seeds[i] for i in which.tolist()]) * (sigmas[0].square() + 1).sqrt()
            both = torch.cat([conditioning[which], empty.expand(len(which), -1, -1)])
            for sigma, following in pairwise(sigmas):
                level = sigma.expand(len(which))
                if cfg == 1.0:
                    denoised = self.denoise(x, level, both[: len(which)])
                else:
                    wanted, plain = self.denoise(x.repeat(2, 1, 1, 1), level.repeat(2), both).chunk(2)
                    denoised = plain + cfg * (wanted - plain)
                if hook:
                    denoised = hook(denoised, x, level, which)
                x = denoised + following / sigma * (x - denoised)  # Euler step
            latents.append(x)
            if progress:
                progress(len(which))
        return torch.cat(latents)


def _hash(paths):
    """Ten hex digits of the SHA-256 of weight files, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    return digest.hexdigest()[:10]
