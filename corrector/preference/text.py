"""The Text source: no training, the host's own predictions for the two sides' prompts."""

from einops import reduce

from .networks import Reading

SMOOTHING = 0.5  # of the Text source's q along a run


class Text:
    """No training: the host's own predictions for the two sides' prompts, two more evaluations a step.

    `predict(x, sigma)` -> (D, D_c, D_s), conditional predictions for the user's prompt and the axis' sides, each
    [B, C, H, W]. Since D = q D_c + (1-q) D_s, q = <D - D_s, P> / |P|^2 (METHOD.md, "Three sources").
    """

    kind = "text"
    includes_base_rate = True  # q is the model's own, prior included

    def __init__(self, predict):
        self.predict, self.previous = predict, None

    def __call__(self, x, sigma, group=None):
        denoised, counter, stereotype = self.predict(x, sigma)
        push = counter - stereotype
        share = reduce((denoised - stereotype) * push, "b ... -> b", "sum")
        share = (share / reduce(push.square(), "b ... -> b", "sum").clamp(min=1e-12)).clamp(0.02, 0.98)
        share = self._smooth(share, float(sigma.max()))
        return Reading(share.logit(), push)

    def _smooth(self, share, sigma):
        """A run starts when sigma rises: the memory of another run, or of another batch, is dropped."""
        if self.previous and self.previous[0] > sigma and self.previous[1].shape == share.shape:
            share = SMOOTHING * self.previous[1] + (1 - SMOOTHING) * share
        self.previous = (sigma, share)
        return share
