"""Calibration: for each group, measure the base rate, what correction does, and the weight that keeps the skin tone.

Everything is measured at two CFG scales, on pictures of the same prompts and seeds:

    plain        the base rate, and with the lean at the first step each picture's own chance
    counter      what the model draws if the prompt asks for the counter side: what corrected pictures should look like,
                 and the drift of skin tone without a tone push
    trial        some corrected pictures, whose drift of tone gives a first weight
    near         the drift that this weight leaves, which with that of the trial gives the final one: what the tone push
                 takes away grows as a power of the weight
    corrected    at the final weight: the rate at full strength, the distance to the counter pictures, and the drift
"""

import logging
import random
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import torch

from ..correction.sampled import first_predictions, readings_of, sample_corrected
from ..correction.thinning import belief_and_guidance
from ..correction.update import Settings
from ..gate.prompt_gate import PromptReading
from ..latents.skin import lightness
from ..latents.statistics import denoising_error, features, frechet, rate
from ..preference.calibration import Calibration
from .chances import leans_from
from .pairs import finite_pictures, refuse_broken
from .store import MOST_CFG, PairError, PairStore
from .tone import tone_power, tone_weight

LOG = logging.getLogger("rs_corrector")
COUNTER, TRIAL = 2, 3  # one in so many pictures is also drawn as a counter picture, and in the trial
TRIAL_TONE = 1.5  # weight of the tone push in the trial, in units of the group's tone slope
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
    return groups * len(cfgs) * (3 * count + -(-count // COUNTER) + -(-count // TRIAL))


def calibrate(host, preference, judge, count=84, cfgs=(2.0, 7.0), seed=1, progress=None, folder=None, measuring=None):
    """Measure every group of the preference's axis at some CFG scales -> the preference with its calibrations.

    Calibrations at other CFG scales are kept, unless of another checkpoint, which is logged. Raises GateError if the
    preference is for another text encoder, PairError if too many pictures hold NaN or infinity.

    Args:
        host: its functions encode, denoise, noise, sample and decode.
        preference, judge: as `learn` returns them.
        count: plain pictures per group and CFG scale, and as many corrected ones; broken ones are left out and counted.
        cfgs: CFG scales; what lies between them is interpolated.
        seed: of prompts and pictures.
        progress: `progress(pictures)`, called after each batch.
        folder: batches are saved in it, and an interrupted calibration resumes from them with the same result.
        measuring: `measuring(group)`, called before the pictures of each group.
    """
    if wrong := [cfg for cfg in cfgs if not 0 < cfg <= MOST_CFG]:
        raise PairError(f"The CFG scale is {wrong[0]}; calibrate at one above 0 and at most {MOST_CFG}.")
    axis, other, checkpoint = preference.axis, of_other_models(preference, host), model_of(host)
    if other:
        LOG.warning(
            "%s was calibrated on another checkpoint, and this calibration replaces that one; to keep both, save the "
            "preference under another name first", preference.name,
        )  # fmt: skip
    done = [c for c in preference.calibrations if c.cfg not in cfgs and c not in other]
    readings_of(preference, host.encode(axis.prompts(axis.groups[0])[:1]))
    store = None
    if folder:
        settings = dict(axis=axis.hash, preference=preference.hash, count=count, seed=seed, cfgs=cfgs)
        store = CalibrationStore(folder, settings | host.identity)
    with store.at_work() if store else nullcontext():
        for group in axis.groups:
            if measuring:
                measuring(group)
            measured = _Group(host, preference, judge, group, count, seed, store, progress).calibrations(cfgs)
            done += [replace(one, checkpoint=checkpoint) for one in measured]
    training = {name: value for name, value in preference.training.items() if name != "calibrated"}  # a host's marks
    return replace(preference, calibrations=tuple(done), training=training)


def model_of(host):
    """The part of a host's identity that rates depend on: UNet and text encoders, with their patches."""
    return " ".join(host.identity[name] for name in ("checkpoint", "text encoder") if name in host.identity)


def of_other_models(preference, host):
    """The preference's calibrations that were measured on another model than the host's."""
    return [known for known in preference.calibrations if known.of_other_model(model_of(host))]


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
        return [self.calibration(*own) for own in zip(cfgs, plain, self.leans(cfgs, plain), strict=True)]

    def calibration(self, cfg, plain, lean):
        """The Calibration at a CFG scale, from plain pictures and what the lean says."""
        slope = self.preference.training.get("tone_slopes", {}).get(self.group, 0.0)
        known = Calibration(self.group, cfg, *plain.rate, 1.0, 0, seed=self.seed, **lean)
        order = plain.stereotypes_first()
        counter = self.drawn("counter", cfg, self.asking, order[: -(-len(order) // COUNTER)])
        if slope:
            known = replace(known, tone=self.tone_unit(slope, cfg, known, plain, counter, order) * slope)
        corrected = self.drawn("corrected", cfg, self.prompts, known=known)
        full_rate, full_n = corrected.rate
        intervals = [rate(round(share * n), n)[1:] for share, n in (plain.rate, corrected.rate)]
        return replace(
            known, full_rate=full_rate, full_n=full_n, tone_drift=plain.drift(corrected),
            base_interval=intervals[0], full_interval=intervals[1], **self.beside(plain, corrected, counter),
            broken=sum(int((~pictures.fine).sum()) for pictures in (plain, corrected)),
        )  # fmt: skip

    def tone_unit(self, slope, cfg, known, plain, counter, order):
        """The weight of the tone push at which skin keeps its lightness, in units of the group's tone slope."""
        trial = self.drawn(
            "trial", cfg, self.prompts, order[: -(-len(order) // TRIAL)], replace(known, tone=TRIAL_TONE * slope)
        )
        weight = tone_weight(TRIAL_TONE, plain.change(trial), plain.change(counter))
        near = self.drawn("near", cfg, self.prompts, known=replace(known, tone=weight * slope))
        changes = plain.change(trial), plain.change(near.only(trial.which))
        power = tone_power((TRIAL_TONE, weight), changes, plain.change(counter))
        without = (1 - plain.rate[0]) * plain.change(counter)  # on average over all pictures
        return tone_weight(weight, plain.drift(near), without, power)

    def drawn(self, stage, cfg, prompts, which=None, known=None):
        """The pictures of a stage, some or all; corrected as a Calibration says, or plain."""
        which, region = range(len(prompts)) if which is None else which, self.preference.axis.skin_region
        latents, tones, broken, total, count = [], [], {}, 0, len(which)
        for start in range(0, count, self.host.batch):
            name = f"{self.index:02d}-{stage}-{cfg:g}-{start:05d}"
            some = which[start : start + self.host.batch]
            shard = self.store and self.store.load(name, self.host.shape, len(some))
            if not shard:
                made = self.sampled([prompts[i] for i in some], [self.seeds[i] for i in some], cfg, known)
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
        return _Pictures(torch.cat(latents), torch.cat(tones), list(which), self.judge)

    def sampled(self, prompts, seeds, cfg, known):
        if known is None:
            return self.host.sample(self.host.encode(prompts), seeds, cfg=cfg).cpu()
        named = PromptReading(self.index, "neither")  # by all of these prompts
        gate = SimpleNamespace(read=lambda conditionings: named)
        candidate = replace(self.preference, calibrations=(known,), gate=gate)
        return sample_corrected(self.host, prompts, seeds, [candidate], Settings(), cfg)[0]

    def beside(self, plain, corrected, counter):
        """Corrected pictures beside the model's own counter pictures of the same seeds, as arguments of Calibration."""
        which = torch.tensor(counter.which)
        fine = plain.fine[which] & corrected.fine[which] & counter.fine
        if int(fine.sum()) < FEWEST:
            return {}
        own, ours, wanted = plain.latents[which][fine], corrected.latents[which][fine], counter.latents[fine]
        far, near = (frechet(*(features(latents, GRID) for latents in (some, wanted))) for some in (own, ours))
        ends = [np.quantile(latents.abs(), 0.99) for latents in (ours, wanted)]
        some = which[fine].tolist()
        asked = [(ours, self.prompts), (wanted, self.asking)]
        errors = [self.error(latents, [prompts[i] for i in some], some).log().mean() for latents, prompts in asked]
        return {
            "distance": near / max(far, 1e-9),
            "spread": float(ours.std() / wanted.std()),
            "extremes": float(ends[0] / ends[1]),
            "error": float((errors[0] - errors[1]).exp()),
            "agreement": self.judge.agreement(ours),
        }

    def error(self, latents, prompts, which):
        """`denoising_error` of pictures with some prompts and numbers, in batches."""
        seeds, parts = [self.seeds[i] for i in which], []
        for start in range(0, len(latents), self.host.batch):
            some = slice(start, start + self.host.batch)
            conditioning = self.host.encode(prompts[some])
            parts.append(denoising_error(self.host, latents[some], conditioning, seeds[some]))
        return torch.cat(parts)

    def leans(self, cfgs, plain):
        """What the lean (`thinning.first_lean`) says at each CFG scale, as arguments of Calibration.

        A logistic regression of the side by belief and guidance; both count alike at all scales (METHOD.md). The first
        step is taken at one scale: guidance is proportional to CFG - 1.
        """
        x, sigma, *predictions = first_predictions(self.host, self.host.encode(self.prompts), self.seeds, cfg=2.0)
        group = torch.full((len(x),), self.index)
        found = belief_and_guidance(self.preference.source, x, sigma, group, *predictions)
        belief, guidance = (part.double() for part in found)
        fine = [pictures.fine & belief.isfinite() & guidance.isfinite() for pictures in plain]
        told = [torch.stack([belief, (cfg - 1) * guidance], dim=1)[some] for cfg, some in zip(cfgs, fine, strict=True)]
        sides = [pictures.counter[some] for pictures, some in zip(plain, fine, strict=True)]
        measured = leans_from([one.numpy() for one in told], [one.numpy() for one in sides])
        return [own | {"lean_sigma": float(sigma.max())} for own in measured]


class _Pictures:
    """Latents of one stage and CFG scale, with their lightness and sides; `which` are their numbers in the group."""

    def __init__(self, latents, tones, which, judge):
        self.latents, self.tones, self.which, self.judge = latents, tones, which, judge
        self.fine = finite_pictures(latents, tones)
        self.counter = torch.zeros(len(latents), dtype=torch.float64)
        self.counter[self.fine] = judge.counter(latents[self.fine]).double()

    def only(self, which):
        """Some of all pictures of a group, by their numbers."""
        return _Pictures(self.latents[which], self.tones[which], which, self.judge)

    @property
    def rate(self):
        """The share of counter pictures, and of how many."""
        n = int(self.fine.sum())
        return float(self.counter[self.fine].mean()), n

    def stereotypes_first(self):
        """The numbers of the pictures, those of the stereotype side before the others."""
        return sorted(self.which, key=lambda index: float(self.counter[index]) > 0.5)

    def differences(self, other):
        """(difference in lightness of others with the same seeds [N], whether this one is of the stereotype side [N])

        Only of those that are whole in both.
        """
        both = self.fine[other.which] & other.fine
        stereotype = self.counter[other.which] < 0.5
        return (other.tones - self.tones[other.which])[both], stereotype[both]

    def drift(self, other):
        """The mean difference in lightness of others with the same seeds."""
        return float(self.differences(other)[0].mean())

    def change(self, other):
        """As `drift`, of the pictures that show the stereotype here; 0 if there are none."""
        difference, stereotype = self.differences(other)
        return float(difference[stereotype].mean()) if stereotype.any() else 0.0
