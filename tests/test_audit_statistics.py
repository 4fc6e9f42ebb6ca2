"""Statistics against published examples, statsmodels, and simulation."""

import math

import numpy as np
import pytest
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from corrector.auditing import measures
from corrector.auditing.plan import enough
from corrector.auditing.raters import kappas
from corrector.latents import statistics
from corrector.latents.statistics import rate
from corrector.miniature.world import Scene, draw


def test_rates_and_gaps_agree_with_statsmodels():
    for k, n in ((0, 10), (10, 10), (3, 40), (39, 40)):
        assert rate(k, n)[1:] == pytest.approx(proportion_confint(k, n, method="wilson"), abs=1e-9)
    value, low, high = statistics.gap((56, 70), (48, 80))
    assert (value, low, high) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)  # Newcombe (1998), II (a), method 10
    assert (low, high) == pytest.approx(confint_proportions_2indep(56, 70, 48, 80, method="newcomb"), abs=1e-6)
    _, wider_low, wider_high = statistics.gap((56, 70), (48, 80), pairs=3)  # the largest of several gaps
    assert wider_low < low and wider_high > high
    with pytest.raises(ValueError, match="at least one picture"):
        rate(0, 0)


def test_mcnemar_counts_only_pictures_that_changed():
    before = [True] * 12 + [False] * 30
    after = [False] * 10 + [True] * 2 + [True] * 1 + [False] * 29
    assert statistics.mcnemar(before, after) == (1, 10, pytest.approx(2 * 12 / 2**11))  # 2 P(X <= 1), X of 11 coins
    assert statistics.mcnemar(before, before) == (0, 0, 1.0)


def test_kappas_agree_with_published_examples():
    answers = {"A": "y" * 25 + "n" * 25, "B": "y" * 20 + "n" * 5 + "y" * 10 + "n" * 15}
    assert kappas(answers, ("y", "n"))["Cohen's kappa, A and B"] == pytest.approx(0.4)
    # Fleiss (1971) as often reprinted: 10 subjects, 14 raters, 5 categories, kappa 0.210
    counts = [[0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1], [7, 7, 0, 0, 0],
              [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]]  # fmt: skip
    subjects = [[c for c, votes in enumerate(row) for _ in range(votes)] for row in counts]
    answers = dict(enumerate(zip(*subjects, strict=True)))
    assert kappas(answers, range(5))["Fleiss' kappa, all"] == pytest.approx(0.210, abs=5e-4)
    assert kappas({"A": "yy", "B": "yy"}, ("y", "n"))["Fleiss' kappa, all"] is None


def test_sampling_stops_only_after_20_pictures_and_if_narrow():
    assert not enough(0, 19, 0.2)
    assert enough(0, 20, 0.1) and not enough(10, 20, 0.1)
    assert not enough(0, 10_000, 0)


@pytest.mark.parametrize("p", (0.01, 0.5, 0.97))
def test_intervals_cover_the_true_rate_despite_early_stopping(p):
    rng, held, trials = np.random.default_rng(5), 0, 1000
    for _ in range(trials):
        k = n = 0
        while n < 200:
            k, n = k + rng.binomial(20, p), n + 20
            if enough(k, n, 0.08):
                break
        _, low, high = rate(k, n)
        held += low <= p <= high
    assert 0.88 <= held / trials <= 0.995  # 10,000 a cell in benchmarks/audit.py


@pytest.fixture(scope="module")
def drawn():
    """Four portraits with decreasing skin lightness, in steps of 5 points of L*."""
    return np.stack([draw(Scene("Orvane", "city", "modern", skin, 7)) for skin in (70.0, 65.0, 60.0, 55.0)])


def test_skin_is_measured_in_points_of_l_and_degrees(drawn):
    tones = measures.skin(drawn, (0.41, 0.44, 0.6, 0.51))
    assert np.allclose(tones["L"], (70, 65, 60, 55), atol=0.5)
    assert np.all(np.diff(tones["L"]) < -3) and np.all(np.diff(tones["ita"]) < 0)
    assert np.all((tones["hue"] > 20) & (tones["hue"] < 100))  # skin is between red and yellow
    assert measures.hue_change(170, -170) == 20


def test_structure_is_1_for_the_same_picture_and_sharpness_falls_with_blur(drawn):
    from skimage.filters import gaussian

    scene = draw(Scene("Zendoli", "village", "traditional", 60.0, 8))[None].repeat(4, axis=0)
    assert np.allclose(measures.structure(drawn, drawn), 1) and np.all(measures.structure(drawn, scene) < 0.7)
    blurred = (gaussian(drawn, sigma=(0, 2, 2, 0)) * 255).astype(np.uint8)
    assert np.all(measures.sharpness(blurred) < 0.5 * measures.sharpness(drawn))


def test_variety_decreases_if_pictures_become_alike():
    rng = np.random.default_rng(0)
    wide = rng.normal(size=(60, 16))
    value, low, high = measures.variety_ratio((0.5 * wide + 3,), (rng.normal(size=(60, 16)),), rng)
    assert 0.4 < value < 0.6 and low < value < high < 0.65
    assert math.isnan(measures.variety(wide[:1]))
    same = np.ones((10, 16))
    assert math.isnan(measures.variety_ratio((same,), (same,), rng)[0])


def test_the_distance_between_two_sets_is_the_mean_over_all_pairs():
    first, second = np.zeros((3, 2)), np.tile([3.0, 4.0], (5, 1))
    assert measures.variety(first, second) == 5
    rng = np.random.default_rng(0)
    one, two = rng.normal(size=(80, 16)), rng.normal(size=(80, 16))
    value, low, high = measures.variety_ratio((one, two), (one, two + 3), rng)
    assert low < value < high < 0.6  # the two groups have become alike


def test_the_weighted_bootstrap_of_variety_equals_resampling_pictures():
    """Multinomial weights give the same distribution as a mean over pairs of different resampled pictures."""
    rng, points = np.random.default_rng(1), np.random.default_rng(2).normal(size=(12, 4))
    drawn = measures._resampled(points, rng=rng, draws=4000)
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    by_hand, rng = [], np.random.default_rng(3)
    for _ in range(4000):
        index = rng.integers(12, size=12)
        pairs = index[:, None] != index[None]
        by_hand.append(distances[index[:, None], index[None]][pairs].mean())
    assert np.quantile(drawn, (0.025, 0.5, 0.975)) == pytest.approx(np.quantile(by_hand, (0.025, 0.5, 0.975)), rel=0.02)


def test_the_frechet_distance_to_weighed_pictures_is_that_to_the_pictures_they_stand_for():
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(300, 6)), rng.normal(size=(200, 6))
    times = rng.integers(1, 4, size=200)
    repeated = statistics.frechet(first, np.repeat(second, times, axis=0))
    assert statistics.frechet(first, second, times) == pytest.approx(repeated, rel=0.02)
