"""Calibration: for a group and CFG scale, measure the base rate, the rate at full strength, and the gains."""

import random
from dataclasses import replace
from functools import cache, partial
from itertools import compress
from types import SimpleNamespace

import numpy as np
import torch

from ..correction.sampled import first_predictions, readings_of, sample_corrected
from ..correction.thinning import leaning
from ..correction.update import Settings
from ..latent_space.skin import lightness
from ..latent_space.statistics import rate
from ..preference.calibration import Calibration
from ..preference.networks import read
from ..preference.prompt_gate import PromptReading
from .pairs import finite_pictures, refuse_broken

CHUNK = 100  # pictures at once, and between two checks of the interval
FEWEST = 200  # pictures per group, however narrow the interval: with fewer, one picture decides what is within reach
PUSH_GAINS = (2.0, 3.0, 4.0)  # a distilled push is a little weak, and above sight k is only 1
ENOUGH, MEASURED = 0.99, 0.98  # share of trial pictures, and of the others, at which the push is strong enough
MOST_TONE_GAIN = 6.0  # larger gains distort the push
TONE_TOLERANCE = 0.15  # points of CIE L*, about the standard error of the trials' mean


def calibrate(host, preference, judge, count=400, cfg=2.0, seed=1, trials=160, progress=None, narrow=0.0):
    """Measure every group of the preference's axis at one CFG scale -> the preference with its calibrations.

    Calibrations at other CFG scales are kept, unless of another checkpoint. Raises GateError if the preference is for
    another text encoder, PairError if too many pictures hold NaN or infinity.

    Args:
        host: its functions encode, sample and decode.
        preference, judge: as `learn` returns them.
        count: most pictures per group for the figures that are saved; broken ones are left out and counted.
        cfg: CFG scale.
        seed: of prompts and pictures.
        trials: other pictures per group, for the smallest push gain that brings nearly all to the counter side, and the
            tone gain that keeps their mean lightness.
        progress: `progress(pictures)`, called after each batch.
        narrow: half width of the base rate's 95 % interval at which measuring stops, at FEWEST or more; 0 never.
    """
    other, checkpoint = of_other_models(preference, host), model_of(host)
    done = [c for c in preference.calibrations if c.cfg != cfg and c not in other]
    readings_of(preference, host.encode(preference.axis.prompts(preference.axis.groups[0])[:1]))
    for group in preference.axis.groups:
        measure = _Plain(host, preference, judge, group, count, cfg, seed, progress, narrow)
        base_rate = measure.base_rate
        trial = _Plain(host, preference, judge, group, min(trials, count), cfg, f"trial {seed}", progress)
        tone_gain = 0.0
        for push_gain in PUSH_GAINS:
            outcome = cache(partial(trial.corrected, base_rate, push_gain))
            if outcome(tone_gain)[0] < ENOUGH and push_gain != PUSH_GAINS[-1]:
                continue  # too weak whatever the tone gain
            tone_gain = _zero_of(lambda gain, outcome=outcome: outcome(gain)[1], start=tone_gain or 2.5)
            if outcome(tone_gain)[0] < ENOUGH and push_gain != PUSH_GAINS[-1]:
                continue
            full_rate, drift, full_n = measure.corrected(base_rate, push_gain, tone_gain)
            if full_rate >= MEASURED:
                break
        n = len(measure.seeds)
        broken = measure.broken + n - full_n
        intervals = [rate(round(share * of), of)[1:] for share, of in ((base_rate, n), (full_rate, full_n))]
        measured = group, cfg, base_rate, n, full_rate, full_n, tone_gain, drift, seed, push_gain, *intervals
        done.append(Calibration(*measured, *measure.lean(), broken, checkpoint))
    training = {name: value for name, value in preference.training.items() if name != "calibrated"}  # a host's marks
    return replace(preference, calibrations=tuple(done), training=training)


def model_of(host):
    """The part of a host's identity that rates depend on: UNet and text encoders, with their patches."""
    return " ".join(host.identity[name] for name in ("checkpoint", "text encoder") if name in host.identity)


def of_other_models(preference, host):
    """The preference's calibrations that were measured on another model than the host's.

    Identities of ComfyUI and of checkpoint folders cannot be compared, and older files have none: these count as the
    host's own.
    """
    own = model_of(host)  # comparable identities have the same length
    return [c for c in preference.calibrations if len(c.checkpoint) == len(own) and c.checkpoint != own]


class _Plain:
    """Neutral pictures of a group without correction, and measurements of the same seeds with it."""

    def __init__(self, host, preference, judge, group, count, cfg, seed, progress, narrow=0.0):
        rng = random.Random(f"{seed} {group}")
        self.host, self.preference, self.judge, self.group = host, preference, judge, group
        self.cfg, self.progress = cfg, progress
        self.seeds, self.prompts, self.broken, tones, counter = [], [], 0, [], []
        while len(self.seeds) + self.broken < count:
            more = min(CHUNK, count - len(self.seeds) - self.broken)
            seeds = [rng.randrange(2**31) for _ in range(more)]
            prompts = [rng.choice(preference.axis.prompts(group)) for _ in range(more)]
            plain = host.sample(host.encode(prompts), seeds, cfg=cfg, progress=progress).cpu()
            found = lightness(host.decode(plain), preference.axis.skin_region)
            fine = finite_pictures(plain, found)
            self.broken += int((~fine).sum())
            refuse_broken(self.broken, len(self.seeds) + more, count)
            tones.append(found[fine])
            counter += judge.counter(plain[fine]).tolist()
            self.seeds += compress(seeds, fine.tolist())
            self.prompts += compress(prompts, fine.tolist())
            _, low, high = rate(sum(counter), len(counter))
            if high - low <= 2 * narrow and len(counter) >= FEWEST:
                break
        refuse_broken(self.broken, self.broken + len(self.seeds))
        self.lightness, self.base_rate = torch.cat(tones), sum(counter) / len(counter)
        self.counter = torch.tensor(counter, dtype=torch.float64)

    def lean(self):
        """Logistic regression of the side on the lean at the first step -> (slope, offset, mean, spread, sigma)."""
        denoised, x, sigma = first_predictions(self.host, self.host.encode(self.prompts), self.seeds, self.cfg)
        group = torch.full((len(x),), self.preference.axis.groups.index(self.group))
        with torch.no_grad():
            parts = zip(*(part.split(CHUNK) for part in (x, sigma, group)), strict=True)
            lean = leaning(denoised, torch.cat([read(self.preference.source, *some).push for some in parts])).double()
        fine = lean.isfinite()
        lean, counter = lean[fine], self.counter[fine]
        mean, spread = float(lean.mean()), max(float(lean.std()) if len(lean) > 1 else 0.0, 1e-6)
        slope, offset = _logistic_fit((lean - mean) / spread, counter, self.base_rate)
        return slope / spread, offset - slope / spread * mean, mean, spread, float(sigma.max())

    def corrected(self, base_rate, push_gain, tone_gain):
        """-> (share on the counter side, mean change of lightness in points of CIE L*, pictures) at strength 1."""
        trial = Calibration(self.group, self.cfg, base_rate, 0, 1.0, 0, tone_gain, push_gain=push_gain)
        named = PromptReading(self.preference.axis.groups.index(self.group), "neither")  # by all of these prompts
        gate = SimpleNamespace(read=lambda conditionings: named)
        candidate = replace(self.preference, calibrations=(trial,), gate=gate)
        latents, _ = sample_corrected(
            self.host, self.prompts, self.seeds, [candidate], Settings(), self.cfg, progress=self.progress
        )
        region = self.preference.axis.skin_region
        after = torch.cat([lightness(self.host.decode(part), region) for part in latents.split(CHUNK)])
        fine = finite_pictures(latents, after)
        refuse_broken(int((~fine).sum()), len(fine), what="corrected pictures")
        change = (after - self.lightness)[fine].mean()
        return float(self.judge.counter(latents[fine]).float().mean()), float(change), int(fine.sum())


def _logistic_fit(z, counter, base_rate):
    """Slope and offset of a logistic regression of `counter` on standardised z, both [N].

    The prior is normal, with mean (0, logit of the base rate) and variance 1.
    """
    from scipy.optimize import minimize
    from scipy.special import logit

    z, counter, prior = z.numpy(), counter.numpy(), np.array([0.0, logit(np.clip(base_rate, 1e-3, 1 - 1e-3))])

    def loss(parameters):
        logits = parameters[1] + parameters[0] * z
        data = np.logaddexp(0, logits).sum() - (counter * logits).sum()
        return data + 0.5 * np.square(parameters - prior).sum()

    slope, offset = minimize(loss, prior).x
    return float(slope), float(offset)


def _zero_of(drift_of, start=2.5, steps=4):
    """The tone gain at which the drift is nearest 0, by secant steps from 0 and `start`."""
    tried = [(0.0, drift_of(0.0))]
    gain = start
    for _ in range(steps):
        if abs(tried[-1][1]) < TONE_TOLERANCE:
            break
        tried.append((gain, drift_of(gain)))
        (g0, d0), (g1, d1) = sorted(tried, key=lambda pair: abs(pair[1]))[:2]
        if abs(g0 - g1) < 1e-6 or abs(d0 - d1) < 1e-6:
            break
        gain = max(-MOST_TONE_GAIN, min(MOST_TONE_GAIN, g0 - d0 * (g1 - g0) / (d1 - d0)))
    return min(tried, key=lambda pair: abs(pair[1]))[0]
