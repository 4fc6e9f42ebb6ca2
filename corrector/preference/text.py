"""The Text source: the host's predictions for a prompt of each side, without training."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from .networks import Reading, along

SMOOTHING = 0.5  # weight of the previous step's q

Evaluate = Callable[["Text", Tensor, Tensor], tuple[Tensor, Tensor]]  # (text, x, sigma) -> (D_c, D_s), without CFG


class Text:
    """Log-odds and push from the host's own model, with two more evaluations per step.

    Since D_cond = q D_c + (1-q) D_s for conditional predictions, q = <D_cond - D_s, P> / |P|^2 with P = D_c - D_s.

    Args:
        counter, stereotype: the host's conditioning of a prompt for each side.
        evaluate: gives the host's predictions [B, C, H, W] for both sides; None before a run.
    """

    has_weights = False

    def __init__(self, counter: Any, stereotype: Any, evaluate: Evaluate | None = None):
        self.counter = counter
        self.stereotype = stereotype
        self.evaluate = evaluate
        self.previous: tuple[float, Tensor] | None = None  # sigma and q of the previous step

    def in_run(self, evaluate: Evaluate | None) -> "Text":
        """A copy for one run, without the state of another."""
        return Text(self.counter, self.stereotype, evaluate)

    def read(self, x: Tensor, sigma: Tensor, group: Tensor, conditional: Tensor) -> Reading:
        """As `Source.read`."""
        assert self.evaluate is not None, "only in a run"  # noqa: S101
        counter, stereotype = self.evaluate(self, x, sigma)
        push = counter - stereotype
        share = along(conditional - stereotype, push).clamp(0.02, 0.98)
        return Reading(self._smooth(share, float(sigma.max())).logit(), push)

    def _smooth(self, share: Tensor, sigma: float) -> Tensor:
        """Average with the previous step, unless sigma rose or the batch size changed."""
        if self.previous and self.previous[0] > sigma and self.previous[1].shape == share.shape:
            share = SMOOTHING * self.previous[1] + (1 - SMOOTHING) * share
        self.previous = (sigma, share)
        return share
