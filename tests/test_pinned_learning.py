"""Learning's own numbers, written out: no constant is imported from the code, so a changed one fails here."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from corrector.learning.calibrate import _Group, calibrate, pictures_needed, scales
from corrector.learning.chances import leans_from
from corrector.learning.pairs import Pairs, make_pairs
from corrector.learning.points import Points, sample_points
from corrector.learning.stage_pictures import StagePictures
from corrector.learning.store import Drawn, PairError, refuse_broken
from corrector.learning.tone import Tilt, tone_gradient, tone_power, tone_slopes, tone_weight
from corrector.learning.training import batch_of, patch_of, train_distilled
from corrector.preference.preference import Preference
from gaussian_host import PATTERN, GaussianHost


def test_tone_slope_is_the_gap_over_the_variance_and_counts_at_most_four_deviations():
    tones = torch.tensor([-1.0, 0.0, 1.0]) + torch.tensor([[[0.0], [2.0]], [[0.0], [20.0]]])  # [G, 2, 3]
    slopes = tone_slopes(Pairs(torch.zeros(2, 2, 3, 1, 1, 1), tones, torch.zeros(2, 3)))
    spread = (8 / 11) ** 0.5  # of all tones within groups and sides
    assert slopes.tolist() == pytest.approx([-2 * spread, -4 * spread], rel=1e-5)


def test_tone_gradient_is_a_ridge_regression_and_zero_for_lightness_that_hardly_varies():
    latents = torch.randn(1, 2, 40, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    tones = 50 + 3 * latents[:, :, :, 0].mean(dim=(-1, -2))
    box = (0.3, 0.3, 0.7, 0.7)
    pairs = Pairs(latents, tones, torch.zeros(1, 40))
    assert float(tone_gradient(pairs, box).norm()) == pytest.approx(0.67343, rel=1e-3)
    _, shift = Tilt(pairs, box).at(torch.tensor([2.0]), torch.tensor([0]))
    assert float(shift[shift != 0].square().mean().sqrt()) == pytest.approx(2 * 0.079, rel=1e-4)
    lighter = replace(pairs, lightness=tones + torch.tensor([[[0.0], [9.0]]]))
    assert Tilt(lighter, box).size < 0 < Tilt(replace(lighter, lightness=-lighter.lightness), box).size
    flat = replace(pairs, lightness=50 + (tones - 50) * 0.099 / float((tones - tones.mean(dim=2, keepdim=True)).std()))
    assert not tone_gradient(flat, box).any()


def test_tone_weight_and_its_power():
    assert tone_weight(1.5, 5.0, 10.0) == pytest.approx(3.0) and tone_weight(1.5, 9.0, 10.0) == 8.0
    assert tone_weight(1.5, 9.99999, 10.0) == 1.5 and tone_weight(1.5, 5.0, 10.0, 0.5) == pytest.approx(6.0)
    powers = [tone_power((1.0, 2.0), (10 - 4, 10 - 4 * 2**power), 10.0) for power in (0.2, 1.5, 2.5)]
    assert powers == pytest.approx([0.5, 1.5, 2.0])


@pytest.fixture(scope="module")
def pairs(axis):
    return make_pairs(GaussianHost(), axis, 8, seed=4, cfg=1.0, steps=6)


@pytest.fixture(scope="module")
def points(axis, pairs):
    return sample_points(GaussianHost(), axis, pairs, 300, seed=3)


def test_points_of_a_seed(points, pairs):
    assert pairs.seeds[:, :2].tolist() == [[2124808501, 1095241025], [1693972046, 1337499214]]
    assert len(points.x) == 300 and points.evaluations == 1355 and points.sigma.min() >= 0.15
    columns = points.x, points.sigma, points.conditional, points.push, points.update, points.tone, points.weights
    squares = [float(column.double().square().mean()) for column in columns]
    assert squares == pytest.approx([26.378, 26.185, 0.15600, 0.13588, 0.084595, 0.0010917, 304.76], rel=1e-3)
    assert points.tone_power == pytest.approx(0.0013588, rel=1e-3)


def test_points_with_tiny_pushes_do_not_count_most():
    push, sigma = torch.tensor([1.0, 0.1]).view(2, 1, 1, 1), torch.tensor([1.5, 100.0])
    column = torch.zeros(2, 1, 1, 1)
    points = Points(column, sigma, torch.zeros(2), column, push, column, 0.001 * push, torch.zeros(2))
    assert points.weights.tolist() == pytest.approx([1.0, 20.0])
    assert points.tone_power == pytest.approx(0.01 * 1.01 / 2)


def test_networks_of_latents(points):
    assert [patch_of((4, side, side)) for side in (64, 95, 96, 128)] == [2, 2, 4, 4]
    assert [batch_of(64, (side, side)) for side in (8, 16, 32, 64)] == [64, 64, 16, 8]
    source, figures = train_distilled("miniature", 2, points, steps=1, seed=0)
    assert figures["update_r2"] < 0.5, "(1 - q) P is compared with the update"
    assert source.rise == 0.7 and source.config["patch"] == 2
    assert figures["held_out_points"] == 18 and figures["points"] == 300, "6 % of 50 runs"


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


@pytest.mark.parametrize("count, measured", [(48, True), (46, False)])
def test_distance_needs_24_counter_pictures(axis, count, measured):
    host = GaussianHost()
    one_group = replace(axis, groups=("Orvane",))
    preference = Preference(one_group, "miniature", host.world)
    (calibration,) = calibrate(host, preference, count, cfgs=(2.0,)).calibrations
    assert (calibration.distance is not None) == measured and calibration.base_n == count


def test_calibration_measures_a_second_scale_and_a_part_of_the_pictures_more():
    assert scales(3.0) == (3.0, 7.0) and scales(7.0) == (2.0, 7.0)
    assert pictures_needed(2, 84, (2.0, 7.0)) == 2 * 2 * (3 * 84 + 42 + 28 + 28)


def test_trial_is_at_one_and_a_half_times_the_tone_slope(axis, monkeypatch):
    tones, drawn = {}, _Group.drawn

    def seen(group, stage, cfg, prompts, numbers=None, calibration=None):
        tones[stage] = calibration.tone if calibration else 0.0
        return drawn(group, stage, cfg, prompts, numbers, calibration)

    monkeypatch.setattr(_Group, "drawn", seen)
    host = GaussianHost()
    slopes = {"tone_slopes": {"Orvane": 2.0}}
    calibrate(host, Preference(replace(axis, groups=("Orvane",)), "miniature", host.world, training=slopes), 12)
    assert tones["plain"] == tones["counter"] == tones["untoned"] == 0.0 and tones["trial"] == 3.0


def test_leans_of_a_regression():
    rng = np.random.RandomState(0)
    features = [rng.normal(size=(12, 2)) * [1, 3] + 1 for _ in range(2)]
    sides = [(values @ [2, 1] > limit).astype(float) for values, limit in zip(features, (2, 5), strict=True)]
    first, second = leans_from(features, sides)
    names = [f"lean_{name}" for name in ("slope", "guidance", "mean", "spread", "offset")]
    assert [first[name] for name in names] == pytest.approx([2.2999, 0.4783, 2.3764, 1.5373, -3.0336], rel=2e-3)
    assert [second[name] for name in names] == pytest.approx([2.2999, 0.4783, 1.4209, 2.1141, -4.9604], rel=2e-3)


def test_corrected_pictures_are_compared_with_counter_pictures():
    latents, whole = torch.randn(24, 4, 4, 4), torch.ones(24, dtype=torch.bool)
    sides = torch.tensor([1.0, 0.0, 0.5] * 8)
    plain, corrected, counter = (
        SimpleNamespace(latents=scale * latents, whole=whole, numbers=list(range(24)), counter=sides)
        for scale in (3.0, 1.5, 1.0)
    )
    group = SimpleNamespace(
        prompts=[6.0] * 24, asking=[4.0] * 24, seeds=[0] * 24,
        error=lambda latents, prompts, seeds: torch.tensor(prompts),
    )  # fmt: skip
    figures = dict(distance=0.0625, spread=1.5, extremes=1.5, error=1.5, sure=2 / 3)
    assert _Group.compared(group, plain, corrected, counter) == pytest.approx(figures, rel=1e-3)


def test_a_picture_of_which_the_verdict_is_unsure_counts_half_in_a_rate(axis):
    host = GaussianHost()
    counter, stereotype = PATTERN, -PATTERN
    latents = torch.stack([counter, 0 * counter, stereotype, counter / 0])
    whole = torch.tensor([True, True, True, False])
    group = SimpleNamespace(host=host, preference=SimpleNamespace(axis=axis), group="Orvane")
    drawn = Drawn(latents, torch.zeros(4), whole)
    pictures = StagePictures(drawn, [0, 1, 2, 3], _Group.sides(group, drawn))
    assert pictures.counter.tolist() == [1.0, 0.5, 0.0, 0.5] and pictures.rate == (0.5, 3)
