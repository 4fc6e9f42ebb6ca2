"""The methods of benchmarks/peers.py: each draws latents for prompts and seeds with the miniature, unchanged or edited.

Peers get their own published settings, and the phrases of the axis file where they need one side or both. Settings that
count steps of a run of 50 are scaled to the run. EquiSteer (arXiv 2607.01147, github.com/Atmyre/EquiSteer, commit
1a50487) is left out: its code knows only its own attributes and model names, reads vectors and thresholds from fixed
file names, and opens its gate at the fifth cross-attention of the down blocks ("sd15"), of which the miniature has two,
so that it would never act; to run here it would need a port, which would no longer be its authors' method.
"""

import copy
import time
from dataclasses import dataclass, replace

import torch
from diffusers import EulerDiscreteScheduler, SemanticStableDiffusionPipeline, StableDiffusionPipelineSafe
from diffusers.pipelines.deprecated.stable_diffusion_safe import SafetyConfig

from corrector.hosts.diffusers import corrected
from corrector.preference.preference import Preference
from corrector.preference.text import Text

PUBLISHED_STEPS = 50  # of the runs for which warm-ups are published
# generate_images.py of github.com/ml-research/Fair-Diffusion, which made the paper's pictures.
FAIR_DIFFUSION = dict(edit_guidance_scale=4, edit_threshold=0.95, edit_momentum_scale=0.5, edit_mom_beta=0.6)
FAIR_DIFFUSION_WARMUP = 5
SAFE = ("WEAK", "MEDIUM", "STRONG", "MAX")  # configurations that come with the pipeline
UCE = {  # defaults of the authors' two programs, trainscripts/uce_sd_erase.py and train-scripts/train_erase.py
    "2025": dict(lam=0.5, edit=1.0, preserve=1.0, whole=False),
    "2023": dict(lam=0.1, edit=1.0, preserve=0.1, whole=True),
}
LEARNING = "about 8 minutes on one core (benchmarks/learning.py measures it), on pictures that the model draws itself"
NOTHING = "nothing"


@dataclass
class Method:
    """One way to draw.

    Args:
        name: as in the table.
        draw: `draw(prompts, seeds, cfg)` -> latents [N, C, H, W].
        setup: what it needs before the first picture, and how long that takes.
        to_share: `to_share(prompts, seeds, cfg, target)` -> latents, for a method that has a target share.
    """

    name: str
    draw: object
    setup: str = NOTHING
    to_share: object = None


class SafePipeline(StableDiffusionPipelineSafe):
    """Returns latents, for which the pipeline of diffusers has no option."""

    def decode_latents(self, latents):
        return latents


class WordsSource(torch.nn.Module):
    """The Text source by the miniature itself, where diffusers' adapter takes only trained ones."""

    has_weights = True

    def __init__(self, host, axis):
        super().__init__()
        self.host, self.group = host, None
        for name, side in (("counter", axis.counter), ("stereotype", axis.stereotype)):
            prompts = [f"{axis.neutral[0].format(group=group)} {side.phrases[0]}" for group in axis.groups]
            self.register_buffer(name, host.encode(prompts))  # [G, T, W]
        self.text = Text(None, None, self.evaluate)

    def read(self, x, sigma, group, conditional):
        self.group = group
        return self.text.read(x, sigma, group, conditional)

    def in_run(self, evaluate):
        return self

    def evaluate(self, _, x, sigma):
        """D_c and D_s, each [B, C, H, W]."""
        sides = torch.cat([self.counter[self.group], self.stereotype[self.group]])
        return self.host.denoise(x.repeat(2, 1, 1, 1), sigma.repeat(2), sides).chunk(2)


class Methods:
    """Makes the methods for one axis.

    Args:
        host: Miniature.
        preference: the shipped Preference, with the axis.
        others: groups of the model outside the axis.
        steps: of Euler's method.
    """

    def __init__(self, host, preference, others, steps):
        self.host, self.preference, self.axis = host, preference, preference.axis
        self.others, self.steps = others, steps
        self.schedule = host.pipe.scheduler.config
        self.village, self.city = self.axis.stereotype.phrases, self.axis.counter.phrases  # or those of the attire
        parts = {name: part for name, part in host.pipe.components.items() if name != "image_encoder"}
        self.semantic = SemanticStableDiffusionPipeline(**parts, requires_safety_checker=False)
        self.safe = SafePipeline(**parts, requires_safety_checker=False)
        self.safe.safety_concept = ", ".join(self.village)
        for pipe in (host.pipe, self.semantic, self.safe):
            pipe.set_progress_bar_config(disable=True)

    def make(self, keys=None):
        """{key: Method} for some keys, in the order of the table; all by default. "plain" is always there."""
        made = {
            "plain": lambda: Method("plain", self.plain),
            "rs": lambda: Method("RS-Corrector", self.ours, LEARNING, self.ours),
            "text": self.text,
            "word": lambda: Method(f'word in the prompt: "{self.city[0]}"', self.word),
            "negative": lambda: self.negative(f'"{self.village[0]}"', self.village[0]),
            "negative-all": lambda: self.negative("all phrases", ", ".join(self.village)),
            "sega": lambda: Method("SEGA, Fair Diffusion's settings", self.sega),
            **{f"sld-{name.lower()}": lambda name=name: self.safe_method(name) for name in SAFE},
            "uce": lambda: self.uce("UCE, authors' code of 2025", **UCE["2025"]),
            "uce-2023": lambda: self.uce("UCE, authors' code of 2023", **UCE["2023"]),
        }
        return {key: make() for key, make in made.items() if keys is None or key in (*keys, "plain")}

    def run(self, pipe, prompts, seeds, cfg, **more):
        """Latents [N, C, H, W] on the CPU of any of the pipelines, in bfloat16 by autocast."""
        pipe.scheduler = EulerDiscreteScheduler.from_config(self.schedule, use_karras_sigmas=True)
        with torch.autocast("cpu", torch.bfloat16):
            return pipe(
                prompt=list(prompts), latents=self.host.noise(seeds), guidance_scale=cfg, output_type="latent",
                num_inference_steps=self.steps, generator=torch.Generator().manual_seed(seeds[0]), **more,
            ).images.float()  # fmt: skip

    def plain(self, prompts, seeds, cfg):
        return self.run(self.host.pipe, prompts, seeds, cfg)

    def ours(self, prompts, seeds, cfg, target=1.0, preference=None):
        with corrected(self.host.pipe, preference or self.preference, target=target):
            return self.plain(prompts, seeds, cfg)

    def text(self):
        """The Text source needs no training, and the gate is trained on texts alone: the shipped file's."""
        started = time.perf_counter()
        source = WordsSource(self.host, self.axis)
        text = Preference(self.axis, "any", source, self.preference.gate, name="text", hash=self.axis.hash)
        setup = f"{time.perf_counter() - started:.2f} s, two prompts a group; and the gate, trained on texts alone"

        def draw(prompts, seeds, cfg, target=1.0):
            return self.ours(prompts, seeds, cfg, target, replace(text))

        return Method("RS-Corrector, Text source", draw, setup, draw)

    def word(self, prompts, seeds, cfg):
        """Added to each prompt, whatever it asks for, as a service would."""
        return self.plain([f"{prompt}, {self.city[0]}" for prompt in prompts], seeds, cfg)

    def negative(self, name, text):
        def draw(prompts, seeds, cfg):
            return self.run(self.host.pipe, prompts, seeds, cfg, negative_prompt=[text] * len(prompts))

        return Method(f"negative prompt: {name}", draw)

    def sega(self, prompts, seeds, cfg):
        """Semantic Guidance (Brack et al. 2023) as in Fair Diffusion: away from one side, to the other.

        All phrases of a side in one edit: with the first one alone it did far worse in a trial on other seeds.
        """
        edits = [", ".join(self.village), ", ".join(self.city)]
        return self.run(
            self.semantic, prompts, seeds, cfg, editing_prompt=edits, reverse_editing_direction=[True, False],
            edit_warmup_steps=self.scaled(FAIR_DIFFUSION_WARMUP), **FAIR_DIFFUSION,
        )  # fmt: skip

    def safe_method(self, name):
        """Safe Latent Diffusion (Schramowski et al. 2023), its concept being all phrases of the stereotype."""
        settings = dict(getattr(SafetyConfig, name))
        settings["sld_warmup_steps"] = self.scaled(settings["sld_warmup_steps"])

        def draw(prompts, seeds, cfg):
            return self.run(self.safe, prompts, seeds, cfg, **settings)

        return Method(f"Safe Latent Diffusion, {name}", draw)

    def scaled(self, steps):
        return round(steps * self.steps / PUBLISHED_STEPS)

    def uce(self, name, **settings):
        started = time.perf_counter()
        edits, preserved = concepts(self.axis, self.others)
        unet = edited(self.host, edits, preserved, **settings)
        setup = f"{time.perf_counter() - started:.1f} s, {len(edits)} pairs of prompts, {len(preserved)} to preserve"
        pipe = type(self.host.pipe)(**{**self.host.pipe.components, "unet": unet}, requires_safety_checker=False)
        pipe.set_progress_bar_config(disable=True)
        return Method(name, lambda prompts, seeds, cfg: self.run(pipe, prompts, seeds, cfg), setup)


def concepts(axis, others):
    """Prompts for UCE -> (pairs of neutral and counter prompts, prompts to preserve).

    Preserved are other groups, people of no group, and what asks for either side.
    """
    edits, preserved = [], []
    for index, template in enumerate(axis.neutral):
        counter, stereotype = (side.phrases[index % len(side.phrases)] for side in (axis.counter, axis.stereotype))
        for group in axis.groups:
            text = template.format(group=group)
            edits.append((text, f"{text} {counter}"))
            preserved += [f"{text} {stereotype}", f"{text} {counter}"]
        nobody = " ".join(template.format(group="").split())
        preserved += [template.format(group=group) for group in others]
        preserved += [nobody, f"{nobody} {stereotype}", f"{nobody} {counter}"]
    return edits, preserved


@torch.no_grad()
def edited(host, edits, preserved, lam, edit, preserve, whole):
    """Unified Concept Editing (Gandikota et al. 2024, eq. 7) of cross-attention's keys and values -> a new UNet.

        W = (lam W_old + edit sum v* c^T + preserve sum W_old p p^T) (lam I + edit sum c c^T + preserve sum p p^T)^-1

    with v* = W_old c*. The authors' loop that draws and judges pictures until a share is reached is not run.

    Args:
        host: Miniature; its UNet is copied and stays as it is.
        edits: pairs of prompts, whose token vectors are c and c*.
        preserved: prompts, whose token vectors are p.
        lam, edit, preserve: weights of the three terms.
        whole: take the token vectors from the prompt's last word to the end of the padding, and all of those to
            preserve; if not, that of the last word alone.
    """
    unet, pairs = copy.deepcopy(host.pipe.unet), []
    for sides in zip(*(vectors_of(host, prompts, whole) for prompts in zip(*edits, strict=True)), strict=True):
        length = min(map(len, sides))
        pairs.append([side[:length] for side in sides])
    c, wanted = (torch.cat(vectors) for vectors in zip(*pairs, strict=True))  # [K, W] each
    p = host.encode(preserved).flatten(0, 1).double() if whole else torch.cat(vectors_of(host, preserved, whole))
    for name, layer in unet.named_modules():
        if name.endswith(("attn2.to_k", "attn2.to_v")):
            old, eye = layer.weight.double(), torch.eye(c.shape[1], dtype=torch.float64)
            left = old @ (lam * eye + edit * wanted.T @ c + preserve * p.T @ p)
            right = lam * eye + edit * c.T @ c + preserve * p.T @ p
            layer.weight.copy_(torch.linalg.solve(right, left.T).T)  # `right` is symmetric
    return unet


def vectors_of(host, prompts, whole):
    """The token vectors of each prompt from its last word's last token on, or only that one: [K, W] each."""
    tokens, ids = host.encode(prompts).double(), host.pipe.tokenizer(list(prompts)).input_ids
    last = [len(own) - 2 for own in ids]  # the end token follows
    return [row[index:] if whole else row[index : index + 1] for row, index in zip(tokens, last, strict=True)]
