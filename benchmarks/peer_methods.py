"""The methods of benchmarks/peers.py: each draws latents for prompts and seeds with the miniature, unchanged or edited.

Peers get their own published settings, and the phrases of the axis file where they need one side or both. Settings that
count steps of a run of 50 are scaled to the run. EquiSteer (arXiv 2607.01147, github.com/Atmyre/EquiSteer) is left out:
its code knows only its own attributes and model names and opens its gate at a layer that the miniature does not have.
"""

import copy
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from diffusers import (
    DiffusionPipeline,
    EulerDiscreteScheduler,
    SemanticStableDiffusionPipeline,
    StableDiffusionPipelineSafe,
)
from diffusers.pipelines.deprecated.stable_diffusion_safe import SafetyConfig
from torch import Tensor

from corrector.axis.axis import Axis
from corrector.hosts.diffusers import corrected
from corrector.miniature.host import Miniature
from corrector.preference.preference import Preference
from corrector.preference.text import Text

PUBLISHED_STEPS = 50  # of the runs for which warm-ups are published
# generate_images.py of github.com/ml-research/Fair-Diffusion, which made the paper's pictures.
FAIR_DIFFUSION = dict(edit_guidance_scale=4, edit_threshold=0.95, edit_momentum_scale=0.5, edit_mom_beta=0.6)
FAIR_DIFFUSION_WARMUP = 5
SAFE = ("WEAK", "MEDIUM", "STRONG", "MAX")  # configurations that come with the pipeline
UCE = {  # defaults of the authors' two programs, trainscripts/uce_sd_erase.py and train-scripts/train_erase.py
    "UCE, authors' code of 2025": dict(lam=0.5, edit=1.0, preserve=1.0, whole=False),
    "UCE, authors' code of 2023": dict(lam=0.1, edit=1.0, preserve=0.1, whole=True),
}
OURS = "RS-Corrector"
TEXT = "RS-Corrector, Text source"


@dataclass
class Method:
    """One way to draw.

    Args:
        draw: `draw(prompts, seeds, cfg)` -> latents [N, C, H, W]; with `target` where it has a target share.
        setup: seconds that it needs before the first picture; None for what was learned from pictures.
        has_target: whether `draw` takes `target`.
    """

    draw: Callable[..., Tensor]
    setup: float | None = 0.0
    has_target: bool = False


class SafePipeline(StableDiffusionPipelineSafe):
    """Returns latents, for which the pipeline of diffusers has no option."""

    def decode_latents(self, latents):
        return latents


class Methods:
    """Makes the methods for one axis.

    Args:
        host: Miniature.
        preference: the shipped Preference, with the axis.
        others: groups of the model outside the axis.
        steps: of Euler's method.
    """

    def __init__(self, host: Miniature, preference: Preference, others: Iterable[str], steps: int):
        self.host = host
        self.preference = preference
        self.axis = preference.axis
        self.others = others
        self.steps = steps
        self.schedule = host.pipe.scheduler.config
        parts = {name: part for name, part in host.pipe.components.items() if name != "image_encoder"}
        self.semantic = SemanticStableDiffusionPipeline(**parts, requires_safety_checker=False)
        self.safe = SafePipeline(**parts, requires_safety_checker=False)
        self.safe.safety_concept = ", ".join(self.axis.stereotype.phrases)

    def make(self, names: Iterable[str] = ()) -> dict[str, Method]:
        """{name: Method}, "plain" first; all by default."""
        phrases = self.axis.stereotype.phrases
        makers = {
            "plain": lambda: Method(self.plain),
            OURS: lambda: Method(self.ours, None, True),
            TEXT: self.text,
            "word in the prompt": lambda: Method(self.word),
            "negative prompt: first phrase": lambda: self.negative(phrases[0]),
            "negative prompt: all phrases": lambda: self.negative(", ".join(phrases)),
            "SEGA, Fair Diffusion's settings": lambda: Method(self.sega),
            **{f"Safe Latent Diffusion, {name}": lambda name=name: self.safe_method(name) for name in SAFE},
            **{name: lambda settings=settings: self.uce(**settings) for name, settings in UCE.items()},
        }
        return {name: make() for name, make in makers.items() if not names or name in names}

    def run(self, pipe: DiffusionPipeline, prompts: Sequence[str], seeds: Sequence[int], cfg: float, **more) -> Tensor:
        """Latents [N, C, H, W] on the CPU of any of the pipelines, in bfloat16 by autocast."""
        pipe.scheduler = EulerDiscreteScheduler.from_config(self.schedule, use_karras_sigmas=True)
        pipe.set_progress_bar_config(disable=True)
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

    def text(self) -> Method:
        """The Text source needs no training, and the gate is trained on texts alone: the shipped file's."""
        started = time.perf_counter()
        preference = Preference(self.axis, "any", Text(), self.preference.gate, name="text", hash=self.axis.hash)

        def draw(prompts, seeds, cfg, target=1.0):
            return self.ours(prompts, seeds, cfg, target, preference)

        return Method(draw, time.perf_counter() - started, True)

    def word(self, prompts, seeds, cfg):
        """Added to each prompt, whatever it asks for, as a service would."""
        return self.plain([f"{prompt}, {self.axis.counter.phrases[0]}" for prompt in prompts], seeds, cfg)

    def negative(self, text: str) -> Method:
        def draw(prompts, seeds, cfg):
            return self.run(self.host.pipe, prompts, seeds, cfg, negative_prompt=[text] * len(prompts))

        return Method(draw)

    def sega(self, prompts, seeds, cfg):
        """Semantic Guidance (Brack et al. 2023) as in Fair Diffusion: away from one side, to the other.

        All phrases of a side in one edit: with the first one alone it did far worse in a trial on other seeds.
        """
        edits = [", ".join(side.phrases) for side in (self.axis.stereotype, self.axis.counter)]
        return self.run(
            self.semantic, prompts, seeds, cfg, editing_prompt=edits, reverse_editing_direction=[True, False],
            edit_warmup_steps=self.scaled(FAIR_DIFFUSION_WARMUP), **FAIR_DIFFUSION,
        )  # fmt: skip

    def safe_method(self, name: str) -> Method:
        """Safe Latent Diffusion (Schramowski et al. 2023), its concept being all phrases of the stereotype."""
        settings = dict(getattr(SafetyConfig, name))
        settings["sld_warmup_steps"] = self.scaled(settings["sld_warmup_steps"])
        return Method(lambda prompts, seeds, cfg: self.run(self.safe, prompts, seeds, cfg, **settings))

    def scaled(self, steps: int) -> int:
        return round(steps * self.steps / PUBLISHED_STEPS)

    def uce(self, **settings) -> Method:
        started = time.perf_counter()
        unet = edited(self.host, *concepts(self.axis, self.others), **settings)
        setup = time.perf_counter() - started
        pipe = type(self.host.pipe)(**{**self.host.pipe.components, "unet": unet}, requires_safety_checker=False)
        return Method(lambda prompts, seeds, cfg: self.run(pipe, prompts, seeds, cfg), setup)


def concepts(axis: Axis, others: Iterable[str]) -> tuple[list[tuple[str, str]], list[str]]:
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
def edited(
    host: Miniature,
    edits: list[tuple[str, str]],
    preserved: list[str],
    lam: float,
    edit: float,
    preserve: float,
    whole: bool,
) -> torch.nn.Module:
    """Unified Concept Editing (Gandikota et al. 2024, eq. 7) of cross-attention's keys and values -> a new UNet.

        W = (lam W_old + edit sum v* c^T + preserve sum W_old p p^T) (lam I + edit sum c c^T + preserve sum p p^T)^-1

    with v* = W_old c*. The authors' loop that draws and judges pictures until a share is reached is not run.

    Args:
        host: its UNet is copied and stays as it is.
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
    c, goal = (torch.cat(vectors) for vectors in zip(*pairs, strict=True))  # [K, W] each
    p = host.encode(preserved).flatten(0, 1).double() if whole else torch.cat(vectors_of(host, preserved, whole))
    for name, layer in unet.named_modules():
        if name.endswith(("attn2.to_k", "attn2.to_v")):
            old, eye = layer.weight.double(), torch.eye(c.shape[1], dtype=torch.float64)
            left = old @ (lam * eye + edit * goal.T @ c + preserve * p.T @ p)
            right = lam * eye + edit * c.T @ c + preserve * p.T @ p
            layer.weight.copy_(torch.linalg.solve(right, left.T).T)  # `right` is symmetric
    return unet


def vectors_of(host: Miniature, prompts: Sequence[str], whole: bool) -> list[Tensor]:
    """The token vectors of each prompt from its last word's last token on, or only that one: [K, W] each."""
    tokens, ids = host.encode(prompts).double(), host.pipe.tokenizer(list(prompts)).input_ids
    last = [len(row) - 2 for row in ids]  # the end token follows
    return [row[index:] if whole else row[index : index + 1] for row, index in zip(tokens, last, strict=True)]
