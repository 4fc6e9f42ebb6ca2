"""Calibration: for each group, measure the base rate, what correction does, and the weight that keeps the skin tone.

Everything is measured at two CFG scales, on pictures of the same prompts and seeds:

    plain        the base rate, and with the lean at the first step each picture's own chance
    counter      what the model draws if the prompt asks for the counter side: what corrected pictures should look like
    untoned      some corrected pictures without a tone push: the drift of skin tone that it has to take away
    trial        the same pictures with one, whose drift gives a first weight
    near         the drift that this weight leaves, which with that of the trial gives the final one: what the tone push
                 takes away grows as a power of the weight
    corrected    at the final weight: the rate at full strength, the distance to the counter pictures, and the drift

Which side a picture shows is the model's own verdict (correction/verdict.py); one of which it is unsure counts half.
"""

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from ..correction.sampled import first_predictions, readings_of, sample_corrected
from ..correction.thinning import belief_and_guidance
from ..correction.update import Settings
from ..correction.verdict import verdict_of_host
from ..gate.prompt_gate import PromptReading
from ..latents.host import Host, cfg_of
from ..latents.statistics import denoising_error, features, frechet, rate
from ..preference.calibration import Calibration
from ..preference.networks import Source
from ..preference.preference import Preference
from .chances import leans_from
from .stage_pictures import StagePictures
from .store import HIGHEST_CFG, Drawing, Drawn, PairError, PictureStore
from .thumbnail import thumbnail
from .tone import tone_power, tone_weight

LOG = logging.getLogger("rs_corrector")
COUNTED = {"counter": 1.0, "unsure": 0.5, "stereotype": 0.0}  # sides in a rate: who is unsure, half each
COUNTER_EVERY = 2  # one in so many pictures is also drawn as a counter picture
TRIAL_EVERY = 3  # and one in so many without a tone push, and in the trial
TRIAL_TONE = 1.5  # weight of the tone push in the trial, in units of the group's tone slope
FEATURE_GRID = 2  # cells a side of the features of a distance: few, so that some dozens of pictures suffice
FEWEST_COMPARED = 24  # counter pictures that a distance needs
FAR_CFGS = (2.0, 7.0)  # the second CFG scale is the one of these that is farther from the first


def scales(cfg: float) -> tuple[float, ...]:
    """The CFG scales at which a calibration for `cfg` measures, ascending."""
    far = max(FAR_CFGS, key=lambda scale: abs(np.log(max(cfg, 0.1) / scale)))
    return tuple(sorted({float(cfg), far}))


def pictures_needed(groups: int, count: int, cfgs: Sequence[float]) -> int:
    """How many pictures `calibrate` draws at most."""
    return groups * len(cfgs) * (3 * count + -(-count // COUNTER_EVERY) + 2 * -(-count // TRIAL_EVERY))


def calibrate(
    host: Host, preference: Preference, count: int = 84, cfgs: Sequence[float] | None = None,
    seed: int = 1, progress: Callable[[int], object] | None = None, folder: str | Path | None = None,
    measuring: Callable[[str], object] | None = None,
) -> Preference:  # fmt: skip
    """Measure every group of the preference's axis at some CFG scales -> the preference with its calibrations.

    Calibrations at other CFG scales are kept, unless of another checkpoint, which is logged. Raises GateError if the
    preference is for another text encoder, and PairError if too many pictures hold NaN or infinity.

    Args:
        host: Host.
        preference: as `learn` returns it.
        count: plain pictures per group and CFG scale, and as many corrected ones; broken ones are left out and counted.
        cfgs: CFG scales, by default the `scales` for `cfg_of`; what lies between them is interpolated.
        seed: of prompts and pictures.
        progress: `progress(pictures)`, called after each batch.
        folder: batches are saved in it, and an interrupted calibration resumes from them with the same result.
        measuring: `measuring(group)`, called before the pictures of each group.
    """
    cfgs = scales(cfg_of(host)) if cfgs is None else cfgs
    if wrong := [cfg for cfg in cfgs if not 0 < cfg <= HIGHEST_CFG]:
        raise PairError(f"The CFG scale is {wrong[0]}; calibrate at one above 0 and at most {HIGHEST_CFG}.")
    axis, model = preference.axis, model_of(host.identity)
    outdated = of_other_models(preference, host)
    if outdated:
        LOG.warning(
            "%s was calibrated on another checkpoint, and this calibration replaces that one; to keep both, save the "
            "preference under another name first", preference.name,
        )  # fmt: skip
    calibrations = [c for c in preference.calibrations if c.cfg not in cfgs and c not in outdated]
    prompts = axis.prompts(axis.groups[0])[:1]
    readings_of(preference, host.encode(prompts), prompts)
    store = None
    if folder:
        settings = dict(axis=axis.hash, preference=preference.hash, count=count, seed=seed, cfgs=cfgs)
        store = PictureStore(folder, settings | host.identity, "calibration pictures")
    with store.at_work() if store else nullcontext():
        for group in axis.groups:
            if measuring:
                measuring(group)
            measured = _Group(host, preference, group, count, seed, store, progress).calibrations(cfgs)
            calibrations += [replace(calibration, checkpoint=model) for calibration in measured]
    training = {name: value for name, value in preference.training.items() if name != "calibrated"}  # a host's marks
    preference = replace(preference, calibrations=tuple(calibrations), training=training)
    return replace(preference, thumbnail=thumbnail(host, preference))


def model_of(identity: Mapping[str, Any]) -> str:
    """The part of a host's identity that rates depend on: UNet and text encoders, with their patches."""
    return " ".join(str(identity[name]) for name in ("checkpoint", "text encoder") if name in identity)


def of_other_models(preference: Preference, host: Host) -> list[Calibration]:
    """The preference's calibrations that were measured on another model than the host's."""
    model = model_of(host.identity)
    return [calibration for calibration in preference.calibrations if calibration.of_other_model(model)]


@dataclass
class _Group:
    """The pictures of one group, and what they say."""

    host: Host
    preference: Preference
    group: str
    count: int
    seed: int
    store: PictureStore | None
    progress: Callable[[int], object] | None

    def __post_init__(self):
        rng = random.Random(f"{self.seed} {self.group}")
        axis = self.preference.axis
        self.index = axis.groups.index(self.group)
        self.seeds = [rng.randrange(2**31) for _ in range(self.count)]
        self.prompts = [rng.choice(axis.prompts(self.group)) for _ in range(self.count)]
        self.asking = [f"{prompt} {rng.choice(axis.counter.phrases)}" for prompt in self.prompts]

    def calibrations(self, cfgs: Sequence[float]) -> list[Calibration]:
        """One for each CFG scale."""
        plain = [self.drawn("plain", cfg, self.prompts) for cfg in cfgs]
        return [self.calibration(*parts) for parts in zip(cfgs, plain, self.leans(cfgs, plain), strict=True)]

    def calibration(self, cfg: float, plain: StagePictures, lean: dict[str, float]) -> Calibration:
        slope = self.preference.training.get("tone_slopes", {}).get(self.group, 0.0)
        base_rate, base_n = plain.rate
        measured = replace(Calibration(self.group, cfg, base_rate, base_n, 1.0, 0, seed=self.seed), **lean)
        order = plain.stereotypes_first()
        counter = self.drawn("counter", cfg, self.asking, order[: -(-len(order) // COUNTER_EVERY)])
        if slope:
            measured = replace(measured, tone=self.tone_unit(slope, cfg, measured, plain, order) * slope)
        corrected = self.drawn("corrected", cfg, self.prompts, calibration=measured)
        full_rate, full_n = corrected.rate
        intervals = [rate(round(share * n), n)[1:] for share, n in (plain.rate, corrected.rate)]
        return replace(
            measured, full_rate=full_rate, full_n=full_n, tone_drift=plain.drift(corrected),
            base_interval=intervals[0], full_interval=intervals[1], **self.compared(plain, corrected, counter),
            broken=sum(int((~pictures.whole).sum()) for pictures in (plain, corrected)),
        )  # fmt: skip

    def tone_unit(self, slope, cfg, measured, plain, order):
        """The weight of the tone push at which skin keeps its lightness, in units of the group's tone slope."""
        first = order[: -(-len(order) // TRIAL_EVERY)]
        untoned, trial = (
            self.drawn(stage, cfg, self.prompts, first, replace(measured, tone=tone * slope))
            for stage, tone in (("untoned", 0.0), ("trial", TRIAL_TONE))
        )
        without = plain.change(untoned)
        weight = tone_weight(TRIAL_TONE, plain.change(trial), without)
        near = self.drawn("near", cfg, self.prompts, calibration=replace(measured, tone=weight * slope))
        changes = plain.change(trial), plain.change(near.only(trial.numbers))
        power = tone_power((TRIAL_TONE, weight), changes, without)
        on_average = (1 - plain.rate[0]) * without  # over all pictures
        return tone_weight(weight, plain.drift(near), on_average, power)

    def drawn(
        self, stage: str, cfg: float, prompts: list[str], numbers: Sequence[int] | None = None,
        calibration: Calibration | None = None,
    ) -> StagePictures:  # fmt: skip
        """The pictures of a stage, some or all by their numbers; corrected as a Calibration says, or plain."""
        numbers = range(len(prompts)) if numbers is None else numbers

        def sample(part):
            chosen = numbers[part]
            return self.sampled([prompts[i] for i in chosen], [self.seeds[i] for i in chosen], cfg, calibration)

        def progress(latents):
            if self.progress:
                self.progress(len(latents))

        what = "corrected pictures" if calibration else "pictures"
        region, host = self.preference.axis.skin_region, self.host
        with Drawing(host, region, self.store, host.batch, len(numbers), progress, what) as drawing:
            pictures = drawing.series(f"{self.index:02d}-{stage}-{cfg:g}", len(numbers), sample)
        return StagePictures(pictures, list(numbers), self.sides(pictures))

    def sides(self, pictures: Drawn) -> Tensor:
        """1 for the counter side, 0 for the stereotype side, by the model's verdict; 1/2 if it is unsure [N]."""
        latents, _, whole = pictures
        sides = torch.full((len(latents),), 0.5, dtype=torch.float64)
        found = verdict_of_host(self.host, latents[whole], self.preference.axis, self.group).sides
        sides[whole] = torch.tensor([COUNTED[side] for side in found], dtype=torch.float64)
        return sides

    def sampled(self, prompts, seeds, cfg, calibration):
        if calibration is None:
            return self.host.sample(self.host.encode(prompts), seeds, cfg=cfg)
        named = PromptReading(self.index, "neither")  # by all of these prompts
        gate = SimpleNamespace(read=lambda conditionings: named)
        candidate = replace(self.preference, calibrations=(calibration,), gate=gate)
        return sample_corrected(self.host, prompts, seeds, [candidate], Settings(), cfg)[0]

    def compared(self, plain: StagePictures, corrected: StagePictures, counter: StagePictures) -> dict[str, float]:
        """Corrected pictures beside the model's own counter pictures of the same seeds, as arguments of Calibration."""
        numbers = torch.tensor(counter.numbers)
        whole = plain.whole[numbers] & corrected.whole[numbers] & counter.whole
        if int(whole.sum()) < FEWEST_COMPARED:
            return {}
        numbers = numbers[whole]
        counter_x0, plain_x0, corrected_x0 = counter.latents[whole], plain.latents[numbers], corrected.latents[numbers]
        counter_features = features(counter_x0, FEATURE_GRID)
        far, near = (frechet(features(x0, FEATURE_GRID), counter_features) for x0 in (plain_x0, corrected_x0))
        ends = [np.quantile(latents.abs(), 0.99) for latents in (corrected_x0, counter_x0)]
        chosen = numbers.tolist()
        errors = [
            self.error(latents, [prompts[i] for i in chosen], [self.seeds[i] for i in chosen]).log().mean()
            for latents, prompts in ((corrected_x0, self.prompts), (counter_x0, self.asking))
        ]
        return {
            "distance": near / max(far, 1e-9),
            "spread": float(corrected_x0.std() / counter_x0.std()),
            "extremes": float(ends[0] / ends[1]),
            "error": float((errors[0] - errors[1]).exp()),
            "sure": float((corrected.counter[numbers] != 0.5).double().mean()),
        }

    def error(self, latents, prompts, seeds):
        """`denoising_error`, in batches."""
        parts = [slice(start, start + self.host.batch) for start in range(0, len(latents), self.host.batch)]
        return torch.cat(
            [denoising_error(self.host, latents[p], self.host.encode(prompts[p]), seeds[p]) for p in parts]
        )

    def leans(self, cfgs: Sequence[float], plain: list[StagePictures]) -> list[dict[str, float]]:
        """What the lean (`thinning.first_lean`) says at each CFG scale, as arguments of Calibration.

        A logistic regression of the side by belief and guidance; both count alike at all scales (METHOD.md). The first
        step is taken at one scale: guidance is proportional to CFG - 1.
        """
        x, sigma, *predictions = first_predictions(self.host, self.host.encode(self.prompts), self.seeds, cfg=2.0)
        group = torch.full((len(x),), self.index)
        parts = belief_and_guidance(cast(Source, self.preference.source), x, sigma, group, *predictions)
        belief, guidance = (part.double() for part in parts)
        whole = [pictures.whole & belief.isfinite() & guidance.isfinite() for pictures in plain]
        inputs = [torch.stack([belief, (cfg - 1) * guidance], dim=1)[w] for cfg, w in zip(cfgs, whole, strict=True)]
        sides = [pictures.counter[w] for pictures, w in zip(plain, whole, strict=True)]
        leans = leans_from([values.numpy() for values in inputs], [values.numpy() for values in sides])
        return [lean | {"lean_sigma": float(sigma.max())} for lean in leans]
