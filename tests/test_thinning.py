"""Which pictures are corrected: coins, the stratified share, and the decision of a run with its reasons."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from scipy.optimize import brentq
from scipy.stats import kstest

from corrector.correction.decision import PastDecision, decide, summary
from corrector.correction.thinning import chosen_images, coins_from_noise, coins_from_seeds, level_of, thinned
from corrector.gate.prompt_gate import OUT_OF_SCOPE, PromptReading
from corrector.latents.fingerprint import fingerprint
from corrector.preference.calibration import Calibration
from steady import given
from steady import strategies as st


def noises(count, seed=0, shape=(4, 8, 12)):
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


def test_coins_are_uniform_and_independent_for_neighbouring_seeds_and_other_thinning_seeds():
    noise = noises(4000)
    draws = [coins_from_noise(noise), coins_from_noise(noise, seed=1)]
    draws += [coins_from_seeds(range(4000)), coins_from_seeds(range(1, 4001)), coins_from_seeds(range(4000), seed=1)]
    assert all(kstest(coins.numpy(), "uniform").pvalue > 0.01 for coins in draws)
    correlation = torch.corrcoef(torch.stack(draws)) - torch.eye(5)
    assert correlation.abs().max() < 0.06


def test_a_coin_depends_on_neither_the_scale_of_the_noise_nor_the_batch():
    noise = noises(9)
    alone = torch.cat([coins_from_noise(14.6 * noise[i : i + 1]) for i in range(9)])
    torch.testing.assert_close(coins_from_noise(noise), alone, rtol=0, atol=1e-6)
    assert torch.equal(coins_from_seeds([5, 3, 8])[1:2], coins_from_seeds([3]))
    assert torch.isfinite(coins_from_noise(torch.zeros(2, 4, 8, 8))).all() and len(coins_from_seeds([])) == 0


def unknown(base_rate, full_rate=1.0):
    """A group with known rates and unknown leans."""
    return Calibration("Orvane", 2.0, base_rate, 400, full_rate, 400)


def test_without_leans_the_number_chosen_is_the_share_of_the_batch_rounded():
    for seed in range(40):
        count, target, beta = seed % 11 + 1, 0.5 + 0.012 * seed, 0.1
        share = (target - beta) / (1 - beta) * count
        chosen = thinned(coins_from_seeds(range(seed, seed + count)), target, unknown(beta))
        assert math.floor(share - 1e-6) <= int(chosen.sum()) <= math.ceil(share + 1e-6)


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("base_rate", [0.6, 0.85])
def test_where_the_base_rate_reaches_the_target_hardly_any_picture_is_corrected(base_rate, batch):
    known, target, batches = seeing(base_rate, 3.0), 0.5, 4000 // batch
    lean = torch.randn(batches, batch, generator=torch.Generator().manual_seed(5))
    coins = torch.rand(batches, batch, generator=torch.Generator().manual_seed(6))
    chosen = torch.stack([thinned(own, target, known, leans) for own, leans in zip(coins, lean, strict=True)])
    gained = chosen * (1 - known.chance(lean))
    assert float(gained.mean()) < 0.0075 and float(chosen.double().mean()) < 0.03
    assert not thinned(coins[0], target, known, torch.full((batch,), 0.5)).any()


def test_a_batch_of_other_wordings_or_of_another_model_is_filled_to_its_target():
    coins, known, around = coins_from_seeds(range(8)), seeing(0.6, 3.0), torch.linspace(-0.5, 0.5, 8)
    for away in (1.4, 1.8, 3.0):
        chosen, chances = thinned(coins, 0.5, known, around - away), known.chance(around - away)
        expected = float(torch.where(chosen, 1.0, chances).sum())
        assert chosen.any() and not chosen.all() and 3 < expected < 4.5


def test_the_rates_of_a_group_bound_what_is_chosen():
    coins = coins_from_seeds(range(8))
    assert thinned(coins, 1 - 1e-9).all()
    assert thinned(coins, 0.99, unknown(0.1, 0.95)).all(), "full strength does not reach the target"
    assert not thinned(coins, 0.3, unknown(0.3)).any() and not thinned(coins, 0.3, unknown(0.8)).any()
    assert torch.equal(thinned(coins, 0.5, None, torch.zeros(8)), thinned(coins, 0.5)), "not calibrated: no leans"


def test_a_larger_target_corrects_a_superset():
    coins, known = coins_from_seeds(range(8)), seeing(0.3, 3.0)
    lean = torch.randn(8, generator=torch.Generator().manual_seed(3))
    chosen = [thinned(coins, target, known, lean) for target in (0.4, 0.55, 0.7, 0.85)]
    assert all((more | less).equal(more) for less, more in pairwise(chosen))


def seeing(base_rate, slope, count=20000):
    """A group with standard normal leans at the start of a run, which predict the side with slope `slope`."""
    noise = torch.randn(count, generator=torch.Generator().manual_seed(1)).double()
    offset = brentq(lambda offset: float((offset + slope * noise).sigmoid().mean()) - base_rate, -20.0, 20.0)
    lean = dict(lean_slope=slope, lean_offset=offset, lean_mean=0.0, lean_spread=1.0, lean_sigma=14.6)
    return Calibration("Orvane", 2.0, base_rate, 400, 1.0, 400, **lean)


def shares(known, target, batch, batches, seed=0, informed=True):
    """The share of counter pictures in each of many batches, drawn as the calibration describes them."""
    generator = torch.Generator().manual_seed(seed)
    lean = torch.randn(batches, batch, generator=generator)
    counter = torch.rand(batches, batch, generator=generator) < known.chance(lean)
    coins = torch.rand(batches, batch, generator=generator)
    rows = zip(coins, lean, strict=True)
    chosen = torch.stack([thinned(row, target, known, own if informed else None) for row, own in rows])
    return (chosen | counter).double().mean(dim=1)


@pytest.mark.parametrize("batch", [1, 2, 8])
@pytest.mark.parametrize("base_rate, target", [(0.05, 0.25), (0.3, 0.5), (0.45, 0.5), (0.3, 0.75)])
def test_the_target_is_met_on_average_in_batches_of_any_size(base_rate, target, batch):
    known, batches = seeing(base_rate, 2.5), 1600 // batch
    for informed in (True, False):
        found = shares(known, target, batch, batches, informed=informed)
        assert abs(float(found.mean()) - target) < 4 * math.sqrt(0.25 / 1600)


def test_using_the_first_prediction_the_share_of_a_batch_varies_far_less_than_the_binomial():
    spread = [float(shares(seeing(0.35, 2.8), 0.5, 8, 400, informed=informed).std()) for informed in (True, False)]
    binomial = math.sqrt(0.25 / 8)
    assert spread[0] < 0.6 * binomial < spread[1] < binomial
    assert float(shares(seeing(0.05, 2.8), 0.5, 8, 400).std()) < 0.25 * binomial


def test_the_likeliest_counter_pictures_are_corrected_first_and_ties_follow_the_coins():
    chances, coins = torch.tensor([0.1, 0.6, 0.1, 0.3]), torch.tensor([0.9, 0.5, 0.2, 0.7])
    assert chosen_images(coins, chances, level=1.5001).nonzero()[:, 0].tolist() == [1]
    assert chosen_images(coins, chances, level=2.2001).nonzero()[:, 0].tolist() == [1, 3]
    assert chosen_images(coins, chances, level=3.1001).nonzero()[:, 0].tolist() == [1, 2, 3]
    assert not chosen_images(coins, chances, level=1.0).any()


@given(st.integers(1, 12), st.floats(0.02, 0.98), st.floats(0, 4), st.floats(0.02, 0.99))
def test_the_level_gives_the_target_on_average_over_batches(batch, middle, spread, target):
    noise = torch.randn(500, batch, generator=torch.Generator().manual_seed(0)).double()
    chances = (math.log(middle / (1 - middle)) + spread * noise).sigmoid()
    level, expected = level_of(chances, target), chances.sum(dim=1)
    if float(expected.mean()) >= batch * target:
        assert level == 0.0
    else:
        assert float(expected.clamp(min=level).mean()) == pytest.approx(batch * target, rel=1e-6)


@pytest.fixture
def calibrated(exact):
    known = (
        Calibration("Orvane", 2.0, 0.05, 400, 1.0, 400, tone=-3.0),
        Calibration("Tavelu", 2.0, 0.6, 400, 0.99, 400),
    )
    return replace(exact(), calibrations=known)


def named(group, explicit="neither"):
    return PromptReading(group, explicit)


def test_only_pictures_left_alone_have_a_reason(calibrated):
    readings = [named(0), named(0, "stereotype"), named(0, "counter"), named(OUT_OF_SCOPE)]
    decision, reasons = decide(calibrated, readings, torch.rand(4), cfg=2.0)
    assert decision.active.tolist() == [True, False, False, False]
    assert reasons == [
        "",
        "the prompt asks for a village",
        "the prompt asks for a city",
        "the prompt names nobody of Orvane, Tavelu",
    ]


def test_a_group_whose_base_rate_reaches_the_target_is_left_alone_with_a_reason(calibrated):
    decision, reasons = decide(calibrated, [named(0)] * 4 + [named(1)] * 4, torch.rand(8), target=0.5, cfg=2.0)
    assert not decision.active[4:].any()
    assert reasons[4] == "the model already draws a city in 60% of such Tavelu pictures"
    assert int(decision.active[:4].sum()) in (1, 2)  # (0.5 - 0.05) / 0.95 of 4 = 1.9
    assert "target share" in next(reason for reason in reasons[:4] if reason)
    torch.testing.assert_close(decision.tone, torch.tensor([-3.0] * 4 + [0.0] * 4))


@pytest.mark.parametrize("target", [0.5, 1.0])
def test_an_earlier_decision_for_the_same_group_and_target_is_kept_if_the_prompt_does_not_ask(calibrated, target):
    earlier = [
        PastDecision(0, False, "kept", target),
        PastDecision(0, True, "", target),
        PastDecision(1, False, "another group", target),
        PastDecision(0, False, "another target", 0.25),
        PastDecision(0, True, "", target),
        None,
    ]
    readings = [named(0)] * 4 + [named(0, "stereotype"), named(0)]
    coins = torch.tensor([0.0, 0.99, 0.0, 0.0, 0.0, 0.98])
    decision, reasons = decide(calibrated, readings, coins, target, 2.0, earlier=earlier)
    assert decision.active[:2].tolist() == [False, True] and reasons[:2] == ["kept", ""]
    assert decision.active[2:5].tolist() == [True, True, False] and reasons[4] == "the prompt asks for a village"
    assert bool(decision.active[5]) == (target == 1.0)  # 1.35 of the three that are decided anew


def test_what_an_earlier_stage_corrected_counts_for_the_target_from_a_strength_of_three_quarters(calibrated):
    for strength, corrected in ((0.75, 0), (0.74, 2)):
        earlier = [PastDecision(0, True, "", 1.0, strength)] * 4
        decision, _ = decide(calibrated, [named(0)] * 4, coins_from_seeds(range(4)), 0.5, 2.0, earlier=earlier)
        assert int(decision.active.sum()) == corrected


def test_a_calibration_lies_on_the_line_through_the_nearest_cfg_scales_and_a_little_beyond_them(exact):
    low, high = (
        Calibration("Orvane", cfg, rate, 400, 1.0, 400, tone=tone, lean_slope=4.0, lean_offset=offset)
        for cfg, rate, tone, offset in ((2.0, 0.2, 1.0, -1.0), (8.0, 0.1, 3.0, -3.0))
    )
    preference = replace(exact(), calibrations=(high, low))
    middle = preference.calibration("Orvane", 4.0)
    assert middle.base_rate == pytest.approx(1 / 7) and middle.tone == pytest.approx(2.0), "in the middle of log CFG"
    assert middle.lean_offset == pytest.approx(-2.0) and middle.lean_slope == pytest.approx(4.0)
    assert preference.calibration("Orvane", 1.0).tone == pytest.approx(1 - 1)
    assert preference.calibration("Orvane", 0.01).tone == preference.calibration("Orvane", 0.1).tone
    assert preference.calibration("Orvane", 100.0).tone == pytest.approx(3.0 + 0.6 * 2)
    assert preference.calibration("Orvane", 2.0) is low and preference.calibration("Tavelu", 6.0) is None


def test_without_gate_and_calibration_every_prompt_is_in_scope_and_is_thinned(exact):
    decision, reasons = decide(exact(), [None] * 8, coins_from_seeds(range(8)))
    assert decision.active.all() and reasons == [""] * 8
    decision, _ = decide(exact(), [None] * 8, coins_from_seeds(range(8)), target=0.5)
    assert int(decision.active.sum()) == 4


def log_line(preference, reasons, cfg=None, **more):
    return summary(preference, reasons, [0] * len(reasons), cfg, **more)


def test_the_log_line_counts_pictures_and_says_if_the_cfg_scale_or_the_preference_was_not_calibrated(calibrated, exact):
    reasons = ["", "", "", "the prompt asks for a village"]
    assert log_line(calibrated, reasons) == "exact: corrected 3 of 4; left alone 1: the prompt asks for a village"
    for cfg in (4.0, 1.0):
        assert f"calibrated at CFG 2 only, and CFG {cfg:g} is far from it" in log_line(calibrated, [""], cfg)
    assert log_line(calibrated, [""], 3.9) == log_line(calibrated, [""], 1.1) == "exact: corrected 1 of 1"
    assert "not calibrated" in log_line(exact(), [""], 2.0)


def test_the_log_line_says_that_the_correction_harms(calibrated):
    harmful = replace(calibrated, calibrations=(replace(calibrated.calibrations[0], spread=1.2),))
    said = log_line(harmful, [""], 2.0)
    assert "the correction harms pictures of Orvane at CFG 2" in said and "Use a lower strength" in said
    assert "harms" not in log_line(harmful, ["asked for"], 2.0)


def test_the_log_line_tells_only_of_harm_at_the_runs_cfg_scale_and_of_the_groups_that_are_corrected(calibrated):
    orvane = replace(calibrated.calibrations[0], spread=1.2)
    harmful = replace(calibrated, calibrations=(orvane, replace(orvane, cfg=7.0), replace(orvane, group="Tavelu")))
    line = log_line(harmful, [""], 2.0)
    assert line.count("harms") == 1 and "Orvane at CFG 2" in line
    assert "Orvane at CFG 7" in log_line(harmful, [""], 7.5), "7.5 is nearly 7"
    assert "harms" not in log_line(harmful, [""], 4.0)
    said = summary(harmful, ["", "the prompt names nobody"], [1, 0], 2.0)
    assert "Tavelu" in said and "Orvane" not in said


def test_the_log_line_says_if_the_weights_are_not_those_that_were_calibrated(calibrated):
    weights = {"unet.conv": torch.randn(64, 64), "unet.norm": torch.ones(64)}
    own, other = (fingerprint({name: scale * value for name, value in weights.items()}) for scale in (1.0, 1.01))
    measured = replace(calibrated, calibrations=(replace(calibrated.calibrations[0], checkpoint=own),))
    assert "calibrated on another checkpoint" in log_line(measured, [""], 2.0, model=other)
    for same in (own, fingerprint({name: value.bfloat16() for name, value in weights.items()}), ""):
        assert "another checkpoint" not in log_line(measured, [""], 2.0, model=same)


def test_the_decision_follows_the_lean_and_keeps_the_groups_base_rate(exact):
    preference, count = replace(exact(), calibrations=(seeing(0.3, 3.0),)), 8
    lean = torch.linspace(-2, 1, count)
    decision, reasons = decide(preference, [named(0)] * count, torch.rand(count), 0.5, 2.0, lean)
    chosen = decision.active.tolist()
    assert any(chosen) and chosen == sorted(chosen)
    assert [why == "" for why in reasons] == chosen
