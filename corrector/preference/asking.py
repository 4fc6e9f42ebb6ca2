"""A preference that asks the host's model: nothing is trained but its gate, once for an axis and a text encoder."""

from collections.abc import Sequence
from pathlib import Path

import torch

from ..axis.axis import Axis
from ..gate.kept import kept_gate
from ..gate.train import QUICK, Encode, Progress
from ..gate.wordings import whole_words
from .preference import GATE_FIGURES, Preference
from .text import Text


def asking_preference(
    axis: Axis, source: Text, encode: Encode, vocabulary: Sequence[str], encoder: str, folder: Path | None,
    progress: Progress | None = None,
) -> Preference:  # fmt: skip
    """A preference that asks the host's model, with the figures of its gate.

    Args:
        axis: Axis.
        source: as the host's runs take it.
        encode, encoder, folder, progress: as for `kept_gate`.
        vocabulary: the tokens that the text encoder's tokenizer knows; () if that is not known.
    """
    with torch.inference_mode(False), torch.enable_grad():
        gate, figures = kept_gate(axis, encode, encoder, folder, progress, words=whole_words(vocabulary), **QUICK)
    return Preference(axis, "any", source, gate, training={GATE_FIGURES: figures}, name=axis.title, hash=axis.hash)
