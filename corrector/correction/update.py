"""The latent update as one pure function for all adapters: denoised -> corrected denoised.

    D* = D + strength * w * (D_c - D_cond)

D_cond is the model's prediction for the user's prompt, without CFG, D_c that for the counter side, and w the CFG scale:
D* is what the model itself predicts if the prompt asks for that side, D_u + w (D_c - D_u) (METHOD.md, third form). The
update D_c - D_cond is what a learned network tells (`preference.networks`), or the model that is asked (`asked`). It
closes by itself once the picture is on the counter side. Skin gets its tone in the finished picture (`kept_skin`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import reduce
from torch import Tensor

from ..files.errors import RSCorrectorError
from ..latents.spaces import expand
from ..preference.preference import Preference
from ..preference.text import Text
from .asked import AskedSides
from .decision import Decision

LEAST_WEIGHT = 1.75  # of the update without CFG, where words leave some stereotypes


class CorrectionError(RSCorrectorError):
    """Invalid settings, or a model or batch that is not supported."""


@dataclass(frozen=True)
class Settings:
    """The user's settings. By default every picture is corrected at all sigmas, without mask or cap.

    Raises CorrectionError if a setting is invalid.
    """

    strength: float | Tensor = 1.0  # 0 is off, 1 as calibrated; a number, or [B] with a value for each picture
    target: float = 1.0  # wanted share of counter pictures, in (0, 1]
    window: tuple[float, float] = (math.inf, 0.0)  # the correction is on while window[0] >= sigma >= window[1]
    mask: Tensor | None = None  # [H, W], [B or 1, H, W] or [B or 1, 1, H, W] in 0..1, factor on the correction
    cap: float | None = None  # maximum RMS of D* - D of a picture, in units of x0
    verdict: bool = True  # whether the model that is asked also says what finished pictures show
    thrifty: bool = False  # whether it is asked as little as possible: skin is kept less exactly, and no verdict

    def __post_init__(self):
        try:
            strength = torch.as_tensor(self.strength, dtype=torch.float32)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            strength = torch.tensor(math.nan)
        if not torch.isfinite(strength).all() or (strength < 0).any():
            raise CorrectionError(f"The strength is {self.strength}; it must be 0 (off) or more. 1 is as calibrated.")
        if strength.ndim > 1 or not strength.numel():
            raise CorrectionError(
                f"The strength has the shape {list(strength.shape)}; give one number, or one for each picture."
            )
        if not 0 < self.target <= 1:
            raise CorrectionError(f"The target share is {self.target}; it must be above 0 and at most 1.")
        if not self.window[0] > self.window[1] >= 0:
            raise CorrectionError(
                f"The window from sigma {self.window[0]} down to {self.window[1]} is empty; its start must be before "
                "its end."
            )
        if self.cap is not None and not self.cap > 0:
            raise CorrectionError(f"The cap is {self.cap}; it must be above 0, or None for no cap.")
        if self.mask is not None:
            _check_mask(self.mask)

    @property
    def off(self) -> bool:
        """Whether no picture is corrected, as the strength is 0."""
        return not torch.as_tensor(self.strength).any()

    @property
    def plain(self) -> bool:
        """Whether pictures are corrected fully and everywhere, at all sigmas."""
        full = bool((torch.as_tensor(self.strength) == 1).all()) and self.window == (math.inf, 0.0)
        return full and self.mask is None and self.cap is None

    def inside(self, sigma: Tensor) -> Tensor:
        """Whether each sigma [B] is in the window -> bool [B]."""
        return (sigma <= self.window[0]) & (sigma >= self.window[1])

    def strengths(self, count: int) -> Tensor:
        """The strength for each of `count` pictures [count]. Raises CorrectionError if there are more or fewer."""
        strength = torch.as_tensor(self.strength, dtype=torch.float32)
        if strength.numel() not in (1, count):
            raise CorrectionError(
                f"There are {strength.numel()} strengths for {count} pictures; give one number, or one for each "
                "picture."
            )
        return strength.expand(count)

    def check_masks(self, count: int) -> None:
        """Raises CorrectionError if there is neither one mask for all of `count` pictures nor one for each."""
        masks = 1 if self.mask is None or self.mask.ndim == 2 else len(self.mask)
        if masks not in (1, count):
            raise CorrectionError(
                f"There are {masks} masks for {count} pictures; give one for all, or one for each picture."
            )


def _check_mask(mask: object) -> None:
    if not isinstance(mask, Tensor):
        kind = type(mask).__name__
        raise CorrectionError(f"The mask is of the type {kind}; it must be a picture or a tensor.")
    shape = list(mask.shape)
    if len(shape) not in (2, 3, 4) or 0 in shape or (len(shape) == 4 and shape[1] != 1):
        raise CorrectionError(
            f"The mask has the shape {shape}; it must be [height, width], [masks, height, width] or "
            "[masks, 1, height, width], with values from 0 to 1."
        )
    if not bool(((mask > -0.01) & (mask < 1.01)).all()):  # also if it has NaN
        raise CorrectionError("The mask has values below 0, above 1 or not a number; scale it to 0 to 1.")


def update_scale(cfg: float, least: bool) -> float:
    """w of the update at a CFG scale, which is a bit more without CFG, where `least` says so."""
    return max(cfg, min(cfg, 1.0) * LEAST_WEIGHT) if least else cfg


def correct(
    denoised: Tensor, x: Tensor, sigma: Tensor, preferences: Sequence[Preference], decisions: Sequence[Decision],
    settings: Settings, cfg: float = 1.0, conditional: Tensor | None = None,
    asked: Sequence[AskedSides | None] | None = None, first: bool = False,
) -> Tensor:  # fmt: skip
    """The corrected denoised [B, C, H, W], in the dtype of `denoised`.

    Pictures that no preference corrects stay bit-identical; if there are no others, `denoised` itself is returned.

    Args:
        denoised: the model's prediction after CFG, model space, any dtype.
        x: the noisy latent, as `denoised`.
        sigma: [B].
        preferences, decisions: one Decision per Preference; their updates are added (exact for independent axes).
        settings: Settings, with the mask at the size of the latents.
        cfg: the CFG scale.
        conditional: the prediction for the user's prompt, without CFG, as `denoised`; by default `denoised` itself,
            which it is at a CFG scale of 1.
        asked: for each Preference with a Text source its AskedSides; None for one whose pictures are predicted for the
            counter side already.
        first: whether it is the first step of a run. From then on the model that is asked needs no more than w = CFG; a
            network, which tells less than all of the update, does.
    """
    if denoised.ndim != 4:
        raise CorrectionError(
            f"The latent has {denoised.ndim} dimensions; RS-Corrector corrects pictures [batch, channels, height, "
            "width], not videos. Switch it off, or use a model that makes pictures."
        )
    strength = settings.strengths(len(x)).to(x.device)
    sigma = torch.as_tensor(sigma, device=x.device).float()
    inside = settings.inside(sigma) & (strength > 0)  # [B]
    total = torch.zeros_like(x, dtype=torch.float32)
    touched = torch.zeros_like(inside)
    asked = [None] * len(preferences) if asked is None else asked
    for preference, decision, sides in zip(preferences, decisions, asked, strict=True):
        decision = decision.to(x.device)
        active = decision.active & inside
        if not active.any():
            continue
        index = active.nonzero()[:, 0]
        touched |= active
        prompted = (denoised if conditional is None else conditional)[index].float()
        noisy = x[index].float(), sigma[index]
        if not isinstance(preference.source, Text):
            update = preference.source.update(*noisy, decision.group[index], prompted)
            total[index] += update_scale(cfg, least=True) * update
        elif sides is not None:
            total[index] += update_scale(cfg, least=first) * sides.update(*noisy, index, prompted)
    if not touched.any():
        return denoised
    total = total * expand(strength, total)
    if settings.mask is not None:
        total = total * settings.mask.to(total)
    if settings.cap is not None:
        size = reduce(total.square(), "b c h w -> b 1 1 1", "mean").sqrt()
        total = total * (settings.cap / size.clamp(min=1e-12)).clamp(max=1)
    corrected = (denoised.float() + total).to(denoised.dtype)
    return torch.where(expand(touched, denoised).bool(), corrected, denoised)
