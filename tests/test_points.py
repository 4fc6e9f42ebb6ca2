"""Points on the trajectories of a host that is exact, and a store from which they grow."""

import pytest
import torch

from corrector.learning.pairs import make_pairs
from corrector.learning.points import COLUMNS, sample_points
from corrector.learning.store import PictureStore
from corrector.preference.networks import CLOSED
from gaussian_host import GaussianHost


@pytest.fixture(scope="module")
def host():
    return GaussianHost()


@pytest.fixture(scope="module")
def pairs(host, axis):
    return make_pairs(host, axis, 4, seed=4, cfg=1.0, steps=6)


def test_points_say_what_the_model_predicts_for_the_neutral_prompt_and_what_the_counter_side_changes(host, axis, pairs):
    points = sample_points(host, axis, pairs, 192, seed=3)
    assert len(points.x) == 192 and points.sigma.min() >= CLOSED and points.sigma.max() <= 14.7
    x, sigma = points.x.double(), points.sigma.double()
    neutral, counter = host.world.denoised(x, sigma), host.world.denoised_of(x, sigma, 0)
    torch.testing.assert_close(points.conditional.double(), neutral, rtol=1e-3, atol=2e-3)
    torch.testing.assert_close(points.update.double(), counter - neutral, rtol=1e-3, atol=2e-3)
    share = host.world.counter_share(x, sigma)
    assert share.min() < 0.1 and share.max() > 0.9  # some were corrected, and some were not
    again, other = (sample_points(host, axis, pairs, 192, seed=seed) for seed in (3, 4))
    assert same_points(points, again, 192) and not same_points(points, other, 192)


def same_points(one, other, count):
    """Whether the first `count` points are the same, bit for bit."""
    return all(torch.equal(getattr(one, name)[:count], getattr(other, name)[:count]) for name in COLUMNS)


def test_points_in_a_folder_are_those_drawn_without_one_and_more_begin_with_the_same(axis, pairs, tmp_path):
    def drawn(count, folder=None, progress=None):
        host, store = GaussianHost(), folder and PictureStore(tmp_path / folder, {"seed": 3}, "points")
        host.asked, denoise = 0, host.denoise

        def counting(x, *rest):
            host.asked += len(x)
            return denoise(x, *rest)

        host.denoise = counting
        return sample_points(host, axis, pairs, count, 3, store, progress), host.asked

    def stop(stage, done, total):
        assert stage == "points" and done <= total == 384
        if done == 192 + 64:
            raise KeyboardInterrupt

    (few, few_asked), (many, many_asked) = drawn(192, "kept"), drawn(384)
    assert (few.evaluations, many.evaluations) == (few_asked, many_asked)
    grown, asked = drawn(384, "kept")
    assert same_points(grown, many, 384) and same_points(grown, few, 192) and asked == many_asked - few_asked
    with pytest.raises(KeyboardInterrupt):
        drawn(384, "stopped", stop)
    resumed, asked = drawn(384, "stopped")
    assert same_points(resumed, many, 384) and asked == many_asked - few_asked
    assert drawn(384, "stopped")[1] == 0 and resumed.evaluations == many.evaluations
