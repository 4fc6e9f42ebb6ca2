"""Gates on the prompt for preferences that ask the model, trained once for an axis and the loaded text encoder."""

import logging
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..corrector.hosts.prompts import TEXTS_AT_ONCE
from ..corrector.latents.fingerprint import identity
from ..corrector.preference.asking import asking_preference
from ..corrector.preference.preference import Preference
from ..corrector.preference.text import Text
from .host import is_forge, tokens_of

FOLDER = Path("cache", "rs_corrector")  # in the host's folder of data
CHUNK = 77  # token vectors of a text that a text encoder reads at once

LOG = logging.getLogger("rs_corrector")


def with_gate(preference: Preference, sd_model: Any) -> Preference:
    """A preference that asks the model, with its gate. The first time, log and page show the progress."""
    from modules import paths, shared

    def progress(done: int, total: int) -> None:
        if done == 1:
            LOG.warning("RS-Corrector: %s: learning to read prompts, once for this text encoder", preference.name)
        shared.state.textinfo = f"RS-Corrector learns to read prompts: {done} of {total}"

    encoder = identity_of_text_encoder(sd_model, shared.opts.CLIP_stop_at_last_layers)
    try:
        return asking_preference(
            preference.axis, Text(), partial(encode_each, sd_model), vocabulary_of(sd_model), encoder,
            paths.data_path / FOLDER, progress,
        )  # fmt: skip
    finally:
        shared.state.textinfo = None


def encode_each(sd_model: Any, texts: Sequence[str]) -> Iterator[Tensor]:
    """Texts -> an iterator of the token vectors [T, W] that each has alone, on the CPU."""
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        batch = list(texts[start : start + TEXTS_AT_ONCE])
        vectors = _encoded(sd_model, batch)
        if vectors.shape[1] > CHUNK:  # the host fills up the shorter ones
            yield from (_encoded(sd_model, [text])[0] for text in batch)
        else:
            yield from vectors


@torch.no_grad()
def _encoded(sd_model, texts):
    return tokens_of(sd_model.get_learned_conditioning(texts)).float().cpu()


def identity_of_text_encoder(sd_model: Any, *options: object) -> str:
    """The identity of a model's text encoder, with LoRAs, and of options that its vectors depend on."""
    if not is_forge(sd_model):  # Automatic1111 changes the weights themselves
        return identity(sd_model.cond_stage_model.state_dict(), options)
    clip = sd_model.forge_objects.clip
    weights = clip.cond_stage_model.state_dict() | clip.patcher.lora_loader.backup
    return identity(weights, list(clip.patcher.lora_patches), options)


def vocabulary_of(sd_model: Any) -> tuple[str, ...]:
    """The tokens that a model's first text encoder knows; () if that is not known."""
    if is_forge(sd_model):
        tokenizers: list[Any] = list(vars(sd_model.forge_objects.clip.tokenizer).values())
    else:
        tokenizers = [getattr(part, "tokenizer", None) for part in sd_model.cond_stage_model.modules()]
    return next((tuple(tokenizer.get_vocab()) for tokenizer in tokenizers if hasattr(tokenizer, "get_vocab")), ())
