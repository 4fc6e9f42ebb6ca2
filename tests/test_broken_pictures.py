"""A checkpoint that now and then gives NaN, as some do in half precision: skipped, counted, refused above 5 %."""

import math

import pytest

from corrector.learning.calibrate import calibrate
from corrector.learning.learn import learn
from corrector.learning.pairs import make_pairs
from corrector.learning.points import COLUMNS, sample_points
from corrector.learning.store import PairError
from gaussian_host import GaussianHost


class Broken(GaussianHost):
    """Every `nth` picture that is asked for is NaN: of the model's predictions, or of what is sampled."""

    def __init__(self, predictions=0, pictures=0):
        super().__init__()
        self.predictions, self.pictures, self.asked = predictions, pictures, {"predictions": 0, "pictures": 0}

    def spoil(self, what, values):
        nth, start = getattr(self, what), self.asked[what]
        self.asked[what] += len(values)
        for index in range(len(values)) if nth else ():
            if (start + index) % nth == nth - 1:
                values[index, 0, 0, 0] = float("nan")
        return values

    def denoise(self, x, sigma, conditioning):
        return self.spoil("predictions", super().denoise(x, sigma, conditioning))

    def sample(self, *arguments, **options):
        kept, self.predictions = self.predictions, 0  # a picture is broken or not as a whole
        latents = super().sample(*arguments, **options)
        self.predictions = kept
        return self.spoil("pictures", latents) if options.get("steps") != 2 else latents  # 2: the first predictions


@pytest.fixture(scope="module")
def pairs(axis):
    return make_pairs(GaussianHost(), axis, 20, seed=0, cfg=1.0, steps=6)


def test_points_with_nan_are_left_out_and_counted(axis, pairs):
    points, whole = (sample_points(host, axis, pairs, 384, 0) for host in (Broken(predictions=100), GaussianHost()))
    assert 0 < points.broken <= 19 and whole.broken == 0 and points.evaluations == whole.evaluations
    columns = [getattr(points, name) for name in COLUMNS]
    assert {len(column) for column in columns} == {384 - points.broken}
    assert all(column.isfinite().all() for column in columns) and points.weights.isfinite().all()


def test_a_preference_learned_from_such_a_checkpoint_is_whole_and_says_how_many(axis, pairs, one_thread):
    preference = learn(Broken(predictions=100), axis, seed=0, cfg=1.0, pairs=pairs, steps=20, points=100)
    assert 0 < preference.training["points_broken"] <= 9
    assert all(tensor.isfinite().all() for tensor in preference.source.state_dict().values())
    assert math.isfinite(preference.training["update_r2"])


def test_a_checkpoint_whose_predictions_are_too_often_nan_is_refused(axis, pairs):
    with pytest.raises(PairError, match=r"of 192 predictions of the model came out as NaN.*at most 5%.*float32"):
        sample_points(Broken(predictions=10), axis, pairs, 192, 0)


def finite(calibration):
    numbers = [value for value in vars(calibration).values() if isinstance(value, float)]
    return all(math.isfinite(value) for value in [*numbers, *calibration.base_interval, *calibration.full_interval])


@pytest.fixture(scope="module")
def learned(axis, one_thread):
    return learn(GaussianHost(), axis, count=40, seed=0, cfg=1.0, points=300, steps=60)


def test_calibration_leaves_nan_out_and_counts_it(axis, learned):
    found = calibrate(Broken(pictures=29), learned, count=60, cfgs=(1.0,)).calibrations
    assert [known.group for known in found] == list(axis.groups)
    for known in found:
        assert finite(known) and known.broken > 0 and known.base_n < 60
        assert known.base_n + known.full_n == 2 * 60 - known.broken and known.lean_spread > 0
    assert all(known.broken == 0 for known in calibrate(GaussianHost(), learned, 20, (1.0,)).calibrations)


def test_calibration_of_a_broken_checkpoint_is_refused(learned):
    with pytest.raises(PairError, match=r"of 60 pictures .*came out as NaN or infinity, and at most 5%"):
        calibrate(Broken(pictures=5), learned, count=60, cfgs=(1.0,))


def test_calibration_on_a_single_picture_gives_no_nan(learned):
    assert all(finite(known) for known in calibrate(GaussianHost(), learned, count=1, cfgs=(1.0,)).calibrations)


def test_what_was_measured_on_another_checkpoint_never_mixes_with_what_is_measured_now(learned):
    few, other = dict(count=4), GaussianHost()
    other.identity = {"checkpoint": "two derivates"}
    one = calibrate(GaussianHost(), learned, cfgs=(1.0,), **few)
    one = calibrate(GaussianHost(), one, cfgs=(2.0,), **few)
    assert {(known.cfg, known.checkpoint) for known in one.calibrations} == {(1, "two Gaussians"), (2, "two Gaussians")}
    moved = calibrate(other, one, cfgs=(2.0,), **few)
    assert {(known.cfg, known.checkpoint) for known in moved.calibrations} == {(2, "two derivates")}
    program = GaussianHost()  # whose identities are of another kind, and cannot be compared
    program.identity = {"checkpoint": "0123456789abcdef"}
    kept = calibrate(program, one, cfgs=(2.0,), **few)
    assert {(known.cfg, known.checkpoint) for known in kept.calibrations} == {
        (1, "two Gaussians"), (2, "0123456789abcdef")
    }  # fmt: skip
