"""The latent update as one pure function for all adapters: denoised -> corrected denoised.

    D* = D + strength * (k * opening * P + (1 - c)^2 * tone * (1 + 1/sigma^2)^(rise/2) * T)
    opening = max(0, 1 - (q / max(1 - c, CLOSED_BELIEF))^n)      q = sigmoid(l)

For the user's prompt the model predicts D_cond = q D_c + (1 - q) D_s, where q is its own belief that the picture
comes out on the counter side and P = D_c - D_s is the push. D_c - D_cond = (1 - q) P, so that with n = 1 and k, the
CFG scale, D* is what the model itself predicts if the prompt asks for the counter side: D_u + k (D_c - D_u)
(METHOD.md). k gets a margin more (`push_scale`), and n = 1 + LATE_EXPONENT / (1 + sigma^2): where little noise is left
the belief says too much of pictures that are half-way, and a push that ends too early leaves them so.

c is the chance that the picture comes out on the counter side by itself: such a picture is hardly moved. The tone push
T = Cov(x0, t | x), where t is the lightness of skin, tilts the distribution by exp(tone * t), so that a corrected
picture keeps the skin tone of its uncorrected version. The source weighs it by (1 + 1/sigma^2)^(rise/2), more where
little noise is left, so that samplers that add noise, which forget what was done before, keep the tone as others do
(docs/measurements.md).

A preference without a network asks the model itself: D* = D + strength * w * (D_c - D_cond), see `asked`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import reduce
from torch import Tensor

from ..files.errors import RSCorrectorError
from ..latents.spaces import expand
from ..preference.calibration import push_scale
from ..preference.networks import Reading
from ..preference.preference import Preference
from ..preference.text import Text
from .asked import AskedSides
from .decision import Decision

LATE_EXPONENT = 2.0  # by how much the exponent of the belief exceeds 1 where no noise is left: the push ends later
CLOSED_BELIEF = 0.5  # lowest belief at which the push ends, for a picture that comes out on the counter side by itself


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


def drift(reading: Reading, decision: Decision, k: float, exponent: float | Tensor = 1.0) -> Tensor:
    """D* - D of one preference at strength 1, [B, C, H, W] in units of x0.

    Args:
        reading, decision: of the same pictures, on the same device.
        k: the CFG scale and the margin.
        exponent: n, of the belief; a number or [B].
    """
    belief = reading.log_odds.sigmoid()
    closed = (belief / (1 - decision.chance).clamp(min=CLOSED_BELIEF)).clamp(max=1)
    opening = 1 - closed**exponent
    total = expand(k * opening, reading.push) * reading.push
    if reading.tone is not None:
        total = total + expand((1 - decision.chance).square() * decision.tone, total) * reading.tone
    return total


def correct(
    denoised: Tensor, x: Tensor, sigma: Tensor, preferences: Sequence[Preference], decisions: Sequence[Decision],
    settings: Settings, cfg: float = 1.0, conditional: Tensor | None = None,
    asked: Sequence[AskedSides | None] | None = None, asked_scale: float = 1.0,
) -> Tensor:  # fmt: skip
    """The corrected denoised [B, C, H, W], in the dtype of `denoised`.

    Pictures that no preference corrects stay bit-identical; if there are no others, `denoised` itself is returned.

    Args:
        denoised: the model's prediction after CFG, model space, any dtype.
        x: the noisy latent, as `denoised`.
        sigma: [B].
        preferences, decisions: one Decision per Preference; their drifts are added (exact for independent axes).
        settings: Settings, with the mask at the size of the latents.
        cfg: the CFG scale.
        conditional: the prediction for the user's prompt, without CFG, as `denoised`; by default `denoised` itself,
            which it is at a CFG scale of 1.
        asked: for each Preference with a Text source its AskedSides; None for one whose pictures are predicted for the
            counter side already.
        asked_scale: w of their updates.
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
        if not isinstance(preference.source, Text):
            reading = preference.source.read(x[index].float(), sigma[index], decision.group[index], prompted)
            exponent = 1 + LATE_EXPONENT / (1 + sigma[index].square())
            total[index] += drift(reading, decision.select(index), push_scale(cfg), exponent)
        elif sides is not None:
            total[index] += asked_scale * sides.update(x[index].float(), sigma[index], index, prompted)
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
