"""How the pipelines of diffusers ask their denoisers: one description for each family of models."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

ENCODING = (  # arguments of encode_prompt, beside the texts, that hold for all prompts of a call
    "device", "lora_scale", "clip_skip", "max_sequence_length", "clean_caption", "complex_human_instruction",
    "system_prompt",
)  # fmt: skip
TEXTS = ("prompt", "prompt_2", "prompt_3")  # arguments of encode_prompt


@dataclass(frozen=True)
class Family:
    """How the pipelines of a family ask their denoiser.

    Args:
        title: what users call the models.
        inputs: the denoiser's first arguments: latents, timestep, and wherever they stand, token vectors.
        width: where the denoiser's configuration has the width of token vectors.
        denoiser: name of the component.
        time: `time(pipe, sigma)` -> the timestep of a flow model at sigma [B] in 0..1; None if timesteps are indices.
        sign: -1 if the pipeline turns the denoiser's output round.
        scale: `scale(pipe)` -> the CFG scale w of a call in progress; None if the pipeline keeps it to itself, and then
            it is read from the predictions.
        two_calls: whether prompts and negative prompts are evaluated one after the other, the prompts first.
        prompts_first: whether the prompts come before the negative ones in one batch.
        lengths: dimensions over which CFG may be scaled to the length of the prediction for the prompt.
        pooled: (the denoiser's argument for pooled vectors, with a dot before a key in it; index of these vectors in
            what encode_prompt returns).
        mask: (the argument that says which tokens count; its index in what encode_prompt returns).
        packed: whether latents are [B, N, C], by the pipeline's own functions.
        listed: whether latents and prompts are lists, an entry for each picture.
        repeats: whether token vectors may be repeated, which changes nothing in cross-attention.
        shared: arguments that have no row for each picture, whatever their length is.
        texts: the tokenizer of the token vectors.
        template: most tokens that a tokenizer or a chat template adds to a prompt.
    """

    title: str
    inputs: tuple[str, str, str]
    width: str
    denoiser: str = "transformer"
    time: Callable[[Any, Tensor], Tensor] | None = None
    sign: int = 1
    scale: Callable[[Any], float] | None = None
    two_calls: bool = False
    prompts_first: bool = False
    lengths: tuple[int, ...] = ()
    pooled: tuple[str, int] | None = None
    mask: tuple[str, int] | None = None
    packed: bool = False
    listed: bool = False
    repeats: bool = False
    shared: tuple[str, ...] = ()
    texts: str = "tokenizer"
    template: int = 2

    @property
    def latents(self) -> str:
        return self.inputs[0]

    @property
    def timestep(self) -> str:
        return self.inputs[1]

    @property
    def tokens(self) -> str:
        return self.inputs[2]


def _thousandths(_, sigma):
    return 1000 * sigma


def _own_scale(pipe):
    return pipe.guidance_scale


SAMPLES = ("hidden_states", "timestep", "encoder_hidden_states")
STABLE_DIFFUSION = Family(
    "Stable Diffusion 1.5, 2.x and XL", ("sample", "timestep", "encoder_hidden_states"), "cross_attention_dim", "unet",
    scale=_own_scale, pooled=("added_cond_kwargs.text_embeds", 2), repeats=True,
)  # fmt: skip
PIXART = Family("PixArt", SAMPLES, "caption_channels", mask=("encoder_attention_mask", 1))
FAMILIES = {  # by the class of the pipeline
    "StableDiffusion3Pipeline": Family(
        "Stable Diffusion 3", SAMPLES, "joint_attention_dim", time=_thousandths, scale=_own_scale,
        pooled=("pooled_projections", 2),
    ),
    "FluxPipeline": Family(
        "Flux.1", SAMPLES, "joint_attention_dim", time=lambda _, sigma: sigma, two_calls=True,
        pooled=("pooled_projections", 1), packed=True, shared=("txt_ids", "img_ids"), texts="tokenizer_2",
    ),
    "ZImagePipeline": Family(
        "Z-Image", ("x", "t", "cap_feats"), "cap_feat_dim", time=lambda _, sigma: 1 - sigma, sign=-1,
        scale=lambda pipe: 1 + pipe.guidance_scale, prompts_first=True, lengths=(1, 2, 3), listed=True, template=16,
    ),
    "QwenImagePipeline": Family(
        "Qwen-Image", SAMPLES, "joint_attention_dim", time=lambda _, sigma: sigma, two_calls=True, lengths=(-1,),
        mask=("encoder_hidden_states_mask", 1), packed=True, shared=("img_shapes",), template=16,
    ),
    "Lumina2Pipeline": Family(
        "Lumina 2", SAMPLES, "cap_feat_dim", time=lambda _, sigma: 1 - sigma, sign=-1, scale=_own_scale,
        two_calls=True, lengths=(-1,), mask=("encoder_attention_mask", 1), template=48,
    ),
    "SanaPipeline": Family(
        "Sana", SAMPLES, "caption_channels", scale=_own_scale, mask=("encoder_attention_mask", 1),
        time=lambda pipe, sigma: 1000 * pipe.transformer.config.timestep_scale * sigma,
    ),
    "PixArtAlphaPipeline": PIXART,
    "PixArtSigmaPipeline": PIXART,
}  # fmt: skip


def family_of(pipe: DiffusionPipeline) -> Family:
    """The family of a pipeline; Stable Diffusion's for any pipeline that is none of FAMILIES."""
    return FAMILIES.get(type(pipe).__name__, STABLE_DIFFUSION)


def denoiser_of(pipe: DiffusionPipeline) -> Any:
    return getattr(pipe, family_of(pipe).denoiser)


def default_encoding(pipe: DiffusionPipeline) -> dict[str, Any]:
    """The arguments in ENCODING that a call of the pipeline gives to encode_prompt by default."""
    parameters = inspect.signature(type(pipe).__call__).parameters.values()
    return {each.name: each.default for each in parameters if each.name in ENCODING}


def encode_texts(pipe: DiffusionPipeline, encode_prompt: Callable, texts: dict[str, Any], options: dict[str, Any]):
    """What encode_prompt returns for texts alone, without those of the negative prompt.

    Args:
        pipe: the pipeline.
        encode_prompt: its own method.
        texts: prompts by argument, of TEXTS.
        options: arguments in ENCODING.
    """
    named = inspect.signature(getattr(type(pipe), "encode_prompt")).parameters  # noqa: B009
    given = dict.fromkeys(TEXTS) | dict(num_images_per_prompt=1, do_classifier_free_guidance=False) | options | texts
    return encode_prompt(**{name: value for name, value in given.items() if name in named})
