"""The Text source: the host's predictions for a prompt of each side, without training."""

from .networks import Reading, along

SMOOTHING = 0.5  # weight of the previous step's q


class Text:
    """Log-odds and push from the host's own model, with two more evaluations per step.

    Since D_cond = q D_c + (1-q) D_s for conditional predictions, q = <D_cond - D_s, P> / |P|^2 with P = D_c - D_s.

    Args:
        counter, stereotype: the host's conditioning of a prompt for each side.
        evaluate: `evaluate(text, x, sigma)` -> (D_c, D_s), each [B, C, H, W] without CFG; None before a run.
    """

    has_weights = False

    def __init__(self, counter, stereotype, evaluate=None):
        self.counter, self.stereotype, self.evaluate, self.previous = counter, stereotype, evaluate, None

    def in_run(self, evaluate):
        """A copy for one run, without the state of another."""
        return Text(self.counter, self.stereotype, evaluate)

    def read(self, x, sigma, group, conditional):
        """As `Source.read`."""
        counter, stereotype = self.evaluate(self, x, sigma)
        push = counter - stereotype
        share = along(conditional - stereotype, push).clamp(0.02, 0.98)
        return Reading(self._smooth(share, float(sigma.max())).logit(), push)

    def _smooth(self, share, sigma):
        """Average with the previous step, unless sigma rose or the batch size changed."""
        if self.previous and self.previous[0] > sigma and self.previous[1].shape == share.shape:
            share = SMOOTHING * self.previous[1] + (1 - SMOOTHING) * share
        self.previous = (sigma, share)
        return share
