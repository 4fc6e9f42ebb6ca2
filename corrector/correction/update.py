"""The update of the latent, as one pure function that every adapter uses: denoised -> corrected denoised.

    D* = D + strength * gate * k * (P - tone_gain * <P, T> / |T|^2 T)
    gate = sigmoid(l' + log omega) - sigmoid(l')        l' = l + logit(beta)

(METHOD.md; Doob's h-transform of the sampling process for the weight omega on counter images.) T, the tone push, is
the direction in which skin grows lighter: what the push has of it is taken away, `tone_gain` times, so that a picture
that changes sides keeps the tone that its plain twin has. k is 1 until sigma is so low that the log-odds tell the sides
apart, and then the CFG scale times the push gain: more, earlier, moves pictures that come out fine by themselves.
"""

import math
from dataclasses import dataclass

import torch
from einops import reduce

from ..latent_space.errors import RSCorrectorError
from ..latent_space.spaces import expand
from ..preference.networks import read


class CorrectionError(RSCorrectorError):
    """Settings that cannot be used; the message says what was found, what was expected and what to do."""


@dataclass(frozen=True)
class Settings:
    """What the artist chose. Defaults: every image corrected, all of the schedule, no mask, no cap."""

    strength: float | torch.Tensor = 1.0  # 0 off, 1 as calibrated; a number, or [B] for one value an image
    target: float = 1.0  # wanted share of counter images, in (0, 1]
    window: tuple[float, float] = (math.inf, 0.0)  # the correction acts while window[0] >= sigma >= window[1]
    mask: torch.Tensor | None = None  # [B or 1, 1, H, W] in 0..1, model-space resolution; scales the correction
    cap: float | None = None  # most RMS of D* - D in an image, in units of x0; a safety net

    def __post_init__(self):
        strength = torch.as_tensor(self.strength, dtype=torch.float32)
        if not torch.isfinite(strength).all() or (strength < 0).any():
            raise CorrectionError(f"The strength is {self.strength}; it must be 0 (off) or more. 1 is as calibrated.")
        if not 0 < self.target <= 1:
            raise CorrectionError(f"The target share is {self.target}; it must be above 0 and at most 1.")
        if not self.window[0] > self.window[1] >= 0:
            raise CorrectionError(
                f"The window from sigma {self.window[0]} down to {self.window[1]} is empty; its start must lie before "
                "its end."
            )
        if self.cap is not None and not self.cap > 0:
            raise CorrectionError(f"The cap is {self.cap}; it must be above 0, or left out for no cap.")


def gate_opening(log_odds, base_rate, omega=math.inf):
    """How far an image is from the counter side, [B] in 0..1: 1 - sigmoid(l') for all images, less for omega < inf."""
    prior = log_odds + base_rate.logit(eps=1e-4)
    share = prior.sigmoid()
    return 1 - share if math.isinf(omega) else (prior + math.log(omega)).sigmoid() - share


def drift(reading, base_rate, tone_gain, k, omega=math.inf):
    """D* - D of one preference at strength 1, [B, C, H, W] in units of x0; k is a number or [B]."""
    opening = gate_opening(reading.log_odds, base_rate, omega)
    push, tone = reading.push, reading.tone
    if tone is not None:
        along = reduce(push * tone, "b ... -> b", "sum") / reduce(tone.square(), "b ... -> b", "sum").clamp(min=1e-9)
        push = push - expand(tone_gain * along, push) * tone
    return expand(k * opening, push) * push


def correct(denoised, x, sigma, preferences, decisions, settings, cfg=1.0, conditional=None):
    """The corrected denoised [B, C, H, W], in the dtype of `denoised`.

    Images that no preference corrects are returned bit for bit; if nothing acts, the very tensor that came.

    Args:
        denoised: the model's prediction after CFG, model space, any dtype.
        x: the noisy latent, as `denoised`.
        sigma: [B].
        preferences, decisions: in pairs; their drifts are added (exact if the axes are independent given x).
        settings: Settings, with the mask at the latents' size.
        cfg: the CFG scale, never taken below 1.
        conditional: the prediction for the user's prompt, without CFG; Text needs it.
    """
    if denoised.ndim != 4:
        raise CorrectionError(
            f"The latent has {denoised.ndim} dimensions; RS-Corrector corrects pictures [batch, channels, height, "
            "width]. Video models are not supported: take the node out of this graph."
        )
    strength, sigma = (torch.as_tensor(value, device=x.device).float() for value in (settings.strength, sigma))
    inside = (sigma <= settings.window[0]) & (sigma >= settings.window[1]) & (strength > 0)  # [B]
    total, touched = torch.zeros_like(x, dtype=torch.float32), torch.zeros_like(inside)
    for preference, decision in zip(preferences, decisions, strict=True):
        decision = decision.to(x.device)
        active = decision.active & inside
        if not active.any():
            continue
        some = active.nonzero()[:, 0]
        own = None if conditional is None else conditional[some].float()
        reading = read(preference.source, x[some].float(), sigma[some], decision.group[some], own)
        late = max(float(cfg), 1.0) * decision.push_gain[some]
        k = torch.where(sigma[some] <= decision.sight[some], late, 1.0)
        total[some] += drift(reading, decision.base_rate[some], decision.tone_gain[some], k)
        touched |= active
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
