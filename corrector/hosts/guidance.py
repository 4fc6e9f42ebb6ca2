"""How a pipeline formed its prediction after CFG, read from the predictions of a step.

Some pipelines keep the CFG scale to themselves. Some scale the prediction after CFG to the length of the one for the
prompt: Qwen-Image for each token, Lumina 2 for each row of the latents, Z-Image for the picture if that is switched on.
`scheduler.step` sees what was scaled, so a change of the prediction is scaled likewise.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

SAME_LENGTH = 1e-3  # mean relative difference of lengths up to which a prediction was not scaled


def combined(prompted: Tensor, negative: Tensor, scale: float) -> Tensor:
    """CFG at a scale w: negative + w (prompted - negative)."""
    return negative + scale * (prompted - negative)


def scale_of(guided: Tensor, prompted: Tensor, negative: Tensor, lengths: Sequence[int] = ()) -> float:
    """The CFG scale of a step, to three decimals; 1 if both predictions are the same.

    Args:
        guided, prompted, negative: the predictions after CFG, for the prompt and for the negative prompt.
        lengths: dimensions over which `guided` may be scaled; then only its direction is read.
    """
    difference, rest = prompted - negative, negative - guided
    if lengths:
        direction = guided / _length(guided, lengths)
        difference, rest = (
            part - direction * (part * direction).sum(dim=tuple(lengths), keepdim=True)
            for part in (difference, negative)
        )
    size = float(difference.square().sum())
    return round(-float((rest * difference).sum()) / size, 3) if size > 0 else 1.0


def scaling_of(guided: Tensor, plain: Tensor, lengths: Sequence[int]) -> Tensor | None:
    """By how much `plain`, as `combined` gives it, was scaled over some dimensions, of size 1 here; None if not."""
    scaling = _length(guided, lengths) / _length(plain, lengths)
    return scaling if float((scaling - 1).abs().mean()) > SAME_LENGTH else None


def scaled(plain: Tensor, prompted: Tensor, lengths: Sequence[int]) -> Tensor:
    """`plain`, as `combined` gives it, with the lengths of the prediction for the prompt."""
    return plain * _length(prompted, lengths) / _length(plain, lengths)


def _length(vectors, dims):
    return torch.linalg.vector_norm(vectors, dim=tuple(dims), keepdim=True).clamp(min=1e-12)
