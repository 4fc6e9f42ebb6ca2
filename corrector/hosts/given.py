"""The preferences that a user gives: as objects, as files, or as an axis about which the host's own model is asked."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import torch

from ..axis.axis import Axis, given_axis
from ..correction.update import CorrectionError
from ..files.folders import cache_folder
from ..gate.kept import kept_gate
from ..gate.train import QUICK
from ..gate.wordings import whole_words
from ..latents.host import TextEncoder
from ..preference.file import load_preferences
from ..preference.preference import Preference
from ..preference.text import Text
from .components import PipelineTexts

Given = Preference | Axis | str | os.PathLike[str]


def asking_preference(axis: Axis, encoder: TextEncoder) -> Preference:
    """A preference that asks the host's own model, with a gate that is trained once for an axis and a text encoder.

    Training takes seconds to a minute. The gate is kept in the user's cache folder if the encoder is a pipeline's.

    Args:
        axis: Axis.
        encoder: reads the prompts of the host that samples.
    """
    identity = encoder.encoder_identity if isinstance(encoder, PipelineTexts) else ""
    words = whole_words(encoder.vocabulary)
    with torch.inference_mode(False), torch.enable_grad():
        gate, accuracy = kept_gate(axis, encoder.encode_each, identity, cache_folder("gates"), words=words, **QUICK)
    training = {"gate_accuracy": accuracy}
    return Preference(axis, "any", Text(), gate, training=training, name=axis.title, hash=axis.hash)


def preferences_of(given: Given | Iterable[Given], encoder: Callable[[], TextEncoder]) -> tuple[Preference, ...]:
    """What a user gave, one or several -> Preferences.

    Raises PreferenceFileError or AxisError if a file cannot be used, and CorrectionError if a type is another one.

    Args:
        given: Preferences, paths of preference files, axes, names of shipped axes, or paths of axis files.
        encoder: `encoder()` -> the TextEncoder of the host that samples, called for axes only.
    """
    several: Iterable = given if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    return tuple(preference for source in several for preference in _preferences(source, encoder))


def _preferences(given: Any, encoder: Callable[[], TextEncoder]) -> list[Preference]:
    if isinstance(given, str | os.PathLike):
        given = given_axis(os.fspath(given)) or given
    if isinstance(given, Preference):
        return [given]
    if isinstance(given, Axis):
        return [asking_preference(given, encoder())]
    if isinstance(given, str | os.PathLike):
        return load_preferences(os.fspath(given))
    raise CorrectionError(
        f"A preference is of the type {type(given).__name__}; give Preferences, axes, or paths of their files."
    )
