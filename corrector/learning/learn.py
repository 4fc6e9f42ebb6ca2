"""Learn a preference for an axis from the host's own pictures, and measure it on held-out points."""

from contextlib import nullcontext

import torch

from ..axis.axis import axis_from_dict
from ..gate.train import STEPS, train_gate
from ..gate.wordings import whole_words
from ..latents.devices import place
from ..preference.preference import GATE_FIGURES, Preference
from .pairs import make_pairs
from .points import sample_points
from .store import FEWEST, MOST_CFG, PairError
from .tone import tone_slopes
from .training import CPU, train_distilled, train_judge

SOUND = 0.5  # explained variance of the held-out updates below which a preference is weak
FEWEST_GATE_STEPS = 200


def learn(
    host, axis, count=128, seed=0, cfg=None, steps=2000, points=None, pairs=None, progress=None, folder=None,
    **gate_others,
):  # fmt: skip
    """Learn a preference -> (Preference without calibration, Judge).

    Raises PairError if the pairs or settings are not usable, AxisError if the axis breaks its schema, and BusyError if
    another process draws pairs for the same folder.

    Args:
        host: its functions encode, denoise, sample and decode.
        axis: Axis.
        count: pairs per group.
        seed: of the pairs.
        cfg: their CFG scale, by default that of the host.
        steps: of training the preference; if they are few, its gate is trained shortly too.
        points: number of points on the model's own trajectories, by default four a step.
        pairs: Pairs that are already sampled.
        progress: `progress(stage, done, total)`, called after each step; may raise to stop.
        folder: pairs are saved in it, and an interrupted run resumes from them.
        gate_others: for `gate_texts`.
    """
    axis_from_dict(axis.to_dict())  # a file with another axis could not be read
    points = 4 * steps if points is None else points
    if (pairs.latents.shape[2] if pairs else count) < FEWEST:
        raise PairError("A single pair a group says nothing about others; make at least 2, better 100.")
    cfg = host.cfg if cfg is None else cfg
    if not 1 <= cfg <= MOST_CFG:
        raise PairError(f"The CFG scale is {cfg}; pairs are drawn at one from 1 to {MOST_CFG}.")
    if pairs is None:
        pairs = make_pairs(host, axis, count, seed, cfg, host.steps, folder=folder, batch=host.batch)
    count = pairs.latents.shape[2]
    device = host.device
    with _precision(host):
        judge, judge_accuracy = train_judge(pairs, seed, progress=progress, device=device)
        found = sample_points(host, axis, pairs, points, seed, progress=progress)
        source, figures = train_distilled(
            host.space, len(axis.groups), found, steps, seed, progress=progress, device=device
        )
    if progress:
        progress("gate", 0, 1)
    gate, gate_accuracy = host_gate(host, axis, seed, min(STEPS, FEWEST_GATE_STEPS + steps), **gate_others)
    gap = [round(float(s.mean() - c.mean()), 2) for s, c in pairs.lightness]
    slopes = [round(slope, 4) for slope in tone_slopes(pairs).tolist()]
    training = {
        "pairs_a_side_and_group": count,
        "pictures_broken": pairs.broken,
        "cfg": cfg,
        "seed": seed,
        **{name: round(value, 4) if isinstance(value, float) else value for name, value in figures.items()},
        GATE_FIGURES: gate_accuracy,
        "judge_cross_fitted_accuracy": round(judge_accuracy, 4),
        "lightness_stereotype_minus_counter": dict(zip(axis.groups, gap, strict=True)),
        "tone_slopes": dict(zip(axis.groups, slopes, strict=True)),
        "validated_on": host.space,
    }
    for network in (source, judge):
        place(network, CPU)
    if weak := weakness(training):
        training["weak"] = weak
    return Preference(axis, host.space, source, gate, training=training, name=axis.id, judge=judge), judge


def host_gate(host, axis, seed=0, steps=STEPS, **gate_others):
    """The gate of an axis on the host's text encoder, as `train_gate`."""
    words = whole_words(host.vocabulary)
    return train_gate(axis, host.encode_each, seed, steps=steps, words=words, **gate_others)


def _precision(host):
    """Training in bfloat16 if the host computes in it: a third faster, and as good (docs/measurements.md).

    Autocast's cache would keep the weights of the first step.
    """
    if not getattr(host, "dtype", "").startswith("bfloat16"):
        return nullcontext()
    return torch.autocast(torch.device(host.device).type, torch.bfloat16, cache_enabled=False)


def weakness(training):
    """What is weak about a preference according to its held-out figures, in a sentence, or ""."""
    if training["judge_cross_fitted_accuracy"] < 0.9:
        return (
            f"the two sides' pictures are told apart in {training['judge_cross_fitted_accuracy']:.0%} only (90% is "
            "sound): the model may not draw what the axis' phrases ask for, or needs more pairs"
        )
    if not training["update_r2"] >= SOUND:
        return (
            f"its update explains {training['update_r2']:.0%} of the model's own only ({SOUND:.0%} is sound); use more "
            "pairs and points"
        )
    return ""
