"""Invalid settings raise an error that says what was found and what is expected."""

import math

import pytest
import torch

from corrector.correction.update import CorrectionError, Settings


@pytest.mark.parametrize("strength", [-0.1, math.nan, math.inf, torch.tensor([1.0, -1.0]), torch.tensor([math.nan])])
def test_a_negative_or_nan_strength_is_refused(strength):
    with pytest.raises(CorrectionError, match=r"strength is .*must be 0 \(off\) or more"):
        Settings(strength=strength)


@pytest.mark.parametrize("target", [0.0, -0.5, 1.01, math.nan])
def test_a_target_outside_zero_to_one_is_refused(target):
    with pytest.raises(CorrectionError, match=r"target share is .*above 0 and at most 1"):
        Settings(target=target)


@pytest.mark.parametrize("window", [(1.0, 1.0), (1.0, 2.0), (5.0, -1.0), (math.nan, 0.0), (0.0, 0.0)])
def test_an_empty_window_is_refused(window):
    with pytest.raises(CorrectionError, match=r"window .* is empty; its start must be before its end"):
        Settings(window=window)


@pytest.mark.parametrize("cap", [0.0, -1.0, math.nan])
def test_a_cap_that_stops_everything_is_refused(cap):
    with pytest.raises(CorrectionError, match=r"cap is .*above 0, or None"):
        Settings(cap=cap)


def test_the_defaults_and_the_ends_of_every_range_are_accepted():
    Settings()
    Settings(strength=0.0, target=1.0, window=(math.inf, 0.0), cap=1e-3)
    Settings(strength=torch.tensor([0.0, 3.0]), target=1e-6)
