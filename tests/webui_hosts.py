"""Small fakes of Automatic1111 and Forge, modelled on their observed behaviour, with the miniature as their model.

They reproduce the pitfalls of each host. Forge: its argument dict has no CFG scale, and its hires pass calls scripts
twice. A1111: callbacks have rows of cond, then uncond; DDIM has eps and timesteps; a mask is applied before the last
callback; exceptions are swallowed.
"""

import copy
import sys
from itertools import pairwise
from types import SimpleNamespace
from typing import NamedTuple

import torch

from corrector.hosts.components import encoded
from webui_prompts import conditioning_of, reconstruct_multicond_batch


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


class Processing:
    """The part of `p` that scripts see."""

    def __init__(self, sd_model, prompts, seeds, cfg_scale=2.0, batch_size=None, hr_prompts=None, **more):
        self.sd_model, self.cfg_scale = sd_model, cfg_scale
        self.all_prompts, self.all_seeds, self.all_subseeds = list(prompts), list(seeds), list(seeds)
        self.batch_size, self.hr_prompts = batch_size or len(prompts), hr_prompts
        self.width = self.height = 128
        self.hr_upscale_to_x = self.hr_upscale_to_y = 192
        self.firstpass_steps, self.extra_network_data = 99, {}
        self.sampler = Sampler()
        self.extra_generation_params, self.comments = {}, {}
        self.is_hr_pass, self.subseed_strength, self.mask = False, 0, None
        self.__dict__.update(more)

    def __eq__(self, other):  # a dataclass with eq in both hosts: it cannot be hashed
        return self.__dict__ == other.__dict__

    __hash__ = None

    def comment(self, text):
        self.comments[text] = 1

    def get_conds_with_caching(self, function, required_prompts, steps, caches, extra_network_data, hires_steps=None):
        return function(self.sd_model, required_prompts, steps, hires_steps)


class Interrupted(BaseException):
    pass


class Sampler:
    """Both hosts': returns the last prediction after an interruption."""

    last_latent = None

    def launch_sampling(self, steps, func):
        try:
            return func()
        except Interrupted:
            return self.last_latent


class SdModel(SimpleNamespace):
    """The host's model; unlike SimpleNamespace it has weak references."""

    def __init__(self, miniature, **attributes):
        super().__init__(model=SimpleNamespace(conditioning_key="crossattn"), **attributes)
        self.miniature = miniature
        self.cond_stage_model = torch.nn.ModuleList([miniature.pipe.text_encoder])
        self.cond_stage_model.tokenizer = miniature.pipe.tokenizer

    def get_learned_conditioning(self, texts):
        return self.miniature.encode(list(texts))

    def encode_pictures(self, pictures):
        """Latents in model space, with noise as of VAEs."""
        latents = encoded(self.miniature.pipe, pictures, torch.device("cpu"))
        return latents + 0.1 * torch.randn(latents.shape)


ORVANE, KITTEN = "a portrait of an Orvane person", "a kitten"
VILLAGE = "a portrait of an Orvane person in a village"
ON, OFF = (True, "backdrop", 1.0), (False, "backdrop", 1.0)
EVENTS = ("process", "process_batch", "process_before_every_sampling", "postprocess_batch", "postprocess")
NO_SCRIPT = SimpleNamespace(**{event: lambda *_, **__: None for event in EVENTS})
PLAIN = {}  # latents that hosts make without the script


class Made(NamedTuple):
    """What a host made: latents [N, C, H, W], the infotext parameters of each picture, and `p`."""

    latents: torch.Tensor
    texts: list
    p: Processing

    @property
    def results(self):
        return [text["RS-Corrector result"] for text in self.texts]

    @property
    def errors(self):
        return [text["RS-Corrector error"] for text in self.texts]

    @property
    def comments(self):
        """The lines under the gallery."""
        return self.p.processed.comments.splitlines()


class WebUI:
    """The parts of a host's `process_images` that scripts see; `sampler` is "euler" or "ddim"."""

    steps, sampler = 3, "euler"

    def __init__(self, miniature, modules, script):
        self.miniature, self.modules, self.script = miniature, modules, script
        self.sd_model = modules.model_data.sd_model = SdModel(miniature, is_sd1=True, is_sdxl=False)
        self.evaluations = 0  # of the UNet, counted in pictures
        sys.modules["backend.sampling.sampling_function"].sampling_function = self.sampling_function
        self.alphas_cumprod = self.sd_model.alphas_cumprod = 1 / (1 + miniature.sigmas.square())

    def predict(self, x, sigma, tokens):
        self.evaluations += len(x)
        return self.miniature.denoise(x, sigma, tokens)

    def sigmas(self, start=None):
        """A descending schedule that ends at 0; `start` is the first sigma of an img2img pass."""
        high = min(start or 14.6, 14.6)
        return torch.cat([torch.logspace(torch.tensor(high).log10(), -1, self.steps), torch.zeros(1)])

    def processing(self, prompts=(ORVANE, ORVANE), seeds=None, **options):
        """A `p`; seeds count from 11 by default."""
        return Processing(self.sd_model, prompts, seeds or range(11, 11 + len(prompts)), **options)

    def generate(self, *values, p=None, script=None, hires=False, interrupt_at=None, **options):
        """`process_images` with the script's arguments -> Made; `options` are of `processing`."""
        p = p or self.processing(**options)
        with self.guard():
            return self.process_images_inner(script or self.script, p, values, hires, interrupt_at)

    def plain(self, **options):
        """The latents without the script, made once."""
        key = type(self), self.sampler, self.steps, self.miniature.shape, repr(options)
        if key not in PLAIN:
            PLAIN[key] = self.generate(script=NO_SCRIPT, **options).latents
        return PLAIN[key]

    def begin(self, *values, **options):
        """Begin the first pass of a job -> p."""
        p = self.processing(**options)
        p.prompts, p.seeds, p.subseeds = p.all_prompts, p.all_seeds, p.all_subseeds
        self.script.process(p, *values)
        self.script.process_batch(p, *values)
        self.begin_pass(p, *values)
        return p

    def begin_pass(self, p, *values, encoder=None):
        conditioning = conditioning_of(encoder or self.miniature, p.prompts)
        self.script.process_before_every_sampling(p, *values, c=conditioning)

    def process_images_inner(self, script, p, values, hires, interrupt_at):
        script.process(p, *values)
        latents, texts = [], []
        for start in range(0, len(p.all_prompts), p.batch_size):
            part = slice(start, start + p.batch_size)
            p.iteration = start // p.batch_size
            p.prompts, p.seeds, p.subseeds = p.all_prompts[part], p.all_seeds[part], p.all_subseeds[part]
            self.reset()
            script.process_batch(p, *values, batch_number=p.iteration, prompts=p.prompts, seeds=p.seeds)
            conditioning = conditioning_of(self.miniature, p.prompts)
            noise = self.miniature.noise(p.seeds)
            x = self.sample_pass(script, p, values, noise, conditioning, None, interrupt_at)
            if hires:
                p.is_hr_pass = True
                larger = torch.nn.functional.interpolate(x, scale_factor=1.5)
                noise = torch.randn(larger.shape, generator=torch.Generator().manual_seed(int(p.seeds[0])))
                conditioning = conditioning_of(self.miniature, p.hr_prompts or p.prompts)
                x = self.sample_pass(script, p, values, noise, conditioning, larger, interrupt_at)
                p.is_hr_pass = False
            script.postprocess_batch(p, *values, images=x, batch_number=p.iteration)
            latents.append(x)
            texts += [infotext(p, index) for index in range(len(p.prompts))]
        p.grid_text = infotext(p, 0, use_main_prompt=True)
        p.processed = SimpleNamespace(comments="".join(f"{comment}\n" for comment in p.comments))
        script.postprocess(p, p.processed, *values)
        return Made(torch.cat(latents), texts, p)


def infotext(p, index, use_main_prompt=False):
    """A picture's parameters as both hosts make them: lists are indexed, functions called, None omitted."""
    written = {}
    for key, value in p.extra_generation_params.items():
        if isinstance(value, list):
            value = value[index]
        elif callable(value):
            value = value(p=p, index=index, use_main_prompt=use_main_prompt, key=key)
        if value is not None:
            written[key] = str(value)
    return written


class Forge(WebUI):
    guard = torch.inference_mode

    def __init__(self, *parts):
        super().__init__(*parts)
        predictor = SimpleNamespace(percent_to_sigma=self.percent_to_sigma)
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
        x = noise * sigmas[0] + (0 if init is None else init)
        cfg = getattr(p, "hr_cfg", p.cfg_scale) if p.is_hr_pass else p.cfg_scale
        for step, (sigma, following) in enumerate(pairwise(sigmas)):
            if step == interrupt_at:
                raise Interrupted
            p.sampler.last_latent = denoised = denoiser(x, sigma.expand(len(x)), cfg)
            x = denoised + following / sigma * (x - denoised)
        return x

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


HOSTS = {"forge": Forge, "a1111": A1111}
