"""A checkpoint that now and then gives NaN, as some do in half precision: skipped, counted, refused above 5 %."""

import math

import pytest
import torch

from corrector.learning.calibrate import calibrate
from corrector.learning.learn import learn
from corrector.learning.pairs import make_pairs
from corrector.learning.store import PairError
from corrector.learning.training import Teacher
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


def test_pushes_with_nan_are_left_out_and_counted(axis, pairs):
    teacher, whole = (Teacher(host, axis, pairs, 200, 0) for host in (Broken(predictions=50), GaussianHost()))
    assert teacher.broken == 8 and whole.broken == 0 and teacher.evaluations == 400
    assert len(teacher.push) == len(teacher.x) == len(teacher.sigma) == len(teacher.group) == 192
    kept = torch.tensor([any(torch.equal(push, own) for own in whole.push) for push in teacher.push])
    assert kept.all() and teacher.weights().isfinite().all()


def test_a_preference_learned_from_such_a_checkpoint_is_whole_and_says_how_many(axis, pairs, one_thread):
    preference, _ = learn(
        Broken(predictions=100), axis, seed=0, cfg=1.0, pairs=pairs, steps=20, teacher_count=200, match=False
    )
    assert preference.training["teacher_pushes_broken"] == 4
    assert all(tensor.isfinite().all() for tensor in preference.source.state_dict().values())
    assert math.isfinite(preference.training["push_r2"])


def test_a_checkpoint_whose_pushes_are_too_often_nan_is_refused(axis, pairs):
    with pytest.raises(PairError, match=r"40 of 200 pushes of the model came out as NaN.*at most 5%.*float32"):
        Teacher(Broken(predictions=10), axis, pairs, 200, 0)


def finite(calibration):
    numbers = [value for value in vars(calibration).values() if isinstance(value, float)]
    return all(math.isfinite(value) for value in [*numbers, *calibration.base_interval, *calibration.full_interval])


@pytest.fixture(scope="module")
def learned(axis, one_thread):
    return learn(GaussianHost(), axis, count=40, seed=0, cfg=1.0, teacher_count=300, steps=60)


def test_calibration_leaves_nan_out_and_counts_it(axis, learned):
    found = calibrate(Broken(pictures=29), *learned, count=60, cfg=1.0, trials=20).calibrations
    assert [known.group for known in found] == list(axis.groups)
    for known in found:
        assert finite(known) and known.broken > 0 and known.base_n < 60
        assert known.full_n == 60 - known.broken and known.lean_spread > 0
    assert all(known.broken == 0 for known in calibrate(GaussianHost(), *learned, 20, 1.0, trials=20).calibrations)


def test_calibration_of_a_broken_checkpoint_is_refused(learned):
    with pytest.raises(PairError, match=r"of 60 pictures came out as NaN or infinity, and at most 5%"):
        calibrate(Broken(pictures=5), *learned, count=60, cfg=1.0, trials=20)


def test_a_few_pushes_leave_levels_of_noise_empty_and_weigh_all_the_same(axis, pairs):
    for seed in range(5):
        assert Teacher(GaussianHost(), axis, pairs, 8, seed).weights().isfinite().all()


def test_a_checkpoint_is_broken_by_the_share_of_what_was_drawn_however_early_measuring_stops(learned):
    class AtFirst(Broken):
        """20 of the first 200 pictures, of 1000 that were planned and 300 that will do."""

        def spoil(self, what, values):
            self.pictures = 10 if self.asked["pictures"] < 200 else 0
            return super().spoil(what, values)

    with pytest.raises(PairError, match=r"20 of 300 pictures came out as NaN"):
        calibrate(AtFirst(pictures=10), *learned, count=1000, cfg=1.0, trials=20, narrow=0.4)


def test_calibration_on_a_single_picture_gives_no_nan(learned):
    assert all(finite(known) for known in calibrate(GaussianHost(), *learned, count=1, cfg=1.0).calibrations)


def test_what_was_measured_on_another_checkpoint_never_mixes_with_what_is_measured_now(learned):
    preference, judge = learned
    few, other = dict(count=4, trials=4), GaussianHost()
    other.identity = {"checkpoint": "a derivative!"}
    one = calibrate(GaussianHost(), preference, judge, cfg=1.0, **few)
    one = calibrate(GaussianHost(), one, judge, cfg=2.0, **few)
    assert {(known.cfg, known.checkpoint) for known in one.calibrations} == {(1, "two Gaussians"), (2, "two Gaussians")}
    moved = calibrate(other, one, judge, cfg=2.0, **few)
    assert {(known.cfg, known.checkpoint) for known in moved.calibrations} == {(2, "a derivative!")}
    program = GaussianHost()  # whose identities are of another kind, and cannot be compared
    program.identity = {"checkpoint": "0123456789abcdef"}
    kept = calibrate(program, one, judge, cfg=2.0, **few)
    assert {(known.cfg, known.checkpoint) for known in kept.calibrations} == {
        (1, "two Gaussians"), (2, "0123456789abcdef")
    }  # fmt: skip
