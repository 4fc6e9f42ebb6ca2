"""Learning's own numbers, written out: no constant is imported from the code, so a changed one fails here."""

import math
from dataclasses import replace
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from corrector.learning.calibrate import _Group, _Stage, pictures_needed, scales
from corrector.learning.chances import leans_from
from corrector.learning.learn import _amounts, weakness
from corrector.learning.pairs import make_pairs, sides_apart
from corrector.learning.points import Points, sample_points
from corrector.learning.store import PairError, refuse_broken
from corrector.learning.training import batch_of, patch_of, train_distilled
from gaussian_host import PATTERN, GaussianHost


@pytest.fixture(scope="module")
def pairs(axis):
    return make_pairs(GaussianHost(), axis, 8, seed=4, cfg=1.0, steps=6)


@pytest.fixture(scope="module")
def points(axis, pairs):
    return sample_points(GaussianHost(), axis, pairs, 300, seed=3)


def test_points_of_a_seed(points, pairs):
    assert pairs.seeds[:, :2].tolist() == [[2124808501, 1095241025], [1693972046, 1337499214]]
    assert len(points.x) == 384, "two whole batches of 32 runs with 6 points each"
    assert points.evaluations == 958 and points.x.dtype == points.update.dtype == torch.float16
    columns = points.x, points.sigma, points.conditional, points.update, points.weights
    squares = [float(column.double().square().mean()) for column in columns]
    assert squares == pytest.approx([30.279, 30.486, 0.11820, 0.23833, 31.896], rel=1e-3)
    assert sides_apart(pairs).tolist() == pytest.approx([0.7, 0.7], abs=0.05)


def test_runs_begin_at_14_6_or_from_a_picture_at_2_or_more_and_end_at_1(points):
    runs = points.sigma[points.run.argsort(stable=True)].view(-1, 6)
    assert runs.min() >= 1 and runs[:, 0].min() >= 2 and runs.max() == pytest.approx(14.6)
    assert (runs[:, 0] == runs.max()).float().mean() == pytest.approx(0.4, abs=0.1)


def test_points_with_tiny_updates_do_not_count_most():
    update, column = torch.tensor([1.0, 0.1]).view(2, 1, 1, 1), torch.zeros(2, 1, 1, 1)
    points = Points(column, torch.tensor([1.5, 100.0]), torch.zeros(2), column, update, torch.zeros(2))
    assert points.weights.tolist() == pytest.approx([1.0, 20.0])


def test_networks_of_latents(points):
    assert [patch_of((4, side, side)) for side in (64, 95, 96, 128)] == [2, 2, 4, 4]
    assert [batch_of(64, (side, side)) for side in (8, 16, 32, 64)] == [64, 64, 16, 8]
    source, figures = train_distilled("miniature", 2, points, steps=1, seed=0)
    assert figures["update_r2"] < 0.5 and source.config["patch"] == 2
    assert figures["held_out_points"] == 24 and figures["points"] == 384, "6 % of 64 runs"


def test_states_of_learning_are_of_384_points_then_of_those_wanted_then_of_twice_as_many():
    assert list(islice(_amounts(1000), 3)) == [384, 1000, 2000]
    assert list(islice(_amounts(100), 3)) == [100, 200, 400]


@pytest.mark.parametrize(
    "update_r2, agreement, weak", [(0.25, 0.9, False), (0.24, 0.9, True), (0.25, 0.89, True), (math.nan, 1.0, True)]
)
def test_preference_is_weak_below_a_quarter_of_the_update_or_nine_in_ten_pairs(update_r2, agreement, weak):
    assert bool(weakness({"update_r2": update_r2, "verdict_agreement": agreement})) == weak


def test_one_picture_in_twenty_may_be_broken():
    refuse_broken(5, 100, 100)
    refuse_broken(5, 40, 100)
    for broken in ((6, 100, 100), (3, 50, 59)):
        with pytest.raises(PairError):
            refuse_broken(*broken)


def test_three_quarters_of_a_groups_pairs_are_whole(axis):
    for broken, enough in ((2, True), (3, False)):
        host, sample = GaussianHost(), GaussianHost().sample

        def partly(conditioning, seeds, sample=sample, host=host, broken=broken, **options):
            latents = sample(conditioning, seeds, **options)
            first, host.drawn = not hasattr(host, "drawn"), True
            latents[: broken if first else 0] = math.nan
            return latents

        host.sample, host.batch = partly, 50
        three = replace(axis, groups=("Orvane", "Tavelu", "Quilmari", "Zendoli"))
        if enough:
            assert make_pairs(host, three, 8, seed=1, steps=2).latents.shape[2] == 6
        else:
            with pytest.raises(PairError, match="Only 5 of 8 pairs of Orvane"):
                make_pairs(host, three, 8, seed=1, steps=2)


def test_calibration_measures_a_second_scale_and_a_part_of_the_pictures_more():
    assert scales(3.0) == (3.0, 7.0) and scales(7.0) == (2.0, 7.0)
    assert pictures_needed(2, 84, (2.0, 7.0)) == 2 * 2 * (2 * 84 + 28)


def test_tone_of_the_pairs_counts_as_one_picture():
    latents, whole = torch.zeros(4, 4, 4, 4), torch.ones(4, dtype=torch.bool)
    plain = _Stage(latents, whole, torch.zeros(4))
    group = SimpleNamespace(
        group="Orvane", seed=0, prompts=[], preference=SimpleNamespace(training={"tones": {"Orvane": 9.0}}),
        drawn=lambda *_, **__: (latents.clone(), whole.clone()), sides=lambda *_: torch.ones(4), compared=lambda *_: {},
        skin_change=lambda before, after: torch.tensor([2.0, 1.0, math.nan, 3.0])[: len(after)],
        with_tone_of=lambda plain, updated, change: updated + change.view(-1, 1, 1, 1),
    )  # fmt: skip
    told = dict(lean_slope=1.0, lean_offset=0.0, lean_sigma=10.0)
    lean = torch.tensor([-30.0, 0.0, -30.0, -30.0])  # chances of 0 and 1/2
    calibration = _Group.calibration(group, 2.0, plain, lean, told)
    assert calibration.tone == pytest.approx((9 + 2 + 0.5 * 1 + 3) / (1 + 1 + 0.25 + 1))
    assert (calibration.base_rate, calibration.full_rate, calibration.full_n) == (0.0, 1.0, 4)


def test_leans_of_a_regression():
    rng = np.random.RandomState(0)
    features = [rng.normal(size=(12, 2)) * [1, 3] + 1 for _ in range(2)]
    sides = [(values @ [2, 1] > limit).astype(float) for values, limit in zip(features, (2, 5), strict=True)]
    first, second = leans_from(features, sides)
    names = [f"lean_{name}" for name in ("slope", "guidance", "mean", "spread", "offset")]
    assert [first[name] for name in names] == pytest.approx([2.2999, 0.4783, 2.3764, 1.5373, -3.0336], rel=2e-3)
    assert [second[name] for name in names] == pytest.approx([2.2999, 0.4783, 1.4209, 2.1141, -4.9604], rel=2e-3)


def test_corrected_pictures_are_compared_with_one_in_three_counter_pictures():
    latents, whole = torch.randn(24, 4, 4, 4), torch.ones(24, dtype=torch.bool)
    plain, corrected = (_Stage(scale * latents, whole, torch.tensor([1.0, 0.0, 0.5] * 8)) for scale in (3.0, 1.5))
    drawn = []

    def counter(stage, cfg, prompts, numbers):
        drawn.append(numbers)
        return latents[numbers], whole[numbers]

    group = SimpleNamespace(
        count=24, counter_spreads={7.0: 1e9}, prompts=[6.0] * 24, asking=[4.0] * 24, seeds=[0] * 24, drawn=counter,
        error=lambda latents, prompts, seeds: torch.tensor(prompts),
    )  # fmt: skip
    figures = dict(spread=1.5, extremes=1.5, error=1.5, sure=2 / 3)
    assert _Group.compared(group, 2.0, plain, corrected) == pytest.approx(figures, rel=1e-3)
    assert drawn == [[1, 2, 4, 5, 7, 8, 10, 11]], "those with the stereotype first"
    lowest = float(latents[drawn[0]].std())
    assert _Group.burnt(group, 2.0) == 1 and _Group.burnt(group, 4.0) is None
    assert _Group.burnt(group, 7.0) == pytest.approx(1e9 / lowest, rel=1e-3)


def test_a_picture_of_which_the_verdict_is_unsure_counts_half_in_a_rate(axis):
    latents = torch.stack([PATTERN, 0 * PATTERN, -PATTERN, PATTERN / 0])
    whole = torch.tensor([True, True, True, False])
    group = SimpleNamespace(host=GaussianHost(), preference=SimpleNamespace(axis=axis), group="Orvane")
    stage = _Stage(latents, whole, _Group.sides(group, latents, whole))
    assert stage.sides.tolist() == [1.0, 0.5, 0.0, 0.5] and stage.rate == (0.5, 3)
