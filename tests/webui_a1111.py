"""The fake A1111: callbacks have rows of cond, then uncond; DDIM has eps and timesteps; exceptions are swallowed."""

from itertools import pairwise
from types import SimpleNamespace

import torch

from webui_hosts import Interrupted, WebUI
from webui_prompts import reconstruct_multicond_batch


class Denoiser:
    """A1111's CFGDenoiser for k-diffusion samplers: x0 comes out, the mask is blended after CFG."""

    mask_before = False

    def __init__(self, host, p, conditioning):
        self.host, self.p, self.conditioning, self.step = host, p, conditioning, 0
        self.mask = p.mask
        self.nmask, self.init_latent = (None, None) if p.mask is None else (1 - p.mask, p.init_latent)

    def get_pred_x0(self, x, output, sigma):
        return output

    def inner_model(self, x, sigma, cond):
        assert len(cond["c_concat"][0]) == len(x)
        return self.host.predict(x, sigma, cond["c_crossattn"][0])

    def combine_denoised(self, outputs, composition, uncond, cfg):
        uncond = outputs[-uncond.shape[0] :]
        combined = uncond.clone()
        for index, parts in enumerate(composition):
            for row, weight in parts:
                combined[index] += weight * cfg * (outputs[row] - uncond[index])
        return combined

    def __call__(self, x, sigma, cfg):
        call = self.host.modules.call
        if self.mask is not None and self.mask_before:
            x = x * self.nmask + self.init_latent * self.mask
        composition, text = reconstruct_multicond_batch(self.conditioning, self.step)
        repeats = torch.tensor(list(map(len, composition)))
        rows = torch.cat([x.repeat_interleave(repeats, dim=0), x])
        levels = torch.cat([sigma.repeat_interleave(repeats), sigma])
        empty = self.host.miniature.encode([""]).expand(len(x), -1, -1)
        image = torch.zeros(len(rows), 5, 1, 1)
        before = SimpleNamespace(
            x=rows, sigma=levels, text_cond=text, text_uncond=empty, image_cond=image, denoiser=self
        )
        call("cfg_denoiser", before)
        parts, texts = len(text), [before.text_cond, before.text_uncond]
        if texts[0].shape[1] == texts[1].shape[1]:
            parts, texts = len(rows), [torch.cat(texts)]
        outputs = torch.cat(
            [
                self.inner_model(
                    before.x[part], before.sigma[part], {"c_crossattn": [each], "c_concat": [before.image_cond[part]]}
                )
                for part, each in zip((slice(parts), slice(parts, None)), texts, strict=False)
            ]
        )
        between = SimpleNamespace(x=outputs, inner_model=None)
        call("cfg_denoised", between)
        combined = self.combine_denoised(between.x, composition, before.text_uncond, cfg)
        if self.mask is not None and not self.mask_before:
            combined = combined * self.nmask + self.init_latent * self.mask
        after = SimpleNamespace(x=combined, sampling_step=0, total_sampling_steps=4)  # no sigma, no denoiser
        call("cfg_after_cfg", after)
        self.step += 1
        return after.x


class TimestepsDenoiser(Denoiser):
    """The same for DDIM, PLMS and UniPC: eps comes out, "sigma" is a timestep, x is variance-preserving."""

    mask_before = True

    @property
    def alphas(self):
        return self.host.alphas_cumprod

    def alphas_at(self, timestep):
        return self.alphas[timestep.long()].view(-1, 1, 1, 1)

    def get_pred_x0(self, x, output, timestep):
        a = self.alphas_at(timestep)
        return (x - (1 - a).sqrt() * output) / a.sqrt()

    def inner_model(self, x, timestep, cond):
        a = self.alphas_at(timestep)
        sigma = ((1 - a) / a).sqrt()
        return (x / a.sqrt() - super().inner_model(x / a.sqrt(), sigma.flatten(), cond)) / sigma


class A1111(WebUI):
    guard = torch.no_grad
    sampling_function = None

    def reset(self):
        pass

    def sample_pass(self, script, p, values, noise, conditioning, init, interrupt_at):
        script.process_before_every_sampling(p, *values, x=noise, noise=noise, c=conditioning, uc=None)
        sample = self.ddim if self.sampler == "ddim" else self.euler
        return p.sampler.launch_sampling(self.steps, lambda: sample(p, noise, conditioning, init, interrupt_at))

    def euler(self, p, noise, conditioning, init, interrupt_at):
        denoiser = Denoiser(self, p, conditioning)
        sigmas = self.sigmas(None if init is None else 3.0)
        x = noise * sigmas[0] + (0 if init is None else init)
        for step, (sigma, following) in enumerate(pairwise(sigmas)):
            if step == interrupt_at:
                raise Interrupted
            p.sampler.last_latent = denoised = denoiser(x, sigma.expand(len(x)), p.cfg_scale)
            x = denoised + following / sigma * (x - denoised)
        return x

    def ddim(self, p, noise, conditioning, init, interrupt_at):
        denoiser = TimestepsDenoiser(self, p, conditioning)
        timesteps = [999, 600, 300, 100, 1] if init is None else [400, 200, 50, 1]
        if self.steps > 5:
            timesteps = torch.linspace(999, 1, self.steps + 1).long().tolist()
        first = self.alphas_cumprod[timesteps[0]]
        x = noise * (1 - first).sqrt() + (0 if init is None else init * first.sqrt())
        for now, following in pairwise(timesteps):
            timestep = torch.full((len(x),), float(now))
            eps = denoiser(x, timestep, p.cfg_scale)
            x0 = denoiser.get_pred_x0(x, eps, timestep)
            after = self.alphas_cumprod[following]
            x = after.sqrt() * x0 + (1 - after).sqrt() * eps
        return x
