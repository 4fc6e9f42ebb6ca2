"""Which images are corrected: coins, the stratified share, and the decision of a run with its reasons."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from corrector.correction import (
    chosen_images,
    coins_from_noise,
    coins_from_seeds,
    decide,
    mean_by_prompt,
    prompt_lean,
    summary,
    thinning_share,
)
from corrector.preference import Calibration, Text
from corrector.prompt_gate import OUT_OF_SCOPE, PromptReading

SHARES = st.floats(0, 1)


def noises(count, seed=0, shape=(4, 8, 12)):
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


def test_coins_from_noise_are_uniform():
    assert kstest(coins_from_noise(noises(4000)).numpy(), "uniform").pvalue > 0.01


def test_coins_from_seeds_are_uniform_also_for_neighbouring_seeds():
    assert kstest(coins_from_seeds(range(4000)).numpy(), "uniform").pvalue > 0.01
    assert (
        abs(float(torch.corrcoef(torch.stack([coins_from_seeds(range(4000)), coins_from_seeds(range(1, 4001))]))[0, 1]))
        < 0.05
    )


@pytest.mark.parametrize("scale", [14.6, 0.05])
def test_a_coin_does_not_depend_on_the_scale_of_the_noise(scale):
    torch.testing.assert_close(coins_from_noise(scale * noises(50)), coins_from_noise(noises(50)), rtol=0, atol=1e-6)


def test_an_image_has_the_same_coin_in_any_batch():
    noise = noises(9)
    alone = torch.cat([coins_from_noise(noise[i : i + 1]) for i in range(9)])
    torch.testing.assert_close(coins_from_noise(noise), alone, rtol=0, atol=1e-9)
    assert torch.equal(coins_from_seeds([5, 3, 8])[1:2], coins_from_seeds([3]))


def test_another_seed_of_the_thinning_gives_unrelated_coins():
    first, second = coins_from_noise(noises(2000)), coins_from_noise(noises(2000), seed=1)
    assert abs(float(torch.corrcoef(torch.stack([first, second]))[0, 1])) < 0.1
    assert not torch.equal(coins_from_seeds(range(9)), coins_from_seeds(range(9), seed=1))


def test_noise_of_nothing_gives_coins_and_no_nan():
    assert torch.isfinite(coins_from_noise(torch.zeros(2, 4, 8, 8))).all()
    assert len(coins_from_seeds([])) == 0


@given(st.integers(1, 40), SHARES, st.integers(0, 2**31))
def test_the_number_chosen_is_the_share_of_the_batch_rounded(count, share, seed):
    chosen = chosen_images(coins_from_seeds(range(seed, seed + count)), share)
    assert math.floor(share * count) <= int(chosen.sum()) <= math.ceil(share * count + 1e-9)


@given(st.integers(1, 20))
def test_a_share_of_one_chooses_all_and_of_zero_none(count):
    coins = coins_from_seeds(range(count))
    assert chosen_images(coins, 1.0).all() and not chosen_images(coins, 0.0).any()


@pytest.mark.parametrize("batch", [1, 3, 8])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.72])
def test_each_image_is_chosen_with_the_probability_that_is_the_share(batch, share):
    coins = coins_from_seeds(range(6000 // batch * batch)).view(-1, batch)
    chosen = torch.stack([chosen_images(row, share) for row in coins]).double()
    # Batches are independent: compare with the standard error over batches, in each position.
    for position in chosen.T:
        error = math.sqrt(share * (1 - share) / len(position))
        assert abs(float(position.mean()) - share) < 4 * error


def test_the_share_of_a_batch_of_eight_varies_far_less_than_the_binomial():
    coins = coins_from_seeds(range(8 * 400)).view(400, 8)
    shares = torch.stack([chosen_images(row, 0.44).double().mean() for row in coins])
    assert float(shares.std()) < 0.5 * math.sqrt(0.44 * 0.56 / 8)


def test_the_thinning_share_reaches_the_target_from_the_base_rate():
    for beta, target, full in ((0.05, 0.5, 1.0), (0.3, 0.75, 0.97), (0.0, 1.0, 1.0)):
        share = thinning_share(beta, target, full)
        assert share * full + (1 - share) * beta == pytest.approx(target)


def test_a_target_that_full_strength_does_not_reach_corrects_every_image():
    assert thinning_share(0.1, 1.0, 0.95) == 1.0


@given(SHARES, SHARES)
def test_a_group_above_its_target_is_left_alone(beta, target):
    share = thinning_share(beta, target)
    assert 0 <= share <= 1
    if beta >= target:
        assert share == 0


@pytest.fixture
def calibrated(exact):
    known = (
        Calibration("Orvane", 2.0, 0.05, 400, 1.0, 400, tone_gain=-3.0),
        Calibration("Tavelu", 2.0, 0.6, 400, 0.99, 400),
    )
    return replace(exact(), calibrations=known)


def named(group, explicit="neither"):
    return PromptReading(group, explicit)


def test_every_image_that_is_left_alone_has_a_reason_and_the_others_none(calibrated):
    readings = [named(0), named(0, "stereotype"), named(0, "counter"), named(OUT_OF_SCOPE)]
    decision, reasons = decide(calibrated, readings, torch.rand(4), cfg=2.0)
    assert decision.active.tolist() == [True, False, False, False]
    assert reasons == [
        "",
        "the prompt asks for a village",
        "the prompt asks for a city",
        "the prompt names nobody of Orvane, Tavelu",
    ]


def test_a_group_whose_base_rate_reaches_the_target_is_left_alone_and_told_why(calibrated):
    decision, reasons = decide(calibrated, [named(0)] * 4 + [named(1)] * 4, torch.rand(8), target=0.5, cfg=2.0)
    assert not decision.active[4:].any()
    assert reasons[4] == "the model already draws 60% of such Tavelu pictures on the counter side"
    assert int(decision.active[:4].sum()) in (1, 2)  # (0.5 - 0.05) / 0.95 of 4 = 1.9
    assert "target share" in next(reason for reason in reasons[:4] if reason)


def test_base_rate_and_tone_gain_come_from_the_groups_own_calibration(calibrated):
    decision, _ = decide(calibrated, [named(0), named(1)], torch.rand(2), cfg=2.0)
    torch.testing.assert_close(decision.base_rate, torch.tensor([0.05, 0.6]))
    torch.testing.assert_close(decision.tone_gain, torch.tensor([-3.0, 0.0]))


def test_the_calibration_at_the_nearest_cfg_scale_is_used(exact):
    known = tuple(Calibration("Orvane", cfg, cfg / 100, 400, 1.0, 400) for cfg in (2.0, 7.0))
    preference = replace(exact(), calibrations=known)
    assert preference.calibration("Orvane", 3.0).cfg == 2.0
    assert preference.calibration("Orvane", 6.0).cfg == 7.0
    assert preference.calibration("Tavelu", 6.0) is None


def test_a_preference_that_was_never_calibrated_shifts_no_prior_and_still_thins(exact):
    decision, _ = decide(exact(), [None] * 8, coins_from_seeds(range(8)), target=0.5)
    assert (decision.base_rate == 0.5).all()
    assert int(decision.active.sum()) == 4


def test_the_text_source_reads_the_models_own_q_so_its_base_rate_is_not_counted_twice(calibrated):
    text = replace(calibrated, source=Text(predict=None))
    decision, _ = decide(text, [named(0)] * 8, coins_from_seeds(range(8)), target=0.5, cfg=2.0)
    assert (decision.base_rate == 0.5).all()
    assert int(decision.active.sum()) in (3, 4)  # thinning still starts from the measured 0.05


def test_without_a_gate_every_prompt_is_in_scope(exact):
    decision, reasons = decide(exact(), [None, None], torch.rand(2))
    assert decision.active.all() and reasons == ["", ""]


def test_the_log_line_counts_the_corrected_and_says_why_others_were_left(calibrated):
    reasons = ["", "", "", "the prompt asks for a village"]
    assert summary(calibrated, reasons) == "exact: corrected 3 of 4; left alone 1: the prompt asks for a village"


def test_the_log_line_says_when_a_cfg_scale_was_never_measured_or_nothing_was(calibrated, exact):
    assert "CFG 7 was never measured, the calibration at 2 is used" in summary(calibrated, [""], cfg=7.0)
    assert summary(calibrated, [""], cfg=2.0) == "exact: corrected 1 of 1"
    assert "not calibrated" in summary(exact(), [""], cfg=2.0)


@pytest.mark.parametrize("batch", [1, 4, 8])
def test_images_of_unequal_shares_are_each_chosen_with_their_own_probability_and_the_batch_keeps_the_sum(batch):
    count = 8000 // batch * batch
    coins, shares = coins_from_seeds(range(count)).view(-1, batch), torch.linspace(0.05, 0.9, batch)
    chosen = torch.stack([chosen_images(row, shares) for row in coins]).double()
    np.testing.assert_allclose(chosen.mean(0), shares, atol=4 * 0.5 / (count / batch) ** 0.5)
    assert (chosen.sum(1) >= math.floor(float(shares.sum()))).all()
    assert (chosen.sum(1) <= math.ceil(float(shares.sum()))).all()


@given(st.integers(1, 12), st.integers(0, 2**31))
def test_a_share_of_zero_beside_others_is_never_chosen_and_one_of_one_always(count, seed):
    shares = torch.tensor([0.0, 1.0, 0.4] * count)
    chosen = chosen_images(coins_from_seeds(range(seed, seed + 3 * count)), shares)
    assert not chosen[0::3].any() and chosen[1::3].all()


def test_the_lean_is_what_the_prompt_adds_along_the_push(exact):
    preference = exact(shape=(4, 4, 4))
    x, sigma = 3.0 * noises(5, shape=(4, 4, 4)), torch.full((5,), 3.0)
    push = preference.source(x, sigma).push
    aside = torch.randn(push.shape, generator=torch.Generator().manual_seed(5))
    along = (aside * push).sum(dim=(1, 2, 3), keepdim=True) / push.square().sum(dim=(1, 2, 3), keepdim=True)
    added = torch.linspace(-1, 1, 5).view(-1, 1, 1, 1) * push + aside - along * push
    lean = prompt_lean(preference, x, sigma, torch.tensor([0, 0, -1, 1, 0]), added)
    torch.testing.assert_close(lean[[0, 1, 3, 4]], torch.tensor([-1.0, -0.5, 0.5, 1.0]), rtol=1e-4, atol=1e-4)
    assert lean[2].isnan()


def test_leans_of_one_prompt_are_averaged_and_an_unknown_one_stays_out():
    lean = torch.tensor([1.0, 2.0, 3.0, math.nan, math.nan])
    averaged, counts = mean_by_prompt(lean, ["a", "b", "a", "a", "c"])
    torch.testing.assert_close(averaged, torch.tensor([2.0, 2.0, 2.0, 2.0, math.nan]), equal_nan=True)
    assert counts.tolist() == [2, 1, 2, 2, 0]


SURE = dict(lean_slope=4.0, lean_mean=0.25, lean_spread=1.0, lean_noise=0.0)


def test_the_share_is_of_the_prompts_own_base_rate_where_its_lean_is_known(exact):
    known, count = Calibration("Orvane", 2.0, 0.5, 400, 1.0, 400, **SURE), 4000
    own = known.base_rate_at(torch.tensor([0.25, 0.5, 0.0, 9.0, -9.0, math.nan]), torch.tensor([1.0] * 5 + [0.0]))
    torch.testing.assert_close(own.logit(), torch.tensor([0.0, 1.0, -1.0, 2.0, -2.0, 0.0]), atol=1e-4, rtol=0)
    preference = exact(calibrations=(known,))
    lean = torch.tensor([0.5, 0.0]).repeat(count // 2), torch.ones(count)
    decision, _ = decide(preference, [named(0)] * count, coins_from_seeds(range(count)), 0.75, 2.0, lean)
    for start, logit in ((0, 1.0), (1, -1.0)):
        beta = 1 / (1 + math.exp(-logit))
        corrected = float(decision.active[start::2].float().mean())
        assert beta + corrected * (1 - beta) == pytest.approx(0.75, abs=0.02)
    assert (decision.base_rate == 0.5).all()  # the gate on the picture keeps the group's
    few = torch.tensor([0.5, 0.0]), torch.ones(2)
    assert not decide(preference, [named(0)] * 2, torch.rand(2), 0.5, 2.0, few)[0].active.any()  # the group is fine
    fine, why = decide(preference, [named(0)] * 2, torch.rand(2), 0.7, 2.0, few)
    assert not fine.active[0] and "already draws 73% of such Orvane pictures" in why[0]


@pytest.mark.parametrize("base_rate", [0.05, 0.6])
def test_the_base_rates_of_many_prompts_average_to_the_groups(base_rate):
    known = Calibration("Orvane", 2.0, base_rate, 400, 1.0, 400, **{**SURE, "lean_spread": 0.2, "lean_noise": 0.2})
    noise = torch.randn(2, 20000, generator=torch.Generator().manual_seed(0))
    lean = 0.25 + 0.2 * noise[0] + 0.2 * noise[1] / 2  # means of 4 pictures
    assert float(known.base_rate_at(lean, torch.full_like(lean, 4)).mean()) == pytest.approx(base_rate, abs=0.01)
    assert known.base_rate_at(torch.tensor([math.nan]), torch.zeros(1)) == pytest.approx(base_rate, abs=1e-4)


def test_a_noisy_lean_shifts_by_the_part_of_it_that_is_the_prompts():
    known = Calibration("Orvane", 2.0, 0.5, 400, 1.0, 400, **{**SURE, "lean_spread": 0.1, "lean_noise": 0.2})
    shift = known.base_rate_at(torch.tensor([0.5, 0.5]), torch.tensor([1.0, 4.0])).logit()
    # 1/5 and 1/2 of 4 * 0.25; what of the prompts' variance, 0.16, is still unknown draws them a little to the middle.
    still = (1 + math.pi / 8 * 0.16 * torch.tensor([0.8, 0.5])).sqrt()
    torch.testing.assert_close(shift, torch.tensor([0.2, 0.5]) / still, atol=1e-4, rtol=0)
    alike = Calibration("Orvane", 2.0, 0.5, 400, 1.0, 400, **{**SURE, "lean_spread": 0.0, "lean_noise": 0.2})
    assert alike.base_rate_at(torch.tensor([0.9]), torch.tensor([8.0])) == 0.5
