"""Calibration: for a group and CFG scale, measure the base rate, the rate at full strength, and the tone gain.

Written against a host's functions (encode, sample, decode) and a judge of clean latents that made no correction.
"""

import random
from dataclasses import replace
from functools import cache, partial

import numpy as np
import torch

from .correction import Decision, Settings, coins_from_seeds, correct, decide, mean_by_prompt, prompt_lean
from .pairs import lightness
from .preference import Calibration
from .prompt_gate import PromptReading, token_vectors

CHUNK = 100  # pictures at once, and between two looks at the interval


def decide_all(preference, conditioning, coins, target, cfg, batch, lean=None):
    """`decide` for many pictures, whose target share is kept in each batch of `batch` -> (Decision, reasons)."""
    parts, reasons = [], []
    for which in torch.arange(len(coins)).split(batch):
        some = [conditioning[i : i + 1] for i in which.tolist()]
        readings = [preference.gate and preference.gate.read([one]) for one in some]
        own = None if lean is None else mean_by_prompt(lean[which], [_name(one) for one in some])
        decision, why = decide(preference, readings, coins[which], target, cfg, own)
        parts.append(decision)
        reasons += why
    return Decision(*(torch.cat(column) for column in zip(*(vars(p).values() for p in parts), strict=True))), reasons


def _name(conditioning):
    """The same for the same prompt."""
    return token_vectors(conditioning).float().cpu().numpy().tobytes()


def prompt_leans(host, preference, conditioning, seeds, cfg):
    """`prompt_lean` of many pictures at a run's first sigma -> ([N], that sigma); None at CFG 1, which tells nothing.

    Costs 5 UNet evaluations a picture. In a program, whose hook is given both predictions, it costs none.
    """
    if cfg == 1.0:
        return None
    first = {}

    def look(denoised, x, sigma, which):
        seen = [part.detach().float().cpu().clone() for part in (denoised, x, sigma.expand(len(x)))]
        for index, *parts in zip(torch.as_tensor(which).tolist(), *seen, strict=True):
            first.setdefault(index, parts)
        return denoised

    host.sample(conditioning, seeds, cfg, steps=2, hook=look)  # a schedule of one step may begin anywhere
    denoised, x, sigma = (torch.stack(part) for part in zip(*(first[i] for i in range(len(seeds))), strict=True))
    added = (denoised - host.denoise(x, sigma, host.encode([""]).expand(len(x), -1, -1))) / cfg
    gate = preference.gate
    groups = torch.tensor([gate.read([conditioning[i : i + 1]]).group if gate else 0 for i in range(len(x))])
    with torch.no_grad():
        parts = (part.split(CHUNK) for part in (x, sigma, groups, added))
        return torch.cat([prompt_lean(preference, *some) for some in zip(*parts, strict=True)]), float(sigma.max())


def sample_corrected(host, prompts, seeds, preferences, settings, cfg=2.0, batch=50, plain=None, **options):
    """Sample with the correction, one prompt and seed a picture -> (latents, list of reasons a preference).

    `plain`: latents of the same prompts and seeds without correction, if they are there already; pictures on which
    nothing acts are taken from them instead of being sampled again, since they are the same bit for bit.
    """
    conditioning, coins, decided = host.encode(prompts), coins_from_seeds(seeds), []
    for preference in preferences:
        lean = None
        if settings.target < 1 and any(known.lean_slope for known in preference.calibrations):
            lean = prompt_leans(host, preference, conditioning, seeds, cfg)
        decided.append(decide_all(preference, conditioning, coins, settings.target, cfg, batch, lean and lean[0]))
    decisions, reasons = [d for d, _ in decided], [why for _, why in decided]
    wanted = torch.arange(len(seeds))
    if plain is not None:
        wanted = torch.stack([d.active for d in decisions]).any(dim=0).nonzero()[:, 0]
        if not len(wanted):
            return plain, reasons

    def hook(denoised, x, sigma, which):
        own = [d.select(wanted[which]) for d in decisions]
        return correct(denoised, x, sigma, preferences, own, settings, cfg)

    some = [seeds[i] for i in wanted.tolist()]
    latents = host.sample(conditioning[wanted], some, cfg, hook=hook, **options)
    if plain is None:
        return latents, reasons
    every = plain.clone()
    every[wanted] = latents
    return every, reasons


PUSH_GAINS = (2.0, 3.0, 4.0)  # a distilled push is a little weak, and above sight k is only 1
ENOUGH, MEASURED = 0.99, 0.98  # share of trial pictures, and of the others, at which the push is strong enough
MOST_TONE_GAIN = 6.0  # beyond, the push is no longer one
TONE_TOLERANCE = 0.15  # points of CIE L*, about the standard error of the trials' mean


def calibrate(host, preference, judge, count=400, cfg=2.0, seed=1, trials=160, progress=None, narrow=0.0):
    """Measure every group of the preference's axis at one CFG scale -> the preference with its calibrations.

    `narrow`: half of a 95 % interval at which measuring stops before `count`; 0 measures all.

    On `trials` pictures of their own, the push gain is the smallest that brings nearly all to the counter side, with
    the tone gain at which corrected pictures keep the mean lightness that the same seeds have without correction.
    `count` other pictures then give the figures that are kept.
    """
    done = [c for c in preference.calibrations if c.cfg != cfg]
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
            full_rate, drift = measure.corrected(base_rate, push_gain, tone_gain)
            if full_rate >= MEASURED:
                break
        n = len(measure.seeds)
        intervals = [interval(share, n) for share in (base_rate, full_rate)]
        gains = tone_gain, drift, seed, push_gain
        done.append(Calibration(group, cfg, base_rate, n, full_rate, n, *gains, *intervals, *measure.lean()))
    return replace(preference, calibrations=tuple(done))


def interval(share, n):
    """95 % Wilson interval of a share of n pictures."""
    from scipy.stats import binomtest

    found = binomtest(round(share * n), n).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


class _Plain:
    """Neutral pictures of a group without correction, and what the same seeds give with it."""

    def __init__(self, host, preference, judge, group, count, cfg, seed, progress, narrow=0.0):
        rng = random.Random(f"{seed} {group}")
        self.host, self.preference, self.judge, self.group = host, preference, judge, group
        self.cfg, self.progress = cfg, progress
        self.seeds, self.prompts, tones, counter = [], [], [], []
        while len(self.seeds) < count:
            more = min(CHUNK, count - len(self.seeds))
            seeds = [rng.randrange(2**31) for _ in range(more)]
            prompts = [rng.choice(preference.axis.prompts(group)) for _ in range(more)]
            plain = host.sample(host.encode(prompts), seeds, cfg=cfg, progress=progress)
            tones.append(lightness(host.decode(plain), preference.axis.skin_region))
            counter += judge.counter(plain).tolist()
            self.seeds += seeds
            self.prompts += prompts
            low, high = interval(sum(counter) / len(counter), len(counter))
            if high - low <= 2 * narrow:
                break
        self.lightness, self.base_rate = torch.cat(tones), sum(counter) / len(counter)
        self.counter = torch.tensor(counter, dtype=torch.float64)

    def lean(self):
        """-> (slope, mean, sigma, spread, noise): how a prompt's own base rate goes with its lean here."""
        known = replace(self.preference, gate=_AlwaysOpen(self.preference, self.group))
        found = prompt_leans(self.host, known, self.host.encode(self.prompts), self.seeds, self.cfg)
        if found is None:
            return ()
        lean, sigma = found[0].double(), found[1]
        means, counts = mean_by_prompt(lean, self.prompts)
        noise = ((lean - means).square().sum() / max(1, len(lean) - len(set(self.prompts)))).sqrt()
        spread = (means.var() - (noise.square() / counts).mean()).clamp(min=0).sqrt()
        mean, slope = means.mean(), 0.0
        if spread > 1e-6:
            slope = _logistic_slope((means - mean) / means.std(), self.counter) / float(means.std())
        return slope, float(mean), sigma, float(spread), float(noise)

    def corrected(self, base_rate, push_gain, tone_gain):
        """-> (share on the counter side, mean change of lightness in points of CIE L*) at strength 1."""
        trial = Calibration(self.group, self.cfg, base_rate, 0, 1.0, 0, tone_gain, push_gain=push_gain)
        candidate = replace(self.preference, calibrations=(trial,), gate=_AlwaysOpen(self.preference, self.group))
        latents, _ = sample_corrected(
            self.host, self.prompts, self.seeds, [candidate], Settings(), self.cfg, progress=self.progress
        )
        region = self.preference.axis.skin_region
        after = torch.cat([lightness(self.host.decode(part), region) for part in latents.split(CHUNK)])
        return float(self.judge.counter(latents).float().mean()), float((after - self.lightness).mean())


def _logistic_slope(z, counter):
    """Slope of a logistic regression of `counter` on z, both [N], with a standard normal prior."""
    from scipy.optimize import minimize

    z, counter = z.numpy(), counter.numpy()

    def loss(parameters):
        logits = parameters[0] + parameters[1] * z
        return np.logaddexp(0, logits).sum() - (counter * logits).sum() + 0.5 * parameters[1] ** 2

    return float(minimize(loss, np.zeros(2)).x[1])


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


class _AlwaysOpen:
    """During calibration the prompt is known: the group's own neutral ones."""

    def __init__(self, preference, group):
        self.reading = PromptReading(preference.axis.groups.index(group), "neither")

    def read(self, conditionings):
        return self.reading
