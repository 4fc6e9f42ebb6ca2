"""Calibration: for each group, measure the base rate, what correction does, and by how much it changes skin.

Everything is measured at two CFG scales, on pictures of the same prompts and seeds:

    plain        the base rate, and with what the first step tells each picture's own chance
    counter      what the model draws if the prompt asks for the counter side: what corrected pictures should look like
    corrected    by how much the update changes skin; then, with the skin tone of the plain ones, the rate at full
                 strength, the drift that is left, and how they differ from the counter pictures

Which side a picture shows is the model's own verdict (correction/verdict.py); one of which it is unsure counts half.
Skin is that of the whole picture (correction/kept_skin.py).
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

from ..correction.decision import CERTAIN_CHANCE
from ..correction.first_look import size_and_guidance
from ..correction.kept_skin import with_skin_of
from ..correction.sampled import first_predictions, readings_of, sample_corrected
from ..correction.update import Settings
from ..correction.verdict import verdict_of_host
from ..gate.prompt_gate import PromptReading
from ..latents.host import Host, cfg_of, pictures_of
from ..latents.statistics import denoising_error, rate
from ..preference.calibration import Calibration
from ..preference.networks import Distilled
from ..preference.preference import Preference
from .chances import leans_from
from .pairs import skin_of_host
from .store import HIGHEST_CFG, Drawing, PairError, PictureStore
from .thumbnail import thumbnail

LOG = logging.getLogger("rs_corrector")
COUNTED = {"counter": 1.0, "unsure": 0.5, "stereotype": 0.0}  # sides in a rate: who is unsure, half each
COUNTER_EVERY = 3  # one in so many pictures is also drawn as a counter picture
FAR_CFGS = (2.0, 7.0)  # the second CFG scale is the one of these that is farther from the first


def scales(cfg: float) -> tuple[float, ...]:
    """The CFG scales at which a calibration for `cfg` measures, ascending."""
    far = max(FAR_CFGS, key=lambda scale: abs(np.log(max(cfg, 0.1) / scale)))
    return tuple(sorted({float(cfg), far}))


def pictures_needed(groups: int, count: int, cfgs: Sequence[float]) -> int:
    """How many pictures `calibrate` draws at most."""
    return groups * len(cfgs) * (2 * count + -(-count // COUNTER_EVERY))


def calibrate(
    host: Host, preference: Preference, count: int = 20, cfgs: Sequence[float] | None = None,
    seed: int = 1, progress: Callable[[int], object] | None = None, folder: str | Path | None = None,
    measuring: Callable[[str], object] | None = None, steps: int | None = None,
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
        steps: of sampling, by default the host's. Skin keeps its tone best in pictures of as many.
    """
    cfgs, steps = scales(cfg_of(host)) if cfgs is None else cfgs, steps or host.steps
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
        settings = dict(axis=axis.hash, preference=preference.hash, count=count, seed=seed, cfgs=cfgs, steps=steps)
        store = PictureStore(folder, settings | host.identity, "calibration pictures")
    with store.at_work() if store else nullcontext():
        for group in axis.groups:
            if measuring:
                measuring(group)
            measured = _Group(host, preference, group, count, seed, steps, store, progress).calibrations(cfgs)
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
class _Stage:
    """The pictures of one stage at one CFG scale: latents, which are whole, and their sides: 1 for the counter side, 0
    for the stereotype side, 1/2 if the model is unsure [N].
    """

    latents: Tensor
    whole: Tensor
    sides: Tensor

    @property
    def rate(self) -> tuple[float, int]:
        """The share of counter pictures, and of how many."""
        return float(self.sides[self.whole].mean()), int(self.whole.sum())


@dataclass
class _Group:
    """The pictures of one group, and what they say."""

    host: Host
    preference: Preference
    group: str
    count: int
    seed: int
    steps: int
    store: PictureStore | None
    progress: Callable[[int], object] | None

    def __post_init__(self):
        rng = random.Random(f"{self.seed} {self.group}")
        axis = self.preference.axis
        self.index = axis.groups.index(self.group)
        self.counter_spreads: dict[float, float] = {}  # standard deviations of the counter pictures by CFG scale
        self.seeds = [rng.randrange(2**31) for _ in range(self.count)]
        self.prompts = [rng.choice(axis.prompts(self.group)) for _ in range(self.count)]
        self.asking = [f"{prompt}, {axis.counter.two_phrases(rng.random())}" for prompt in self.prompts]

    def calibrations(self, cfgs: Sequence[float]) -> list[Calibration]:
        """One for each CFG scale."""
        plain = []
        for cfg in cfgs:
            latents, whole = self.drawn("plain", cfg, self.prompts)
            plain.append(_Stage(latents, whole, self.sides(latents, whole)))
        leans, at = self.leans(cfgs, plain)
        measured = [self.calibration(*parts) for parts in zip(cfgs, plain, at, leans, strict=True)]
        return [replace(each, burnt=self.burnt(each.cfg)) for each in measured]

    def burnt(self, cfg: float) -> float | None:
        """`Calibration.burnt` at a CFG scale; None if no counter pictures were drawn there."""
        spread = self.counter_spreads.get(cfg)
        return None if spread is None else spread / self.counter_spreads[min(self.counter_spreads)]

    def calibration(self, cfg: float, plain: _Stage, lean: Tensor, of_lean: dict[str, Any]) -> Calibration:
        """The Calibration at a CFG scale.

        Args:
            plain: plain pictures.
            lean: theirs [N].
            of_lean: what it tells of the chance, as arguments of Calibration.
        """
        base_rate, base_n = plain.rate
        measured = Calibration(self.group, cfg, base_rate, base_n, 1.0, 0, seed=self.seed, **of_lean)
        updated, whole = self.drawn("corrected", cfg, self.prompts, calibration=measured)
        chance = torch.as_tensor(measured.chance(lean)).expand(len(lean))
        open_share = torch.where(chance > CERTAIN_CHANCE, 0.0, 1 - chance)  # runs leave these alone
        whole &= plain.whole & open_share.isfinite()
        change = self.skin_change(plain.latents, updated)
        skin = whole & change.isfinite()
        share = open_share[skin].double()
        of_pairs = self.preference.training.get("tones", {}).get(self.group, 0.0)  # counts as one picture
        tone = float((of_pairs + (share * change[skin]).sum()) / (1 + share.square().sum()))
        updated[whole] = self.with_tone_of(plain.latents[whole], updated[whole], -tone * open_share[whole])
        corrected = _Stage(updated, whole, self.sides(updated, whole))
        drift = self.skin_change(plain.latents[skin], updated[skin]).nanmean() if skin.any() else 0.0
        full_rate, full_n = corrected.rate
        intervals = [rate(round(share * n), n)[1:] for share, n in (plain.rate, corrected.rate)]
        return replace(
            measured, full_rate=full_rate, full_n=full_n, tone=tone, tone_drift=float(drift),
            base_interval=intervals[0], full_interval=intervals[1], **self.compared(cfg, plain, corrected),
            broken=int((~plain.whole).sum() + (~whole).sum()),
        )  # fmt: skip

    def drawn(
        self, stage: str, cfg: float, prompts: list[str], numbers: Sequence[int] | None = None,
        calibration: Calibration | None = None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """The pictures of a stage, some or all by their numbers, plain or corrected by the update -> (latents, which
        are whole).
        """
        numbers = range(len(prompts)) if numbers is None else numbers

        def sample(part):
            chosen = numbers[part]
            return self.sampled([prompts[i] for i in chosen], [self.seeds[i] for i in chosen], cfg, calibration)

        def progress(latents):
            if self.progress:
                self.progress(len(latents))

        what, host = "corrected pictures" if calibration else "pictures", self.host
        with Drawing(host, self.store, host.batch, len(numbers), progress, what) as drawing:
            pictures = drawing.series(f"{self.index:02d}-{stage}-{cfg:g}", len(numbers), sample)
        return pictures.latents, pictures.whole

    def sampled(self, prompts, seeds, cfg, calibration):
        if calibration is None:
            return self.host.sample(self.host.encode(prompts), seeds, cfg=cfg, steps=self.steps)
        named = PromptReading(self.index, "neither")  # by all of these prompts
        gate = SimpleNamespace(read=lambda conditionings: named)
        candidate = replace(self.preference, calibrations=(calibration,), gate=gate)
        return sample_corrected(self.host, prompts, seeds, [candidate], Settings(), cfg, steps=self.steps)[0]

    def sides(self, latents: Tensor, whole: Tensor) -> Tensor:
        """1 for the counter side, 0 for the stereotype side, by the model's verdict; 1/2 if it is unsure [N]."""
        sides = torch.full((len(latents),), 0.5, dtype=torch.float64)
        found = verdict_of_host(self.host, latents[whole], self.preference.axis, self.group).sides
        sides[whole] = torch.tensor([COUNTED[side] for side in found], dtype=torch.float64)
        return sides

    def skin_change(self, before: Tensor, after: Tensor) -> Tensor:
        """Points of L* by which skin is lighter after than before [N], NaN where there is none."""
        lightness = skin_of_host(self.host, before, after, self.preference.axis)
        return lightness[:, 1] - lightness[:, 0]

    def with_tone_of(self, plain: Tensor, updated: Tensor, change: Tensor) -> Tensor:
        return with_skin_of(plain, updated, pictures_of(self.host), self.preference.axis.skin_region, change)

    def compared(self, cfg: float, plain: _Stage, corrected: _Stage) -> dict[str, float]:
        """Corrected pictures beside the model's own counter pictures of the same seeds, as arguments of Calibration."""
        order = sorted(range(self.count), key=lambda number: float(plain.sides[number]) > 0.5)  # stereotypes first
        chosen = order[: -(-self.count // COUNTER_EVERY)]
        counter, whole = self.drawn("counter", cfg, self.asking, chosen)
        whole &= corrected.whole[chosen]
        if not whole.any():
            return {}
        chosen = [number for number, good in zip(chosen, whole.tolist(), strict=True) if good]
        x0 = corrected.latents[chosen], counter[whole]
        ends, spreads = zip(*((np.quantile(latents.abs(), 0.99), float(latents.std())) for latents in x0), strict=True)
        self.counter_spreads[cfg] = spreads[1]
        errors = [
            self.error(latents, [prompts[i] for i in chosen], [self.seeds[i] for i in chosen]).log().mean()
            for latents, prompts in zip(x0, (self.prompts, self.asking), strict=True)
        ]
        return {
            "spread": spreads[0] / spreads[1],
            "extremes": float(ends[0] / ends[1]),
            "error": float((errors[0] - errors[1]).exp()),
            "sure": float((corrected.sides[corrected.whole] != 0.5).double().mean()),
        }

    def error(self, latents, prompts, seeds):
        """`denoising_error`, in batches."""
        parts = [slice(start, start + self.host.batch) for start in range(0, len(latents), self.host.batch)]
        return torch.cat(
            [denoising_error(self.host, latents[p], self.host.encode(prompts[p]), seeds[p]) for p in parts]
        )

    def leans(self, cfgs: Sequence[float], plain: list[_Stage]) -> tuple[list[dict[str, float]], list[Tensor]]:
        """What the lean (`first_look.FirstLook`) says at each CFG scale -> (arguments of Calibration; leans [N]).

        A logistic regression of the side by the update's size and guidance; both count alike at all scales (METHOD.md).
        The first step is taken at one scale: guidance is proportional to CFG - 1.
        """
        x, sigma, *predictions = first_predictions(self.host, self.host.encode(self.prompts), self.seeds, cfg=2.0)
        source, group = cast(Distilled, self.preference.source), torch.full((len(x),), self.index)
        size, guidance = (part.double() for part in size_and_guidance(source, x, sigma, group, *predictions))
        features = [torch.stack([size, (cfg - 1) * guidance], dim=1) for cfg in cfgs]
        whole = [
            pictures.whole & values.isfinite().all(dim=1) for pictures, values in zip(plain, features, strict=True)
        ]
        leans = leans_from(
            [values[good].numpy() for values, good in zip(features, whole, strict=True)],
            [pictures.sides[good].numpy() for pictures, good in zip(plain, whole, strict=True)],
        )
        leans = [lean | {"lean_sigma": float(sigma.max())} for lean in leans]
        return leans, [
            values[:, 0] + lean["lean_guidance"] * values[:, 1] for values, lean in zip(features, leans, strict=True)
        ]
