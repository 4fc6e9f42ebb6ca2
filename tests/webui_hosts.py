"""What the small fakes of Automatic1111 and Forge share, modelled on their observed behaviour.

The miniature is their model. `webui_a1111` and `webui_forge` reproduce the pitfalls of each host.
"""

import sys
from types import SimpleNamespace
from typing import NamedTuple

import torch

from corrector.hosts.components import encoded
from webui_prompts import conditioning_of


class Processing:
    """The part of `p` that scripts see."""

    def __init__(self, sd_model, prompts, seeds, cfg_scale=2.0, batch_size=None, hr_prompts=None, **more):
        self.sd_model, self.cfg_scale = sd_model, cfg_scale
        self.all_prompts, self.all_seeds, self.all_subseeds = list(prompts), list(seeds), list(seeds)
        self.batch_size, self.hr_prompts = batch_size or len(prompts), hr_prompts
        self.width = self.height = 128
        self.hr_upscale_to_x = self.hr_upscale_to_y = 192
        self.steps = self.firstpass_steps = 99
        self.extra_network_data = {}
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
