"""A preference's own numbers, written out: no constant is imported from the code, so a changed one fails here."""

import math
from dataclasses import replace

import pytest
import torch

from corrector.gate.prompt_gate import PromptGate, PromptReading
from corrector.preference.calibration import Calibration, between
from corrector.preference.networks import Distilled

MEASURED = Calibration("Orvane", 2.0, 0.3, 400, 0.9, 400)
LEANING = replace(
    MEASURED, base_rate=0.6, full_rate=1.0, lean_slope=3.0, lean_offset=0.7, lean_spread=1.0, lean_sigma=10.0
)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Distilled("miniature", 2, width=16, blocks=1).eval().requires_grad_(False)


def test_network_gives_an_update_from_sigma_1_on(network):
    x, group = torch.randn(2, 4, 8, 8), torch.tensor([0, 0])
    update = network.update(x, torch.tensor([0.999, 1.0]), group, x)
    assert not update[0].any() and update[1].any()


@pytest.mark.parametrize(
    "measured, harms",
    [
        ({"spread": 1.09}, False), ({"spread": 1.11}, True), ({"extremes": 0.91}, False), ({"extremes": 0.89}, True),
        ({"error": 1.5}, False), ({"error": 1.51}, True), ({"tone_drift": -2.0}, False), ({"tone_drift": 2.1}, True),
        ({"sure": 0.9}, False), ({"sure": 0.89}, True),
    ],
)  # fmt: skip
def test_correction_harms_beyond_these_figures(measured, harms):
    assert bool(replace(MEASURED, **measured).harm) == harms


def test_calibration_between_and_beyond_its_scales():
    calibrations = [replace(MEASURED, tone=1.0), replace(MEASURED, cfg=8.0, base_rate=0.1, tone=3.0)]
    tones = [between(calibrations, cfg).tone for cfg in (0.5, 1.0, 1.5, 2.0, 5.0, 100.0)]
    assert tones == pytest.approx([0.0, 0.0, 0.584963, 1.0, 2.321928, 3.0 + 0.6 * 2]), "on a line in log CFG"
    assert between(calibrations, 4.0).base_rate == pytest.approx(1 / (1 + (7 / 3 * 9) ** 0.5))
    chance = LEANING.chance(torch.tensor([0.0, 1.0]))
    assert chance.tolist() == pytest.approx([1 / (1 + math.exp(-0.7)), 1 / (1 + math.exp(-3.7))])
    assert MEASURED.chance(torch.zeros(1)) == 0.3


def test_target_is_within_reach_from_the_lower_end_of_the_interval():
    calibration = replace(MEASURED, full_interval=(0.87, 0.93))
    ways = [calibration.reach(target).split(": ", 1)[1] for target in (0.3, 0.31, 0.87, 0.88)]
    assert ["does nothing" in way for way in ways] == [True, False, False, False]
    assert ["is within reach" in way for way in ways] == [False, True, True, False]


def gate_of(group, asked, **thresholds):
    """A gate that gives the first of two groups and a request for the stereotype these probabilities."""
    gate = PromptGate(width=4, groups=2, hidden=3, **thresholds).eval().requires_grad_(False)
    for parameter in gate.parameters():
        parameter.zero_()
    gate.group_probe.bias.copy_(torch.tensor([group, 1e-9, 1 - group]).log())
    gate.explicit_probe.bias.copy_(torch.tensor([1 - asked, asked, 1e-9, 1e-9]).log())
    return gate.read([torch.zeros(1, 3, 4)])


@pytest.mark.parametrize("group, asked, opens", [(0.81, 0.49, True), (0.79, 0.0, False), (0.99, 0.51, False)])
def test_gate_opens_from_a_group_of_0_8_and_below_a_request_of_0_5(group, asked, opens):
    assert gate_of(group, asked).open == opens


@pytest.mark.parametrize("probability, almost", [(0.29, False), (0.31, True)])
def test_group_is_almost_named_from_0_3(axis, probability, almost):
    assert ("almost: Orvane" in gate_of(probability, 0.0).reason(axis)) == almost
    assert PromptReading(0, "neither").open and not PromptReading(-1, "neither").open


@pytest.mark.parametrize("cfg, far", [(1.0, True), (1.1, False), (13.9, False), (14.0, True), (None, False)])
def test_cfg_scale_is_far_from_twice_the_calibrated_ones_on(preference, cfg, far):
    calibrated = replace(preference, calibrations=(MEASURED, replace(MEASURED, cfg=7.0)), training={"cfg": 30.0})
    caveats = calibrated.caveats_of_run(["Orvane"], cfg)
    assert caveats == [
        f"calibrated at CFG 2 and 7 only, and CFG {cfg:g} is far from it: rates and tone may differ" for _ in caveats
    ]
    assert bool(caveats) == far


@pytest.mark.parametrize("cfg, far", [(1.0, True), (1.1, False), (3.9, False), (4.0, True)])
def test_cfg_scale_is_far_from_twice_that_of_learning_on_where_nothing_is_calibrated(preference, cfg, far):
    learned = replace(preference, calibrations=(), training={"cfg": 2.0})
    words = [f"learned at CFG 2, and CFG {cfg:g} is far from it: calibrate it there"]
    assert learned.caveats_of_run(["Orvane"], cfg) == (words if far else [])
    assert replace(learned, training={}).caveats_of_run(["Orvane"], cfg) == []
