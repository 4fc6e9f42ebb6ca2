"""Learn a preference for an axis from the host's own pictures, and measure it on held-out points."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch

from ..axis.axis import Axis, axis_from_dict
from ..correction.verdict import verdict_of_host
from ..files.version import version
from ..gate.prompt_gate import PromptGate
from ..gate.train import GATE_STEPS, train_gate
from ..gate.wordings import whole_words
from ..latents.devices import place
from ..latents.host import Host, LearningHost, cfg_of
from ..preference.preference import GATE_FIGURES, Preference
from .pairs import SIDES, Pairs, make_pairs
from .points import sample_points
from .store import FEWEST_PAIRS, HIGHEST_CFG, PairError
from .thumbnail import thumbnail
from .tone import tone_slopes
from .training import CPU, Progress, train_distilled

SOUND_UPDATE = 0.5  # explained variance of the held-out updates below which a preference is weak
SOUND_PAIRS = 0.9  # share of the pairs' pictures that show the side asked for, below which a preference is weak
FEWEST_GATE_STEPS = 200


def learn(
    host: LearningHost, axis: Axis, count: int = 128, seed: int = 0, cfg: float | None = None, steps: int = 2000,
    points: int | None = None, pairs: Pairs | None = None, progress: Progress | None = None,
    folder: str | Path | None = None, **gate_others,
) -> Preference:  # fmt: skip
    """Learn a preference -> Preference without calibration.

    Raises PairError if the pairs or settings are not usable, AxisError if the axis breaks its schema, and BusyError if
    another process draws pairs for the same folder.

    Args:
        host: LearningHost.
        axis: Axis.
        count: pairs per group.
        seed: of the pairs and of all training.
        cfg: CFG scale of the pairs, by default `cfg_of`.
        steps: of training the preference; if they are few, its gate is trained shortly too.
        points: number of points on the model's own trajectories, by default four a step.
        pairs: Pairs that are already sampled.
        progress: `progress(stage, done, total)`, called after each step; may raise to stop.
        folder: pairs are saved in it, and an interrupted run resumes from them.
        gate_others: for `gate_texts`.
    """
    axis_from_dict(axis.to_dict())  # a file with another axis could not be read
    count = pairs.latents.shape[2] if pairs else count
    if count < FEWEST_PAIRS:
        raise PairError("A single pair a group says nothing about others; make at least 2, better 100.")
    cfg = cfg_of(host) if cfg is None else cfg
    if not 1 <= cfg <= HIGHEST_CFG:
        raise PairError(f"The CFG scale is {cfg}; pairs are drawn at one from 1 to {HIGHEST_CFG}.")
    if pairs is None:
        pairs = make_pairs(host, axis, count, seed, cfg, host.steps, folder=folder, batch=host.batch)
    if progress:
        progress("verdict", 0, 1)
    agreement = verdict_agreement(host, axis, pairs)
    with _precision(host):
        sampled = sample_points(host, axis, pairs, 4 * steps if points is None else points, seed, progress=progress)
        source, figures = train_distilled(
            host.space, len(axis.groups), sampled, steps, seed, progress=progress, device=host.device
        )
    if progress:
        progress("gate", 0, 1)
    gate, gate_figures = host_gate(host, axis, seed, min(GATE_STEPS, FEWEST_GATE_STEPS + steps), **gate_others)
    gaps = [round(float(stereotype.mean() - counter.mean()), 2) for stereotype, counter in pairs.lightness]
    slopes = [round(slope, 4) for slope in tone_slopes(pairs).tolist()]
    training = {
        "version": version(),
        "pairs_a_side_and_group": pairs.latents.shape[2],
        "pictures_broken": pairs.broken,
        "cfg": cfg,
        "seed": seed,
        "host": {**host.identity, "steps": host.steps},
        **{name: round(value, 4) if isinstance(value, float) else value for name, value in figures.items()},
        GATE_FIGURES: gate_figures,
        "verdict_agreement": round(agreement, 4),
        "lightness_stereotype_minus_counter": dict(zip(axis.groups, gaps, strict=True)),
        "tone_slopes": dict(zip(axis.groups, slopes, strict=True)),
        "validated_on": host.space,
    }
    place(source, CPU)
    if weak := weakness(training):
        training["weak"] = weak
    preference = Preference(axis, host.space, source, gate, training=training, name=axis.id)
    return replace(preference, thumbnail=thumbnail(host, preference))


def verdict_agreement(host: Host, axis: Axis, pairs: Pairs) -> float:
    """The share of the pairs' pictures that show the side that their prompts asked for, by the model's verdict."""
    agrees = [
        side == asked
        for group, latents in zip(axis.groups, pairs.latents, strict=True)
        for asked, pictures in zip(SIDES, latents, strict=True)
        for side in verdict_of_host(host, pictures, axis, group).sides
    ]
    return sum(agrees) / len(agrees)


def host_gate(
    host: LearningHost, axis: Axis, seed: int = 0, steps: int = GATE_STEPS, **gate_others
) -> tuple[PromptGate, dict]:
    """The gate of an axis on the host's text encoder, as `train_gate`."""
    return train_gate(axis, host.encode_each, seed, steps=steps, words=whole_words(host.vocabulary), **gate_others)


def _precision(host):
    """Training in bfloat16 if the host computes in it: a third faster, and as good (docs/measurements.md).

    Autocast's cache would keep the weights of the first step.
    """
    if not str(host.identity.get("dtype")).startswith("bfloat16"):
        return nullcontext()
    return torch.autocast(torch.device(host.device).type, torch.bfloat16, cache_enabled=False)


def weakness(training: dict) -> str:
    """What is weak about a preference according to its held-out figures, in a sentence, or ""."""
    if training["verdict_agreement"] < SOUND_PAIRS:
        return (
            f"only {training['verdict_agreement']:.0%} of the pairs' pictures show the side that was asked for "
            f"({SOUND_PAIRS:.0%} is sound): the model may not draw what the axis' phrases ask for"
        )
    if not training["update_r2"] >= SOUND_UPDATE:
        return (
            f"its update explains {training['update_r2']:.0%} of the model's own only ({SOUND_UPDATE:.0%} is sound); "
            "use more pairs and points"
        )
    return ""
