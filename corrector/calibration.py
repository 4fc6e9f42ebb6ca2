"""Calibration: for a group and CFG scale, measure the base rate, the rate at full strength, and the tone gain.

Written against a host's functions (encode, sample, decode) and a judge of clean latents that made no correction.
"""

import random
from dataclasses import replace

import torch

from .correction import Decision, Settings, coins_from_seeds, correct, decide
from .pairs import lightness
from .preference import Calibration
from .prompt_gate import PromptReading


def decide_all(preference, conditioning, coins, target, cfg, batch):
    """`decide` for many pictures, whose target share is kept in each batch of `batch` -> (Decision, reasons)."""
    parts, reasons = [], []
    for which in torch.arange(len(coins)).split(batch):
        readings = [preference.gate and preference.gate.read([conditioning[i : i + 1]]) for i in which.tolist()]
        decision, why = decide(preference, readings, coins[which], target, cfg)
        parts.append(decision)
        reasons += why
    return Decision(*(torch.cat(column) for column in zip(*(vars(p).values() for p in parts), strict=True))), reasons


def sample_corrected(host, prompts, seeds, preferences, settings, cfg=2.0, batch=50, plain=None, **options):
    """Sample with the correction, one prompt and seed a picture -> (latents, list of reasons a preference).

    `plain`: latents of the same prompts and seeds without correction, if they are there already; pictures on which
    nothing acts are taken from them instead of being sampled again, since they are the same bit for bit.
    """
    conditioning, coins = host.encode(prompts), coins_from_seeds(seeds)
    decided = [decide_all(preference, conditioning, coins, settings.target, cfg, batch) for preference in preferences]
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


PUSH_GAINS = (1.0, 1.5, 2.0)  # a distilled push is a little weak: a regression shrinks towards the mean
ENOUGH = 0.995  # full rate at which the push is strong enough


def calibrate(host, preference, judge, count=400, cfg=2.0, seed=1, trials=120, progress=None):
    """Measure every group of the preference's axis at one CFG scale -> the preference with its calibrations.

    On the first `trials` pictures, the push gain is the smallest that brings nearly all to the counter side, and the
    tone gain is found by secant steps, so that corrected pictures keep the mean lightness that the same seeds have
    without correction. All `count` pictures then give the figures that are kept.
    """
    done = [c for c in preference.calibrations if c.cfg != cfg]
    for group in preference.axis.groups:
        rng = random.Random(f"{seed} {group}")
        seeds = [rng.randrange(2**31) for _ in range(count)]
        prompts = [rng.choice(preference.axis.prompts(group)) for _ in range(count)]
        plain = host.sample(host.encode(prompts), seeds, cfg=cfg, progress=progress)
        before = lightness(host.decode(plain), preference.axis.skin_region)
        base_rate = float(judge.counter(plain).float().mean())

        def run(tone_gain, push_gain, number, group=group, rate=base_rate, prompts=prompts, seeds=seeds, before=before):
            trial = Calibration(group, cfg, rate, count, 1.0, 0, tone_gain, push_gain=push_gain)
            candidate = replace(preference, calibrations=(trial,), gate=_AlwaysOpen(preference, group))
            some = prompts[:number], seeds[:number]
            latents, _ = sample_corrected(host, *some, [candidate], Settings(), cfg, progress=progress)
            after = lightness(host.decode(latents), preference.axis.skin_region)
            return float(judge.counter(latents).float().mean()), float((after - before[:number]).mean())

        for push_gain in PUSH_GAINS:
            if run(0.0, push_gain, trials)[0] >= ENOUGH:
                break
        tone_gain = _zero_of(lambda gain, push_gain=push_gain, run=run: run(gain, push_gain, trials)[1])
        full_rate, drift = run(tone_gain, push_gain, count)
        done.append(Calibration(group, cfg, base_rate, count, full_rate, count, tone_gain, drift, seed, push_gain))
    return replace(preference, calibrations=tuple(done))


def _zero_of(drift_of, start=-2.0, steps=2):
    """The gain at which the drift is nearest 0, by secant steps from 0 and `start`."""
    tried = [(0.0, drift_of(0.0))]
    if abs(tried[0][1]) < 0.1:
        return 0.0
    gain = start if tried[0][1] > 0 else -start  # a positive drift is lightening: tilt towards darker
    for _ in range(steps):
        tried.append((gain, drift_of(gain)))
        (g0, d0), (g1, d1) = sorted(tried, key=lambda pair: abs(pair[1]))[:2]
        if abs(g0 - g1) < 1e-6 or abs(d0 - d1) < 1e-6 or abs(d0) < 0.1:
            break
        gain = g0 - d0 * (g1 - g0) / (d1 - d0)
        gain = max(-30.0, min(30.0, gain))
    return min(tried, key=lambda pair: abs(pair[1]))[0]


class _AlwaysOpen:
    """During calibration the prompt is known: the group's own neutral ones."""

    def __init__(self, preference, group):
        self.reading = PromptReading(preference.axis.groups.index(group), "neither")

    def read(self, conditionings):
        return self.reading
