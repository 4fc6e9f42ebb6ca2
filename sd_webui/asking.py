"""The host's model as what a preference without a network asks in a sampling pass (`RunModel`).

Before the UNet is evaluated, both hosts give their callbacks the texts of the evaluation: one row for each part of each
picture's prompt. The host predicts for the rows that are put in their place, which costs no further evaluation.
"""

import copy
import weakref
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import count
from typing import Any

import torch
from torch import Tensor

from ..corrector.correction.run import Run
from ..corrector.correction.update import CorrectionError
from ..corrector.latents.skin import Pictures
from ..corrector.latents.spaces import expand, flowing, scale_input
from ..corrector.preference.preference import Preference
from .host import (
    TOKENS,
    Processing,
    cfg_of,
    count_of_marks,
    exploding,
    nearest_timestep,
    predicts_flow,
    predicts_x0,
    space_of,
    tensors_of,
    tokens_of,
)
from .prompts import prompts_of, with_phrase

ASKED = ("sd15", "sdxl")  # spaces of the models that can be asked in Automatic1111


class Phrased:
    """The prompts of a pass, with a phrase after each, as the host encodes them.

    Args:
        p: the host's processing object.
        texts: of the prompts with their phrases.
        hires_steps: of a hires pass, or None.
    """

    def __init__(self, p: Processing, texts: Sequence[str], hires_steps: int | None):
        self.p = p
        self.texts = texts
        self.hires_steps = hires_steps
        self._encode()

    def _encode(self):
        from modules import prompt_parser

        p = self.p
        hires = self.hires_steps is not None
        size = (p.hr_upscale_to_x, p.hr_upscale_to_y) if hires else (p.width, p.height)
        texts = prompt_parser.SdConditioning(self.texts, width=size[0], height=size[1])
        # Of distilled models in Forge
        texts.distilled_cfg_scale = getattr(p, "hr_distilled_cfg" if hires else "distilled_cfg_scale", None)
        self._model = weakref.ref(p.sd_model)
        self._encoded = p.get_conds_with_caching(
            prompt_parser.get_multicond_learned_conditioning,
            texts,
            p.firstpass_steps,
            [[None, None]],
            p.extra_network_data,
            self.hires_steps,
        )

    @property
    def conditioning(self) -> Any:
        """The host's MulticondLearnedConditioning, for the model that samples: a refiner is another one."""
        if self._model() is not self.p.sd_model:
            self._encode()
        return self._encoded


def pictures_of(model: Any, device: torch.device) -> Pictures:
    """How the host shows latents in model space, as the user lets it: by the VAE of a model, or approximately."""
    from modules.sd_samplers_common import decode_first_stage, images_tensor_to_samples

    def decode(latents: Tensor) -> Tensor:
        shown = [decode_first_stage(model, latent[None].to(device)) for latent in latents]
        return torch.cat(shown).float().cpu().clamp(-1, 1)

    def encode(pictures: Tensor) -> Tensor:
        # VAEs add noise from torch's generator: here the same to each picture, and the host's stays as it is.
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            latents = []
            for picture in pictures:
                torch.manual_seed(0)
                latents.append(images_tensor_to_samples((picture[None] + 1) / 2, model=model))
        return torch.cat(latents).float().cpu()

    return Pictures(decode, encode)


class AskedModel(ABC):
    """The model of one sampling pass, as `RunModel`.

    Args:
        p: the host's processing object.
        conditioning: the host's MulticondLearnedConditioning of the pass.
    """

    def __init__(self, p: Processing, conditioning: Any):
        self.p = p
        rows = count()
        # For each picture the rows of its prompt's parts, with their weights, in the form that the hosts use.
        self.composition = [[(next(rows), part.weight) for part in parts] for parts in conditioning.batch]
        self.prompts = prompts_of(p)
        hires = getattr(p, "is_hr_pass", False)
        self.hires_steps = conditioning.batch[0][0].schedules[-1].end_at_step if hires else None
        self.call: Any = None  # the host's parameters of the evaluation at hand, with its own texts
        self.replaced = False  # whether the host's evaluation is for the counter side
        self.aside = False  # whether the model is asked, so that the hooks of the run have nothing to do

    def encode(self, preference: Preference, phrases: Sequence[str]) -> Phrased:
        texts = [with_phrase(prompt, phrase) for prompt, phrase in zip(self.prompts, phrases, strict=True)]
        return Phrased(self.p, texts, self.hires_steps)

    def begin_call(self, params: Any, run: Run) -> None:
        """Before an evaluation: replace the texts in the host's CFGDenoiserParams if that is all there is to ask."""
        self.call, self.replaced = copy.copy(params), False
        x, sigma = (part[-len(self.composition) :] for part in exploding(params.denoiser, params.x, params.sigma))
        replacement = run.replacement(x, sigma)
        text = self._with_side(*replacement) if replacement else None
        if text is not None:
            params.text_cond, self.replaced = text, True

    def _with_side(self, counter, active):
        """The texts of the evaluation with those of the counter side for some pictures [B]; None if the others' would
        get another length.
        """
        side, prompts = self._text(counter), self.call.text_cond
        if active.all():
            return side
        if tokens_of(side).shape != tokens_of(prompts).shape:
            return None
        chosen = [row for parts, replaced in zip(self.composition, active, strict=True) if replaced for row, _ in parts]

        def mixed(name, tensor):
            tensor = tensor.clone()
            tensor[chosen] = tensors_of(side)[name][chosen].to(tensor)
            return tensor

        return _changed(prompts, mixed)

    def _text(self, phrased):
        """What was encoded, as the texts of an evaluation at the current step."""
        from modules import prompt_parser

        _, text = prompt_parser.reconstruct_multicond_batch(phrased.conditioning, self.call.denoiser.step)
        prompts = tokens_of(self.call.text_cond)
        if len(tokens_of(text)) != len(prompts):
            raise CorrectionError(
                "The model cannot be asked, because another extension changes the prompts while the picture is drawn; "
                "disable it, or use a learned preference."
            )
        marks = prompts[:, : count_of_marks(prompts)]

        def marked(name, tensor):
            return torch.cat([marks, tensor.to(prompts)], dim=1) if name == TOKENS else tensor

        return _changed(text, marked)

    def plain(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self._evaluate(self.call.text_cond, x, sigma, torch.arange(len(x)), cfg_of(self.p))

    def prompted(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self._evaluate(self.call.text_cond, x, sigma, torch.arange(len(x)), 1.0)

    def side(self, conditioning: Phrased, x: Tensor, sigma: Tensor, index: Tensor) -> Tensor:
        return self._evaluate(self._text(conditioning), x, sigma, index.cpu(), 1.0)

    @abstractmethod
    def _evaluate(self, text: Any, x: Tensor, sigma: Tensor, index: Tensor, cfg: float) -> Tensor:
        """x [N, C, H, W] at sigma [N], of the pictures at `index` [N] -> denoised after CFG.

        Args:
            text: of all pictures, in the form in which the host's evaluation has it.
        """


class AskedForge(AskedModel):
    """Forge's model. It is asked for the whole batch, for which its ControlNets and inpainting pictures are."""

    def _evaluate(self, text, x, sigma, index, cfg):
        from backend.sampling.sampling_function import sampling_function

        call = copy.copy(self.call)
        if predicts_flow(self.p.sd_model):
            x, sigma = flowing(x, sigma)
        index = index.to(call.x.device)
        call.x = call.x.index_copy(0, index, x.to(call.x))
        call.sigma = call.sigma.index_copy(0, index, sigma.to(call.sigma))
        call.text_cond = text
        self.aside = True
        try:
            denoised, conditional, _ = sampling_function(call.denoiser, call, cfg, self.composition)
        finally:
            self.aside = False
        return (conditional if cfg == 1 else denoised)[index]


class AskedA1111(AskedModel):
    """Automatic1111's model, with the conditioning pictures of the evaluation at hand.

    Raises CorrectionError if it cannot be asked.
    """

    def __init__(self, p: Processing, conditioning: Any):
        super().__init__(p, conditioning)
        if space_of(p.sd_model) not in ASKED:
            raise CorrectionError(
                "In Automatic1111, only SD1.5, SD2.x and SDXL models can be asked what they would draw; load one of "
                "these, or use Forge."
            )

    def _evaluate(self, text, x, sigma, index, cfg):
        call, pictures = self.call, index.tolist()
        first_negative = sum(map(len, self.composition))
        if len(call.x) != first_negative + len(self.composition):
            raise CorrectionError(
                "An InstructPix2Pix model cannot be asked what it would draw; set the image CFG scale to 1, or use a "
                "learned preference."
            )
        rows = [row for picture in pictures for row, _ in self.composition[picture]]
        numbers = count()
        composition = [[(next(numbers), weight) for _, weight in self.composition[picture]] for picture in pictures]
        owners = [number for number, parts in enumerate(composition) for _ in parts]
        conditional = self._denoised(text, x[owners], sigma[owners], rows, rows)
        if cfg == 1 and all(weights == [1] for weights in ([weight for _, weight in parts] for parts in composition)):
            return conditional
        negative = self._denoised(call.text_uncond, x, sigma, pictures, [first_negative + each for each in pictures])
        return call.denoiser.combine_denoised(torch.cat([conditional, negative]), composition, negative, cfg)

    def _denoised(self, text, x, sigma, rows, image_rows):
        """x [N, C, H, W] at sigma [N] -> denoised for N rows of texts, with those of the conditioning pictures."""
        denoiser, sd_model = self.call.denoiser, self.p.sd_model
        text = _changed(text, lambda _, tensor: tensor[rows])
        image = self.call.image_cond[image_rows]
        cond = dict(text) if isinstance(text, dict) else {"c_crossattn": [text]}
        # An unCLIP model gets its picture as a vector, others as further channels, if at all.
        unclip = sd_model.model.conditioning_key == "crossattn-adm"
        cond |= {"c_adm": image} if unclip else {"c_concat": [image]}
        if predicts_x0(denoiser, x, sigma):
            return denoiser.inner_model(x.to(self.call.x), sigma.to(self.call.sigma), cond=cond)
        timestep = nearest_timestep(denoiser, sigma)
        scaled = scale_input(x, sigma).to(self.call.x)
        return x - expand(sigma, x) * denoiser.inner_model(scaled, timestep.to(self.call.sigma), cond=cond)


def _changed(text, function):
    """The texts of an evaluation, a tensor or SDXL's dict, with `function(name, tensor)` in place of each tensor."""
    if isinstance(text, Tensor):
        return function(TOKENS, text)
    changed = copy.copy(text)  # of a class of the host's
    changed.update({name: function(name, tensor) for name, tensor in text.items()})
    return changed
