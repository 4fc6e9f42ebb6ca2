"""The latent update as one pure function for all adapters: denoised -> corrected denoised.

    D* = D + strength * gate * k * (P - tone_gain * <P, T> / |T|^2 T)
    gate = sigmoid(l' + log omega) - sigmoid(l')        l' = l + logit(beta)

(METHOD.md; Doob's h-transform of the sampling process for the weight omega on counter pictures.) T, the tone push, is
the direction in which skin becomes lighter. The push's component along T is removed, `tone_gain` times, so that a
corrected picture keeps the skin tone of its uncorrected version. k is 1 at high sigma, where the log-odds cannot tell
the sides apart yet and a larger k would change pictures that need no correction; below `sight` it is the CFG scale
times the push gain.
"""

import math
from dataclasses import dataclass

import torch
from einops import reduce

from ..latent_space.errors import RSCorrectorError
from ..latent_space.spaces import expand
from ..preference.networks import read


class CorrectionError(RSCorrectorError):
    """Invalid settings, or a model or batch that is not supported."""


@dataclass(frozen=True)
class Settings:
    """The user's settings. By default every picture is corrected at all sigmas, without mask or cap."""

    strength: float | torch.Tensor = 1.0  # 0 is off, 1 as calibrated; a number, or [B] with a value for each picture
    target: float = 1.0  # wanted share of counter pictures, in (0, 1]
    window: tuple[float, float] = (math.inf, 0.0)  # the correction is on while window[0] >= sigma >= window[1]
    mask: torch.Tensor | None = None  # [B or 1, 1, H, W] in 0..1, factor on the correction
    cap: float | None = None  # maximum RMS of D* - D of a picture, in units of x0

    def __post_init__(self):
        strength = torch.as_tensor(self.strength, dtype=torch.float32)
        if not torch.isfinite(strength).all() or (strength < 0).any():
            raise CorrectionError(f"The strength is {self.strength}; it must be 0 (off) or more. 1 is as calibrated.")
        if not 0 < self.target <= 1:
            raise CorrectionError(f"The target share is {self.target}; it must be above 0 and at most 1.")
        if not self.window[0] > self.window[1] >= 0:
            raise CorrectionError(
                f"The window from sigma {self.window[0]} down to {self.window[1]} is empty; its start must be before "
                "its end."
            )
        if self.cap is not None and not self.cap > 0:
            raise CorrectionError(f"The cap is {self.cap}; it must be above 0, or None for no cap.")


def gate_opening(log_odds, base_rate, omega=math.inf):
    """The gate [B] in 0..1: 1 - sigmoid(l') for omega = inf, where all pictures are corrected; less otherwise."""
    prior = log_odds + base_rate.logit(eps=1e-4)
    share = prior.sigmoid()
    return 1 - share if math.isinf(omega) else (prior + math.log(omega)).sigmoid() - share


def drift(reading, base_rate, tone_gain, k, omega=math.inf):
    """D* - D of one preference at strength 1, [B, C, H, W] in units of x0.

    Args:
        reading: Reading.
        base_rate, tone_gain: [B], of Decision.
        k: a number or [B], factor on the push.
        omega: weight of counter pictures; infinity corrects all pictures.
    """
    opening = gate_opening(reading.log_odds, base_rate, omega)
    push, tone = reading.push, reading.tone
    if tone is not None:
        along = reduce(push * tone, "b ... -> b", "sum") / reduce(tone.square(), "b ... -> b", "sum").clamp(min=1e-9)
        push = push - expand(tone_gain * along, push) * tone
    return expand(k * opening, push) * push


def correct(denoised, x, sigma, preferences, decisions, settings, cfg=1.0, conditional=None):
    """The corrected denoised [B, C, H, W], in the dtype of `denoised`.

    Pictures that no preference corrects stay bit-identical; if there are no others, `denoised` itself is returned.

    Args:
        denoised: the model's prediction after CFG, model space, any dtype.
        x: the noisy latent, as `denoised`.
        sigma: [B].
        preferences, decisions: one Decision per Preference; their drifts are added (exact for independent axes).
        settings: Settings, with the mask at the size of the latents.
        cfg: the CFG scale; values below 1 count as 1.
        conditional: the prediction for the user's prompt, without CFG; Text needs it.
    """
    if denoised.ndim != 4:
        raise CorrectionError(
            f"The latent has {denoised.ndim} dimensions; RS-Corrector corrects pictures [batch, channels, height, "
            "width], not videos. Remove RS-Corrector from this graph."
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
        own = conditional[some].float() if preference.source.kind == "text" else None
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
