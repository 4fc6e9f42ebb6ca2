"""A diffusers pipeline as what a preference without a network asks in a run (`RunModel`).

Within a call of the pipeline its UNet is asked with the arguments of the evaluation at hand, but for another sample,
timestep and text: what ControlNet, IP-Adapter or an inpainting UNet add is that of the evaluation at hand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..correction.update import CorrectionError
from ..latents.skin import Pictures
from ..latents.spaces import scale_input
from ..preference.preference import Preference
from .components import PipelineTexts, decoded, encoded
from .prompts import Prompts, chunks_of
from .schedulers import denoised_of, nearest_timestep
from .unet_arguments import rows_of, with_prompts

if TYPE_CHECKING:
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

ENCODING = ("device", "lora_scale", "clip_skip")  # arguments of encode_prompt that also hold for the counter side


class AskedPipeline:
    """The UNet of one call of a pipeline.

    Args:
        pipe: the pipeline.
        encode_prompt: its own method.
        arguments: with which it was called, by name.
        encoded: what it returned: token vectors [B, T, W], those of the negative prompt, and for SDXL both pooled ones.
    """

    def __init__(
        self, pipe: DiffusionPipeline, encode_prompt: Callable, arguments: Mapping[str, Any],
        encoded: Sequence[Tensor],
    ):  # fmt: skip
        self.pipe = pipe
        self.encode_prompt = encode_prompt
        self.options = {name: arguments[name] for name in ENCODING if name in arguments}
        self.tokens = encoded[0].detach()
        self.pooled = encoded[2].detach() if len(encoded) > 2 else None
        self.texts = _texts(arguments, len(self.tokens))  # for each picture its texts by argument; None if not known
        self.tokenizer = PipelineTexts(pipe).tokenizer
        self.call: dict[str, Any] = {}  # arguments of the UNet's evaluation at hand
        self.aside = False  # whether the UNet is asked, so that the hooks of the run have nothing to do

    @property
    def pictures(self) -> Pictures | None:
        if self.pipe.vae.config.get("out_channels", 3) != 3:
            return None  # LDM3D's pictures also have depth
        device = self.tokens.device
        return Pictures(
            lambda latents: decoded(self.pipe, latents, device), lambda pictures: encoded(self.pipe, pictures, device)
        )

    def encode(self, preference: Preference, phrases: Sequence[str]) -> Prompts:
        encode = cache(self._encode)
        return Prompts(self._with_phrase(encode, index, phrase) for index, phrase in enumerate(phrases))

    def _with_phrase(self, encode, index, phrase):
        """The conditioning of a picture's prompt with a phrase: one text if it is known and short enough."""
        texts = {name: f"{text}, {phrase}" for name, text in self.texts[index].items()} if self.texts else {}
        if texts and all(len(chunks_of(self.tokenizer, text)) == 1 for text in texts.values()):
            return encode(**texts)
        ((tokens, beside),) = encode(prompt=phrase)
        if self.pooled is not None:
            beside = {"pooled_output": self.pooled[index : index + 1]}
        return [[torch.cat([self.tokens[index : index + 1].to(tokens), tokens], dim=1), beside]]

    def _encode(self, **texts):
        """One prompt, by argument of encode_prompt -> its conditioning in ComfyUI's form."""
        tokens, _, *pooled = self.encode_prompt(
            **texts, **self.options, num_images_per_prompt=1, do_classifier_free_guidance=False
        )
        return [[tokens, {"pooled_output": pooled[0]} if pooled else {}]]

    def exploding(self, sigma: float) -> tuple[Tensor, Tensor]:
        """The latents of the evaluation at hand -> x = x0 + sigma n [B, C, H, W] and sigma [B]."""
        sample = self.call["sample"][-len(self.tokens) :, : self.pipe.vae.config.latent_channels].float()
        return sample * math.sqrt(1 + sigma**2), torch.full((len(sample),), sigma, device=sample.device)

    def prompted(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self._denoised(x, sigma, self._conditional_rows())

    def plain(self, x: Tensor, sigma: Tensor) -> Tensor:
        if not self.pipe.do_classifier_free_guidance:
            return self.prompted(x, sigma)
        conditional = self._conditional_rows()
        rows = torch.cat([torch.arange(len(conditional)), conditional])
        negative, prompted = self._denoised(x.repeat(2, 1, 1, 1), sigma.repeat(2), rows).chunk(2)
        return negative + self.pipe.guidance_scale * (prompted - negative)

    def side(self, conditioning: Prompts, x: Tensor, sigma: Tensor, index: Tensor) -> Tensor:
        return self._denoised(x, sigma, self._conditional_rows()[index.cpu()], conditioning[index.cpu()])

    @property
    def is_own(self) -> bool:
        """Whether the evaluation at hand is for the prompts of this call of the pipeline."""
        tokens = self.call["encoder_hidden_states"][-len(self.tokens) :]
        return torch.equal(tokens, self.tokens.to(tokens))

    def replaced(self, counter: Prompts, active: Tensor) -> dict[str, Any] | None:
        """The arguments of the evaluation at hand with the counter side's prompts for some pictures [B]; None if the
        others' would get another length.
        """
        prompts = Prompts(
            conditioning if replaced else self._own(index)
            for index, (conditioning, replaced) in enumerate(zip(counter.conditionings, active.tolist(), strict=True))
        )
        if not active.all() and prompts.tokens.shape[1:] != self.tokens.shape[1:]:
            return None
        return self.call | with_prompts(self.call, prompts, len(self.call["encoder_hidden_states"]) - len(self.tokens))

    def _own(self, index):
        """The conditioning of a picture's prompt."""
        beside = {} if self.pooled is None else {"pooled_output": self.pooled[index : index + 1]}
        return [[self.tokens[index : index + 1], beside]]

    def _conditional_rows(self):
        """The rows [B] of the evaluation at hand that are for the prompts; those of the negative prompt come before."""
        count, guided = len(self.tokens), int(self.pipe.do_classifier_free_guidance)
        rows = len(self.call["sample"]) if self.call else 0
        if rows != (1 + guided) * count:
            what = f"its UNet evaluates {rows} latents for {count} pictures" if rows else "its UNet was compiled"
            raise CorrectionError(
                f"The {type(self.pipe).__name__} cannot be asked what it would draw, as {what}; use a learned "
                "preference, or switch off what changes this (such as perturbed attention)."
            )
        return torch.arange(guided * count, rows)

    def _denoised(self, x, sigma, rows, prompts: Prompts | None = None):
        """x [N, C, H, W] at sigma [N] -> denoised for rows [N] of the evaluation at hand, or for other prompts."""
        count = len(self.call["sample"])
        call = {name: rows_of(argument, rows, count) for name, argument in self.call.items()}
        sample, scheduler = call["sample"], self.pipe.scheduler
        scaled = scale_input(x.float(), sigma.float()).to(sample)
        call["sample"] = torch.cat([scaled, sample[:, x.shape[1] :]], dim=1)  # an inpainting UNet sees more
        call["timestep"] = nearest_timestep(scheduler, sigma)
        if prompts is not None:
            call |= with_prompts(call, prompts, 0)
        with self._asking(), torch.no_grad():
            output = self.pipe.unet(**call)[0]
        return denoised_of(scheduler, output.float(), x.float(), sigma)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        self.aside = True
        try:
            yield
        finally:
            self.aside = False


def _texts(arguments, count) -> list[dict[str, str]] | None:
    if arguments.get("prompt_embeds") is not None:
        return None
    given = {name: arguments[name] for name in ("prompt", "prompt_2") if arguments.get(name) is not None}
    columns = {name: [text] if isinstance(text, str) else text for name, text in given.items()}
    return [
        {name: texts[index * len(texts) // count] for name, texts in columns.items()} for index in range(count)
    ]  # num_images_per_prompt pictures of each prompt
