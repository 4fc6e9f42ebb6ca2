"""What learning says beforehand that it costs, and when it has reached its goal."""

import argparse
from types import SimpleNamespace

import pytest

from corrector.cli.options import goal
from corrector.learning import cost, goals
from corrector.learning.calibrate import calibrate
from corrector.learning.learn import learn
from corrector.learning.pairs import steps_of
from gaussian_host import SHAPE, GaussianHost

pytestmark = pytest.mark.usefixtures("one_thread")


def test_learning_and_calibration_ask_the_model_as_often_as_was_said(axis):
    host = GaussianHost()
    host.batch, host.asked, denoise = 8, 0, host.denoise

    def counting(x, *rest):
        host.asked += len(x)
        return denoise(x, *rest)

    host.denoise = counting
    told = cost.cost_of(host, axis, SHAPE, 4, 96, 1.0, images=6, cfgs=(1.0,))
    host.asked = 0
    gate = dict(steps=5, check=False)
    calibrate(host, learn(host, axis, 4, cfg=1.0, points=96, **gate), 6, [1.0], steps=steps_of(host))
    assert host.asked == pytest.approx(told.evaluations, rel=0.06), "this host has no second prediction for CFG"


def test_its_time_is_that_of_one_timed_step_of_each_kind(axis, monkeypatch):
    monkeypatch.setattr(cost, "_timed", lambda call: 1.0)
    host = GaussianHost()
    learned = cost.cost_of(host, axis, SHAPE, 4, 96, 7.0)
    assert learned.seconds > (learned.evaluations + cost.texts_of_gate(axis)) / cost.TIMED + 192 + cost.GATE_STEPS
    calibrated = cost.cost_of(host, axis, SHAPE, 4, 96, 7.0, images=6, cfgs=(2.0, 7.0))
    drawn = 2 * 28 * 8 * 2 + 2 * 2 * 6 * 2 * 4 + 2 * 6 * 4 + 8 * 8 * 2  # stages, verdicts, first steps, thumbnail
    assert calibrated.evaluations == learned.evaluations + drawn and calibrated.seconds > learned.seconds


def test_cost_is_said_in_words():
    assert str(cost.Cost(10_600, 90.4)) == "10,600 evaluations of the model, about 90 seconds on this machine"
    assert str(cost.Cost(10_600, 1800)) == "10,600 evaluations of the model, about 30 minutes on this machine"


def state(explained):
    return SimpleNamespace(training={"update_r2": explained})


def test_learning_is_good_once_twice_the_points_hardly_help():
    reached = goals.good()
    assert [reached(state(explained)) for explained in (0.5, 0.6, 0.62)] == [False, False, True]
    assert goals.good()(state(0.96)), "there is little to gain"


def test_learning_for_a_time_ends_if_the_next_state_would_be_late(monkeypatch):
    now = iter([100.0, 110.0, 130.0, 170.0])
    monkeypatch.setattr(goals.time, "monotonic", lambda: next(now))
    reached = goals.within(80)
    assert [reached(state(0.5)) for _ in range(3)] == [False, False, True], "twice the last 40 seconds end at 250"


def test_goal_of_the_shell_is_a_time_or_good(monkeypatch):
    made = []
    monkeypatch.setattr(goals, "within", made.append)
    for text in ("90s", "10m", "2h"):
        goal(text)()
    assert made == [90, 600, 7200] and goal("good") is goals.good
    with pytest.raises(argparse.ArgumentTypeError, match=r'"soon" is not a time such as 90s, 10m or 2h, nor "good"'):
        goal("soon")
