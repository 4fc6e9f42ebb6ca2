"""The preferences that a user gives: as objects, as files, or as an axis about which the host's own model is asked."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from tqdm import tqdm

from ..axis.axis import Axis, given_axis
from ..correction.update import CorrectionError
from ..files.folders import cache_folder
from ..latents.host import TextEncoder
from ..preference.asking import asking_preference
from ..preference.file import load_preferences
from ..preference.preference import Preference
from ..preference.text import Text
from .components import PipelineTexts

Given = Preference | Axis | str | os.PathLike[str]


def _asking(axis: Axis, encoder: TextEncoder) -> Preference:
    """A preference that asks the host's own model. Its gate is kept in the user's cache folder if the encoder is a
    pipeline's; training it shows a progress bar.
    """
    identity = encoder.encoder_identity if isinstance(encoder, PipelineTexts) else ""
    with tqdm(desc="gate on the prompt, once", leave=False, delay=1) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return asking_preference(
            axis, Text(), encoder.encode_each, encoder.vocabulary, identity, cache_folder("gates"), progress
        )


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
        return [_asking(given, encoder())]
    if isinstance(given, str | os.PathLike):
        return load_preferences(os.fspath(given))
    raise CorrectionError(
        f"A preference is of the type {type(given).__name__}; give Preferences, axes, or paths of their files."
    )
