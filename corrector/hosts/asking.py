"""A diffusers pipeline as what a preference without a network asks in a run (`RunModel`).

Within a call of the pipeline its denoiser is asked with the arguments of the evaluation at hand, but for other latents,
timestep and text: what ControlNet, IP-Adapter, an inpainting UNet or a guidance embedding add is that of the evaluation
at hand.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ..correction.update import CorrectionError
from ..latents.skin import Pictures
from ..preference.preference import Preference
from .components import PipelineTexts, decoded, encoded
from .denoiser_arguments import prompts_of
from .evaluations import Evaluations
from .families import ENCODING, TEXTS, encode_texts
from .prompts import Prompts
from .schedulers import denoised_of, is_flow


class AskedPipeline:
    """The denoiser of one call of a pipeline.

    Args:
        evaluations: of the call.
        encode_prompt: the pipeline's own method.
        arguments: with which it was called, by name.
    """

    def __init__(self, evaluations: Evaluations, encode_prompt: Callable, arguments: Mapping[str, Any]):
        self.evaluations = evaluations
        self.pipe: Any = evaluations.pipe
        self.encode_prompt = encode_prompt
        self.options = {name: arguments[name] for name in ENCODING if name in arguments}
        self.texts = texts_of(arguments, len(evaluations))
        self.tokenizer = PipelineTexts(self.pipe).tokenizer
        parameter = inspect.signature(type(self.pipe).encode_prompt).parameters.get("max_sequence_length")
        self.longest = self.options.get("max_sequence_length", parameter.default if parameter else math.inf)  # tokens

    def encode(self, preference: Preference, phrases: Sequence[str]) -> Prompts:
        encode = cache(self._encode)
        return Prompts(self._with_phrase(encode, index, phrase) for index, phrase in enumerate(phrases))

    def _with_phrase(self, encode, index, phrase):
        """The conditioning of a picture's prompt with a phrase: one text if it is known and short enough."""
        texts = {name: f"{text}, {phrase}" for name, text in self.texts[index].items()} if self.texts else {}
        if texts and all(self._fits(text) for text in texts.values()):
            return encode(**texts)
        ((tokens, beside),) = encode(prompt=phrase)
        ((prompt_tokens, of_prompt),) = self.evaluations.prompts.conditionings[index]
        if self.evaluations.family.mask or self.evaluations.family.listed:  # positions beyond the longest may not exist
            prompt_tokens = prompt_tokens[:, : self.longest - tokens.shape[1]]
        return [[torch.cat([prompt_tokens.to(tokens), tokens], dim=1), beside | of_prompt]]

    def _fits(self, text):
        tokens = self.tokenizer(text, add_special_tokens=False, verbose=False).input_ids
        longest = min(self.tokenizer.model_max_length, self.longest)
        return len(tokens) <= longest - self.evaluations.family.template

    def _encode(self, **texts):
        """One prompt, by argument of encode_prompt -> its conditioning in ComfyUI's form."""
        output = encode_texts(self.pipe, self.encode_prompt, texts, self.options)
        return prompts_of(self.evaluations.family, output).conditionings[0]

    def exploding(self, sigma: float, alpha: float) -> tuple[Tensor, Tensor]:
        """The latents of the evaluation at hand, at a `noise_level` -> x = x0 + sigma n [B, C, H, W] and sigma [B]."""
        given = self.evaluations.given().float()
        scale = 1 / alpha if is_flow(self.pipe.scheduler) else math.sqrt(1 + sigma**2)
        return given * scale, torch.full((len(given),), sigma, device=given.device)

    def prompted(self, x: Tensor, sigma: Tensor) -> Tensor:
        self._check()
        return self._denoised(self.evaluations.prompted(x, sigma), x, sigma)

    def plain(self, x: Tensor, sigma: Tensor) -> Tensor:
        self._check()
        return self._denoised(self.evaluations.guided(x, sigma), x, sigma)

    def side(self, conditioning: Prompts, x: Tensor, sigma: Tensor, index: Tensor) -> Tensor:
        self._check()
        return self._denoised(self.evaluations.side(conditioning[index.cpu()], x, sigma, index.cpu()), x, sigma)

    def _denoised(self, output, x, sigma):
        return denoised_of(self.pipe.scheduler, self.evaluations.pictures(output), x.float(), sigma.float())

    def replaced(self, counter: Prompts, active: Tensor) -> dict[str, Any] | None:
        """The arguments of the evaluation at hand with the counter side's prompts for some pictures [B]; None if one
        batch cannot have prompts of such lengths.
        """
        self._check()
        return self.evaluations.replaced(counter[active], active)

    def _check(self):
        if odd := self.evaluations.odd:
            raise CorrectionError(
                f"The {type(self.pipe).__name__} cannot be asked what it would draw, as {odd}; use a learned "
                "preference, or switch off what changes this (such as perturbed attention)."
            )


def pictures_of(pipe: Any, device: torch.device) -> Pictures | None:
    """How a pipeline shows latents in model space, by its VAE; None if it has none, or none for pictures."""
    vae = getattr(pipe, "vae", None)
    if vae is None or vae.config.get("out_channels", 3) != 3:
        return None  # LDM3D's pictures also have depth
    return Pictures(lambda latents: decoded(pipe, latents, device), lambda pictures: encoded(pipe, pictures, device))


def texts_of(arguments: Mapping[str, Any], count: int) -> list[dict[str, str]]:
    """The arguments of encode_prompt -> for each of `count` pictures its texts by argument; [] if not known."""
    if arguments.get("prompt_embeds") is not None:
        return []
    given = {name: arguments[name] for name in TEXTS if arguments.get(name) is not None}
    columns = {name: [text] if isinstance(text, str) else text for name, text in given.items()}
    return [
        {name: texts[index * len(texts) // count] for name, texts in columns.items()} for index in range(count)
    ]  # num_images_per_prompt pictures of each prompt
