"""ComfyUI's model as what a preference without a network asks in a run (`RunModel`)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import comfy.samplers
import torch
from comfy.sampler_helpers import convert_cond
from comfy.sd import CLIP, VAE
from comfy_execution.progress import get_progress_state
from torch import Tensor

from ..corrector.correction.update import CorrectionError
from ..corrector.latents.skin import Pictures
from ..corrector.preference.preference import Preference
from ..corrector.preference.text import Text
from .host import pictures_of, preview_colours
from .prompts import TEXT_FIELDS, ComfyPrompts, in_a_row
from .sampling import Sampling

LONGEST_TEXT = 5000  # characters of a widget that may be the prompt of a run


def text_source(clip: CLIP, vae: VAE | None = None) -> Text:
    """The Text source of a CLIP; with a VAE, skin is kept as it is in the picture, not in approximate colours."""

    @torch.inference_mode()
    def encode(prompts: Sequence[str]) -> list[list]:
        return [clip.encode_from_tokens_scheduled(clip.tokenize(prompt)) for prompt in prompts]

    return Text(encode, pictures_of(vae) if vae else None)


class AskedModel:
    """The model of one sampling, as `RunModel`.

    Args:
        guider: that samples.
        preferences: of the run.
        prompts: the positive conditions as the guider got them.
        sampling: how the model is sampled.
        vae: that of the node, if there is one.
    """

    def __init__(
        self, guider: Any, preferences: Sequence[Preference], prompts: list[dict], sampling: Sampling,
        vae: VAE | None = None,
    ):  # fmt: skip
        self.guider = guider
        self.sampling = sampling
        self.prompts = prompts
        self.sources = [each.source for each in preferences if isinstance(each.source, Text)]
        of_sources = next((source.pictures for source in self.sources if source.pictures), None)
        self._pictures = pictures_of(vae) if vae else of_sources
        self.call: dict[str, Any] = {}  # model, cond and model_options of the evaluation at hand
        self.aside = False  # whether it is asked, so that the hooks of the run have nothing to do

    def pictures(self) -> Pictures | None:
        """How latents are shown: by the VAE of the preference or of the node, or in the host's approximate colours."""
        model, of_vae = self.guider.model_patcher.model, self._pictures
        if of_vae is not None:
            return Pictures(
                lambda latents: of_vae.decode(model.process_latent_out(self.sampling.latents(latents))),
                lambda pictures: self.sampling.pictures(model.process_latent_in(of_vae.encode(pictures))),
            )
        colours = preview_colours(model.latent_format)
        return colours.pictures if colours else None

    def encode(self, preference: Preference, phrases: Sequence[str]) -> ComfyPrompts:
        source = preference.source
        assert isinstance(source, Text) and source.encode  # noqa: S101
        if not self.prompts:
            raise CorrectionError(
                "The prompt of this sampler has no text, and RS-Corrector asks the model about the prompt's text. "
                "Connect a text prompt, or use a learned preference."
            )
        text = self.text
        texts = list(dict.fromkeys(phrases))
        prompts = texts if text is None else [f"{text}, {phrase}" for phrase in texts]
        encoded = dict(zip(texts, source.encode(prompts), strict=True))
        if text is not None:
            return ComfyPrompts(encoded[phrase][:1] for phrase in phrases)
        return ComfyPrompts(
            [in_a_row(self._own(prompt, index), encoded[phrase][0]) for prompt in self.prompts]
            for index, phrase in enumerate(phrases)
        )

    @cached_property
    def text(self) -> str | None:
        """The text of the run's only prompt, found among the widgets of the graph by what a preference's CLIP makes of
        it; or None.
        """
        encode = next((source.encode for source in self.sources if source.encode), None)
        if encode is None or len(self.prompts) != 1 or len(self.prompts[0]["cross_attn"]) != 1:
            return None
        graph, vectors = get_progress_state().dynprompt, self.prompts[0]["cross_attn"].cpu()
        inputs = (graph.get_node(node)["inputs"].values() for node in graph.all_node_ids()) if graph else ()
        texts = {value for values in inputs for value in values if isinstance(value, str)}
        for text in sorted(texts, key=len, reverse=True):
            if len(text) <= LONGEST_TEXT:
                tokens = encode([text])[0][0][0].cpu()
                if tokens.shape == vectors.shape and torch.allclose(tokens, vectors, atol=1e-4):
                    return text
        return None

    def with_counter(self, counter: ComfyPrompts, active: Tensor) -> ComfyPrompts | None:
        """The run's prompts, with those of the counter side for some pictures [B]; None unless they are `alike`."""
        prompts = ComfyPrompts(
            conditioning if replaced else [self._own(prompt, index) for prompt in self.prompts]
            for index, (conditioning, replaced) in enumerate(zip(counter.conditionings, active.tolist(), strict=True))
        )
        return prompts if len(prompts.alike()) == 1 else None

    def _own(self, prompt, index):
        """A picture's prompt, of the whole picture or of a region, as an entry of a CONDITIONING."""
        fields = {
            name: value[index % len(value)][None].cpu() if isinstance(value, Tensor) and value.ndim > 1 else value
            for name, value in prompt.items()
            if name.startswith(TEXT_FIELDS)
        }
        return [fields.pop("cross_attn"), fields]

    @contextmanager
    def _asking(self) -> Iterator[dict]:
        self.aside = True
        try:
            yield self.call
        finally:
            self.aside = False

    def plain(self, x: Tensor, sigma: Tensor) -> Tensor:
        with self._asking() as call:
            x, sigma = self.sampling.sampled(x, sigma)
            return self.sampling.pictures(self.guider(x, sigma, model_options=call["model_options"], seed=None))

    def prompted(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self._evaluate([self.call["cond"]], *self.sampling.sampled(x, sigma))

    def side(self, conditioning: ComfyPrompts, x: Tensor, sigma: Tensor, index: Tensor) -> Tensor:
        denoised = torch.empty_like(x)
        x, sigma = self.sampling.sampled(x, sigma)
        index = index.cpu()
        for part in conditioning[index].alike():
            rows = part.to(x.device)
            cond = self.condition(conditioning[index[part]], x[rows], index[part])
            denoised[rows] = self._evaluate([cond], x[rows], sigma[rows])
        return denoised

    def _evaluate(self, conds, x, sigma):
        with self._asking() as call:
            (denoised,) = comfy.samplers.calc_cond_batch(call["model"], conds, x, sigma, call["model_options"])
            return self.sampling.pictures(denoised)

    def condition(self, prompts: ComfyPrompts, x: Tensor, index: Tensor) -> list[dict]:
        """Prompts that are `alike` as conditions for x, region by region; all but their texts is the run's own's.

        Args:
            prompts: N.
            x: noisy latents of the host, of N pictures.
            index: [N], which pictures of the run they are.
        """
        sides = convert_cond(prompts.batched())
        texts = [id(prompt["cross_attn"]) for prompt in self.prompts]
        return [
            self._with_text(prompt, sides[texts.index(id(prompt["cross_attn"]))], x, index)
            for prompt in self.call["cond"]
            if id(prompt.get("cross_attn")) in texts
        ]

    def _with_text(self, prompt, side, x, index):
        """A condition of the run with the text of another."""
        model = self.call["model"]

        def inputs(fields):
            cond = fields | {"model_conds": {}}
            (cond,) = comfy.samplers.encode_model_conds(
                model.extra_conds, [cond], x, x.device, "positive", latent_image=x
            )
            return cond["model_conds"]

        rest = {name: value for name, value in prompt.items() if not name.startswith(TEXT_FIELDS)}
        cond = side | rest
        of_prompt, of_side = inputs(prompt), inputs(cond)
        # What the text does not change may also depend on the run: an inpainting model's picture, or the seed.
        kept = {
            name: _of_pictures(value, index)
            for name, value in prompt["model_conds"].items()
            if name not in of_prompt or (name in of_side and _same(of_prompt[name], of_side[name]))
        }
        return cond | {"model_conds": of_side | kept}


def _of_pictures(value, index):
    """An input of a model for some pictures of the run; one for all pictures is returned as it is."""
    if not isinstance(value.cond, Tensor) or value.cond.ndim < 2 or len(value.cond) == 1:
        return value
    return value._copy_with(value.cond[index.to(value.cond.device) % len(value.cond)])


def _same(one, other):
    """Whether two inputs of a model are equal tensors."""
    tensors = one.cond, other.cond
    return all(isinstance(tensor, Tensor) for tensor in tensors) and torch.equal(*(t.cpu() for t in tensors))
