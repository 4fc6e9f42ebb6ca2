"""The skin tone of a run's finished pictures: what the run keeps for it, and what one that cannot set it owes."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..latents.skin import Pictures
from ..latents.spaces import fit_mask
from ..preference.preference import Preference
from .decision import Decision
from .kept_skin import with_skin_of
from .update import Settings

SEEN = 4.0  # sigma down to which the prediction for the prompt shows what would be drawn without correction
ROUGH = "skin keeps its tone only in part, as rough colours serve: connect the VAE"


class RunSkin:
    """Sets the skin tone of a run's pictures once, when they are finished.

    Args:
        settings: of the run.
        pictures: a function -> how the host shows latents, or None if it cannot; None if skin is not kept.
        repainted: inpainting mask [..., H, W], or None.
    """

    def __init__(
        self, settings: Settings, pictures: Callable[[], Pictures | None] | None, repainted: Tensor | None
    ):  # fmt: skip
        self.settings = settings
        self.pictures = pictures
        self.repainted = repainted
        self.prompted: Tensor | None = None  # the prediction for the prompt [B, C, H, W], of the last step above SEEN
        self.done = False  # whether the tone is set
        self.notes: list[str] = []  # what a user should know of it

    def see(self, prompted: Tensor, sigma: Tensor) -> None:
        """Keep what is predicted for the prompts of the run's pictures [B, C, H, W] at sigma [B], without CFG."""
        if self.prompted is None or sigma.max() >= SEEN:
            self.prompted = prompted.detach().clone()

    def finished(
        self, made: Tensor, preferences: Sequence[Preference], decisions: Sequence[Decision],
        previews: Sequence[Tensor | None],
    ) -> Tensor:  # fmt: skip
        """`made` [B, C, H, W] with the tone that it would have without correction, or itself.

        Args:
            previews: for each preference that asked the plain pictures [B, C, H, W], whose tone it takes. For others it
                takes back the points of their decisions' tones.
        """
        pictures = self.pictures() if self.pictures else None
        if pictures is None:
            return made
        self.done = True
        strengths = self.settings.strengths(len(made))
        for preference, decision, preview in zip(preferences, decisions, previews, strict=True):
            region, before = preference.axis.skin_region, self.prompted if preview is None else preview
            index = (decision.active.cpu() & (strengths > 0)).nonzero()[:, 0]
            points = -self._changed(decision)[index] if preview is None else None
            if before is None or not region or not len(index) or (points is not None and not points.any()):
                continue
            there, plain = index.to(made.device), before[index.to(before.device)]
            changed = with_skin_of(plain, made[there], pictures, region, points).to(made) - made[there]
            for mask in (self.settings.mask, self.repainted):
                if mask is not None:
                    changed = changed * fit_mask(mask, made)[there]
            made = made.index_add(0, there, changed.to(made.dtype))
            self.notes = [] if pictures.invertible else [ROUGH]
        return made

    def owed(self, decision: Decision) -> Tensor:
        """Points of L* [B] by which a run that corrected pictures changed their skin, and did not take back."""
        return torch.zeros(len(decision.tone)) if self.done else self._changed(decision)

    def _changed(self, decision):
        strengths = self.settings.strengths(len(decision.tone)).clamp(max=1)
        return (decision.tone * decision.active).cpu() * strengths
