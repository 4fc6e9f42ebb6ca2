"""The fake Forge: its argument dict has no CFG scale, and its hires pass calls scripts twice."""

import copy
from itertools import pairwise
from types import SimpleNamespace

import torch

from corrector.latents.spaces import exploding
from webui_hosts import Interrupted, WebUI
from webui_prompts import reconstruct_multicond_batch


class FakeUnet:
    """Forge's UnetPatcher: `clone` deep-copies its options."""

    def __init__(self, model):
        self.model, self.model_options = model, {}

    def clone(self):
        other = FakeUnet(self.model)
        other.model_options = copy.deepcopy(self.model_options)
        return other

    def set_model_sampler_post_cfg_function(self, function):
        hooks = self.model_options.get("sampler_post_cfg_function", [])
        self.model_options["sampler_post_cfg_function"] = [*hooks, function]


class Forge(WebUI):
    guard = torch.inference_mode
    prediction = "epsilon"

    def __init__(self, *parts):
        super().__init__(*parts)
        predictor = SimpleNamespace(percent_to_sigma=self.percent_to_sigma, prediction_type=self.prediction)
        self.unet = FakeUnet(SimpleNamespace(predictor=predictor))
        patcher = SimpleNamespace(lora_patches={}, lora_loader=SimpleNamespace(backup={}))
        self.clip = SimpleNamespace(
            cond_stage_model=self.sd_model.cond_stage_model, patcher=patcher,
            tokenizer=SimpleNamespace(clip_l=self.miniature.pipe.tokenizer),
        )  # fmt: skip
        self.reset()

    def percent_to_sigma(self, percent):
        return float(self.miniature.sigmas[round((1 - percent) * 999)])

    def reset(self):
        self.sd_model.forge_objects = SimpleNamespace(unet=self.unet, clip=self.clip)

    def sample_pass(self, script, p, values, noise, conditioning, init, interrupt_at):
        x = noise if init is None else init
        if init is not None:  # the hires pass: once before `forge_objects` is reset, and once after
            script.process_before_every_sampling(p, *values, x=x, noise=noise, c=conditioning, uc=None)
        self.reset()
        script.process_before_every_sampling(p, *values, x=x, noise=noise, c=conditioning, uc=None)
        denoiser = ForgeDenoiser(self, p, conditioning)
        return p.sampler.launch_sampling(self.steps, lambda: self.sample(denoiser, noise, init, interrupt_at))

    def sample(self, denoiser, noise, init, interrupt_at):
        p = denoiser.p
        sigmas = self.sigmas(None if init is None else 3.0)
        x = self.noised(torch.zeros_like(noise) if init is None else init, noise, sigmas[0])
        cfg = getattr(p, "hr_cfg", p.cfg_scale) if p.is_hr_pass else p.cfg_scale
        for step, (sigma, following) in enumerate(pairwise(sigmas)):
            if step == interrupt_at:
                raise Interrupted
            p.sampler.last_latent = denoised = denoiser(x, sigma.expand(len(x)), cfg)
            x = denoised + following / sigma * (x - denoised)
        return x

    def noised(self, x0, noise, sigma):
        return x0 + sigma * noise

    def sampling_function(self, denoiser, params, cfg, composition):
        """-> (denoised after CFG and hooks, conditional, unconditional)."""
        options = self.sd_model.forge_objects.unet.model_options
        x, sigma, rows = params.x, params.sigma, params.text_cond
        cond_denoised = torch.zeros_like(x)
        for column in zip(*composition, strict=True):
            weights = torch.tensor([weight for _, weight in column]).view(-1, 1, 1, 1)
            cond_denoised += weights * self.predict(x, sigma, rows[[row for row, _ in column]])
        cond_denoised /= sum(weight for _, weight in composition[0])
        uncond_denoised = torch.zeros_like(x) if cfg == 1 else self.predict(x, sigma, params.text_uncond)
        denoised = cond_denoised if cfg == 1 else uncond_denoised + cfg * (cond_denoised - uncond_denoised)
        for hook in options.get("sampler_post_cfg_function", []):
            uncond = None if cfg == 1 else [params.text_uncond]
            arguments = dict(denoised=denoised, cond=[rows], uncond=uncond, input=x, sigma=sigma)
            arguments |= dict(cond_denoised=cond_denoised, uncond_denoised=uncond_denoised, model_options=options)
            denoised = hook({**arguments, "model": self.sd_model.forge_objects.unet.model})
        return denoised, cond_denoised, uncond_denoised


class FlowForge(Forge):
    """Forge with a model that is sampled as Flux is: the miniature, in the form of flow models."""

    prediction = "const"

    def percent_to_sigma(self, percent):
        return 1 - percent

    def predict(self, x, sigma, tokens):
        return super().predict(*exploding(x, sigma), tokens)

    def sigmas(self, start=None):
        sigmas = super().sigmas(start)
        return sigmas / (1 + sigmas)

    def noised(self, x0, noise, sigma):
        return (1 - sigma) * x0 + sigma * noise


class ForgeDenoiser:
    """Forge's CFGDenoiser: always x0, and one row per part of each prompt."""

    def __init__(self, host, p, conditioning):
        self.host, self.p, self.conditioning, self.step = host, p, conditioning, 0

    def get_pred_x0(self, x, output, sigma):
        return output

    def __call__(self, x, sigma, cfg):
        composition, text = reconstruct_multicond_batch(self.conditioning, self.step)
        empty = self.host.miniature.encode([""]).expand(len(x), -1, -1)
        params = SimpleNamespace(x=x, sigma=sigma, text_cond=text, text_uncond=empty, image_cond=None, denoiser=self)
        self.host.modules.call("cfg_denoiser", params)
        denoised, _, _ = self.host.sampling_function(self, params, cfg, composition)
        if self.p.mask is not None:
            denoised = denoised * (1 - self.p.mask) + self.p.init_latent * self.p.mask
        self.step += 1
        return denoised
