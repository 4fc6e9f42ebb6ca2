"""Calibration: for each group, measure the base rate, what correction does, and the weight that keeps the skin tone.

Everything is measured at two CFG scales, on pictures of the same prompts and seeds:

    plain        the base rate, and with the lean at the first step each picture's own chance
    counter      what the model draws if the prompt asks for the counter side: what corrected pictures should look like,
                 and the drift of skin tone without a tone push
    trial        some corrected pictures, whose drift of tone gives the weight: the drift is linear in it (METHOD.md)
    corrected    the rate at full strength, the drift that is left, and the distance to the counter pictures
"""

import random
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import torch

from ..correction.sampled import CHUNK, first_predictions, readings_of, sample_corrected
from ..correction.update import Settings
from ..latent_space.skin import lightness
from ..latent_space.statistics import features, frechet, rate
from ..preference.calibration import Calibration
from ..preference.networks import read
from ..preference.prompt_gate import PromptReading
from .pairs import finite_pictures, refuse_broken
from .store import PairError, PairStore

COUNTER, TRIAL = 2, 3  # one in so many pictures is also drawn as a counter picture, and in the trial
TRIAL_TONE = 1.0  # weight of the tone push in the trial, in units of the group's tone slope
MOST_TONE = 5.0  # largest weight, in the same units; larger ones distort the picture
GRID = 2  # cells a side of the features of a distance: few, so that some dozens of pictures suffice
FEWEST = 24  # counter pictures that a distance needs
OTHER_CFG = (2.0, 7.0)  # the second CFG scale is the one of these that is farther from the first


class CalibrationStore(PairStore):
    """A folder of the pictures of a calibration, from which an interrupted one resumes."""

    what = "calibration pictures"


def scales(cfg):
    """The CFG scales at which a calibration for `cfg` measures, ascending."""
    far = max(OTHER_CFG, key=lambda other: abs(np.log(max(cfg, 0.1) / other)))
    return tuple(sorted({float(cfg), far}))


def pictures_needed(groups, count, cfgs):
    """How many pictures `calibrate` draws."""
    return groups * len(cfgs) * (2 * count + -(-count // COUNTER) + -(-count // TRIAL))


def calibrate(host, preference, judge, count=84, cfgs=(2.0, 7.0), seed=1, progress=None, folder=None):
    """Measure every group of the preference's axis at some CFG scales -> the preference with its calibrations.

    Calibrations at other CFG scales are kept, unless of another checkpoint. Raises GateError if the preference is for
    another text encoder, PairError if too many pictures hold NaN or infinity.

    Args:
        host: its functions encode, sample and decode.
        preference, judge: as `learn` returns them.
        count: plain pictures per group and CFG scale, and as many corrected ones; broken ones are left out and counted.
        cfgs: CFG scales; what lies between them is interpolated.
        seed: of prompts and pictures.
        progress: `progress(pictures)`, called after each batch.
        folder: batches are saved in it, and an interrupted calibration resumes from them with the same result.
    """
    axis, other, checkpoint = preference.axis, of_other_models(preference, host), model_of(host)
    done = [c for c in preference.calibrations if c.cfg not in cfgs and c not in other]
    readings_of(preference, host.encode(axis.prompts(axis.groups[0])[:1]))
    store = None
    if folder:
        settings = dict(axis=axis.hash, preference=preference.hash, count=count, seed=seed, cfgs=cfgs)
        store = CalibrationStore(folder, settings | host.identity)
    for group in axis.groups:
        measured = _Group(host, preference, judge, group, count, seed, store, progress).calibrations(cfgs)
        done += [replace(one, checkpoint=checkpoint) for one in measured]
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


class _Group:
    """The pictures of one group, and what they say."""

    def __init__(self, host, preference, judge, group, count, seed, store, progress):
        rng, axis = random.Random(f"{seed} {group}"), preference.axis
        self.host, self.preference, self.judge, self.group = host, preference, judge, group
        self.store, self.progress, self.seed = store, progress, seed
        self.index = axis.groups.index(group)
        self.seeds = [rng.randrange(2**31) for _ in range(count)]
        self.prompts = [rng.choice(axis.prompts(group)) for _ in range(count)]
        self.asking = [f"{prompt} {rng.choice(axis.counter.phrases)}" for prompt in self.prompts]

    def calibrations(self, cfgs):
        """-> Calibrations of the group, one for each CFG scale."""
        plain = [self.drawn("plain", cfg, self.prompts) for cfg in cfgs]
        return [self.calibration(*own) for own in zip(cfgs, plain, self.leans(plain), strict=True)]

    def calibration(self, cfg, plain, lean):
        """The Calibration at a CFG scale, from plain pictures and what the lean says."""
        slope = self.preference.training.get("tone_slopes", {}).get(self.group, 0.0)
        known = Calibration(self.group, cfg, *plain.rate, 1.0, 0, seed=self.seed, **lean)
        counter = self.drawn("counter", cfg, self.asking, COUNTER)
        if slope:
            trial = self.drawn("trial", cfg, self.prompts, TRIAL, replace(known, tone=TRIAL_TONE * slope))
            same = plain.drift(counter, len(trial.tones))
            gained = (plain.drift(trial) - same) / TRIAL_TONE  # the drift is linear in the weight
            known = replace(known, tone=slope * _weight(-plain.drift(counter), gained))
        corrected = self.drawn("corrected", cfg, self.prompts, known=known)
        drift, (full_rate, full_n) = plain.drift(corrected), corrected.rate
        tone = known.tone + slope * _weight(-drift, gained, signed=True) if slope else 0.0
        distance, spread = _beside(plain, corrected, counter)
        intervals = [rate(round(share * n), n)[1:] for share, n in (plain.rate, corrected.rate)]
        return replace(
            known, full_rate=full_rate, full_n=full_n, tone=tone, tone_drift=drift, base_interval=intervals[0],
            full_interval=intervals[1], distance=distance, spread=spread,
            broken=sum(int((~pictures.fine).sum()) for pictures in (plain, corrected)),
        )  # fmt: skip

    def drawn(self, stage, cfg, prompts, one_in=1, known=None):
        """The first pictures of a stage, one in so many; corrected as a Calibration says, or plain."""
        count, region = -(-len(prompts) // one_in), self.preference.axis.skin_region
        latents, tones, broken, total = [], [], {}, 0
        for start in range(0, count, self.host.batch):
            name = f"{self.index:02d}-{stage}-{cfg:g}-{start:05d}"
            some = slice(start, min(count, start + self.host.batch))
            shard = self.store and self.store.load(name)
            if not shard:
                made = self.sampled(prompts[some], self.seeds[some], cfg, known)
                shard = {"latents": made, "lightness": lightness(self.host.decode(made), region)}
                if self.store:
                    self.store.save(name, **shard)
            latents.append(shard["latents"])
            tones.append(shard["lightness"])
            total += len(shard["latents"])
            if not (fine := finite_pictures(**shard)).all():
                broken[name] = int((~fine).sum())
                try:
                    refuse_broken(sum(broken.values()), total, count, "corrected pictures" if known else "pictures")
                except PairError:
                    if self.store:
                        self.store.forget(broken)  # so that another run samples them again
                    raise
            if self.progress:
                self.progress(len(shard["latents"]))
        return _Pictures(torch.cat(latents), torch.cat(tones), self.judge)

    def sampled(self, prompts, seeds, cfg, known):
        if known is None:
            return self.host.sample(self.host.encode(prompts), seeds, cfg=cfg).cpu()
        named = PromptReading(self.index, "neither")  # by all of these prompts
        gate = SimpleNamespace(read=lambda conditionings: named)
        candidate = replace(self.preference, calibrations=(known,), gate=gate)
        return sample_corrected(self.host, prompts, seeds, [candidate], Settings(), cfg)[0]

    def leans(self, plain):
        """What the lean says at each CFG scale, as arguments of Calibration: a logistic regression of the side.

        The slope is common to all scales (METHOD.md).
        """
        x, sigma, conditional = first_predictions(self.host, self.host.encode(self.prompts), self.seeds)
        group = torch.full((len(x),), self.index)
        with torch.no_grad():
            parts = zip(*(part.split(CHUNK) for part in (x, sigma, group, conditional)), strict=True)
            lean = torch.cat([read(self.preference.source, *some).log_odds for some in parts]).double().cpu()
        fine = [pictures.fine & lean.isfinite() for pictures in plain]
        known = lean[torch.stack(fine).any(dim=0)]
        mean, spread = float(known.mean()), max(float(known.std()) if len(known) > 1 else 0.0, 1e-6)
        z = [((lean - mean) / spread)[some].numpy() for some in fine]
        sides = [pictures.counter[some].numpy() for pictures, some in zip(plain, fine, strict=True)]
        slope, offsets = _logistic_fit(z, sides)
        slope /= spread
        common = dict(lean_slope=slope, lean_mean=mean, lean_spread=spread, lean_sigma=float(sigma.max()))
        return [common | {"lean_offset": offset - slope * mean} for offset in offsets]


class _Pictures:
    """Latents of one stage and CFG scale, with their lightness and sides."""

    def __init__(self, latents, tones, judge):
        self.latents, self.tones, self.fine = latents, tones, finite_pictures(latents, tones)
        self.counter = torch.zeros(len(latents), dtype=torch.float64)
        self.counter[self.fine] = judge.counter(latents[self.fine]).double()

    @property
    def rate(self):
        """The share of counter pictures, and of how many."""
        n = int(self.fine.sum())
        return float(self.counter[self.fine].mean()), n

    def drift(self, other, count=None):
        """The mean difference in lightness of others with the same seeds, of the first `count` or all."""
        count = count or min(len(self.tones), len(other.tones))
        fine = self.fine[:count] & other.fine[:count]
        return float((other.tones[:count] - self.tones[:count])[fine].mean())


def _weight(wanted, gained, signed=False):
    """The weight of the tone push, in units of the tone slope, that changes the drift by `wanted`.

    A weight of 1 changes it by `gained`. Without a measurable gain it is 0.
    """
    if not abs(gained) > 1e-3:
        return 0.0
    return min(max(wanted / gained, -MOST_TONE if signed else 0.0), MOST_TONE)


def _beside(plain, corrected, counter):
    """Corrected pictures beside the model's own counter pictures of the same seeds -> (distance, spread), or Nones."""
    count = len(counter.latents)
    fine = plain.fine[:count] & corrected.fine[:count] & counter.fine
    if int(fine.sum()) < FEWEST:
        return None, None
    own, ours, wanted = (pictures.latents[:count][fine] for pictures in (plain, corrected, counter))
    far, near = (frechet(*(features(latents, GRID) for latents in (some, wanted))) for some in (own, ours))
    return near / max(far, 1e-9), float(ours.std() / wanted.std())


def _logistic_fit(z, sides):
    """Common slope and an offset a set of a logistic regression of sides [N] on standardised z [N].

    The prior is normal with variance 1 around a slope of 0 and each set's own rate.
    """
    from scipy.optimize import minimize
    from scipy.special import logit

    rates = [np.clip(side.mean() if len(side) else 0.5, 1e-3, 1 - 1e-3) for side in sides]
    prior = np.array([0.0, *logit(rates)])

    def loss(parameters):
        total = 0.5 * np.square(parameters - prior).sum()
        for one, side, offset in zip(z, sides, parameters[1:], strict=True):
            logits = offset + parameters[0] * one
            total += np.logaddexp(0, logits).sum() - (side * logits).sum()
        return total

    slope, *offsets = minimize(loss, prior).x
    return float(slope), [float(offset) for offset in offsets]
