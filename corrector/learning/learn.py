"""Learn a preference for an axis from the host's own pictures, and measure it on held-out points."""

import copy
import tempfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch

from ..axis.axis import Axis, axis_from_dict
from ..correction.verdict import verdict_of_host
from ..files.version import version
from ..gate.prompt_gate import PromptGate
from ..gate.train import train_gate
from ..gate.wordings import whole_words
from ..latents.devices import place
from ..latents.host import Host, LearningHost, cfg_of
from ..preference.preference import GATE_FIGURES, Preference
from .pairs import SIDES, Pairs, make_pairs, sides_apart, steps_of
from .points import sample_points
from .store import FEWEST_PAIRS, HIGHEST_CFG, PairError, PictureStore
from .thumbnail import thumbnail
from .training import CPU, Progress, train_distilled

SOUND_UPDATE = 0.25  # explained variance of the held-out updates below which a preference is weak
ALIKE_PAIRS = 0.6  # share of the pairs' pictures that show the side asked for, up to which the sides look alike
SOUND_PAIRS = 0.9  # share of the pairs' pictures that show the side asked for, below which a preference is weak
FIRST_POINTS = 384  # from which a preference is usable
STEPS_A_POINT = 2  # of training


def learn(
    host: LearningHost, axis: Axis, count: int = 16, seed: int = 0, cfg: float | None = None, points: int = 1000,
    pairs: Pairs | None = None, progress: Progress | None = None, folder: str | Path | None = None,
    saved: Callable[[Preference], object] | None = None, until: Callable[[Preference], bool] | None = None,
    **gate_options,
) -> Preference:  # fmt: skip
    """Learn a preference -> Preference without calibration.

    It learns from FIRST_POINTS, then from more and more: each state is usable, and better than the one before.

    Raises PairError if the pairs or settings are not usable, AxisError if the axis breaks its schema, and BusyError if
    another process learns in the same folder.

    Args:
        host: LearningHost.
        axis: Axis.
        count: pairs per group.
        seed: of the pairs and of all training.
        cfg: CFG scale of the pairs, by default `cfg_of`.
        points: number of points on the model's own trajectories at which it ends, without `until`.
        pairs: Pairs that are already sampled.
        progress: `progress(stage, done, total)`, called after each step; may raise to stop.
        folder: pairs and points are saved in it, and an interrupted run resumes from them.
        saved: `saved(preference)`, called with each state.
        until: `until(preference)`, called with each state: whether it is good enough. If not, the points are doubled.
        gate_options: for `train_gate`, and the groups of other axes for `gate_texts`.
    """
    axis_from_dict(axis.to_dict())  # a file with another axis could not be read
    count = pairs.latents.shape[2] if pairs else count
    if count < FEWEST_PAIRS:
        raise PairError("A single pair a group says nothing about others; make at least 2, better 16.")
    cfg = cfg_of(host) if cfg is None else cfg
    if not 1 <= cfg <= HIGHEST_CFG:
        raise PairError(f"The CFG scale is {cfg}; pairs are drawn at one from 1 to {HIGHEST_CFG}.")
    if pairs is None:
        pairs = make_pairs(host, axis, count, seed, cfg, steps_of(host), folder=folder, batch=host.batch)
    if progress:
        progress("verdict", 0, 1)
    agreement = verdict_agreement(host, axis, pairs)
    if agreement < ALIKE_PAIRS:
        raise PairError(
            f"The two sides of the axis look alike to this model: only {agreement:.0%} of the pairs' pictures show the "
            "side that was asked for, and half would by chance. Write phrases that it draws differently, or another "
            "axis."
        )
    origin = {**_made_from(host, axis, pairs, cfg, seed), "verdict_agreement": round(agreement, 4)}
    settings = dict(axis=axis.hash_of_pictures, seed=seed, cfg=cfg, pairs=count)
    with tempfile.TemporaryDirectory() as made:
        store = PictureStore(Path(folder or made) / "points", settings | host.identity, "points")
        with store.at_work():
            for preference in _states(host, axis, pairs, points, seed, origin, store, progress, gate_options):
                if saved:
                    saved(preference)
                if until(preference) if until else preference.training["points"] >= points:
                    return replace(preference, thumbnail=thumbnail(host, preference))
    raise AssertionError  # there is always another state


def _states(host, axis, pairs, points, seed, origin, store, progress, gate_options) -> Iterator[Preference]:
    """Preferences that are learned from more and more points, each by training the network of the last one further."""
    source, learned = None, 0
    gate, figures_of_gate = None, {}
    for amount in _amounts(points):
        sampled = sample_points(host, axis, pairs, amount, seed, store, progress)
        steps = STEPS_A_POINT * (amount - learned)
        with _precision(host):
            source, figures = train_distilled(
                host.space, len(axis.groups), sampled, steps, seed, progress=progress, device=host.device, start=source
            )
        place(source, CPU)
        if gate is None:
            gate, figures_of_gate = host_gate(host, axis, seed, progress=progress, **gate_options)
        figures = {name: round(each, 4) if isinstance(each, float) else each for name, each in figures.items()}
        training = origin | figures | {GATE_FIGURES: figures_of_gate}
        if weak := weakness(training):
            training["weak"] = weak
        yield Preference(axis, host.space, source, gate, training=training, name=axis.id)
        source, learned = copy.deepcopy(source), amount


def _amounts(points: int) -> Iterator[int]:
    """Numbers of points of the states, ascending: FIRST_POINTS, `points`, twice that, and so on."""
    if points > FIRST_POINTS:
        yield FIRST_POINTS
    while True:
        yield points
        points *= 2


def _made_from(host, axis, pairs, cfg, seed):
    """What a preference was learned from."""
    tones = (pairs.lightness[:, 1] - pairs.lightness[:, 0]).nanmean(dim=1).nan_to_num(0)
    return {
        "version": version(),
        "pairs_a_side_and_group": pairs.latents.shape[2],
        "pictures_broken": pairs.broken,
        "cfg": cfg,
        "seed": seed,
        "host": {**host.identity, "steps": host.steps},
        "tones": _by_group(axis, tones),
        "sides_apart": _by_group(axis, sides_apart(pairs)),
        "validated_on": host.space,
    }


def _by_group(axis, values):
    return dict(zip(axis.groups, [round(value, 4) for value in values.tolist()], strict=True))


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
    host: LearningHost, axis: Axis, seed: int = 0, progress: Progress | None = None, **others
) -> tuple[PromptGate, dict]:
    """The gate of an axis on the host's text encoder, as `train_gate`, to which `others` go."""
    gate_progress = progress and (lambda done, total: progress("gate", done, total))
    return train_gate(
        axis, host.encode_each, seed, progress=gate_progress, words=whole_words(host.vocabulary), **others
    )


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
