"""Pairs, learning and calibration with a host that is exact: a world of two Gaussians that answers to prompts."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage.color import rgb2lab

from corrector.correction.decision import decide
from corrector.correction.sampled import first_leans, sample_corrected
from corrector.correction.thinning import leaning
from corrector.correction.update import Settings
from corrector.latent_space.skin import lightness, skin_mask
from corrector.learning import training
from corrector.learning.calibrate import _logistic_fit, calibrate
from corrector.learning.learn import accuracy_by_group, learn, sight, weakness
from corrector.learning.pairs import Pairs, make_pairs, match_tones
from corrector.preference.calibration import Calibration
from corrector.preference.file import load_preference, save_preference
from corrector.preference.networks import _silu
from corrector.preference.prompt_gate import PromptReading
from gaussian_host import PATTERN, SHAPE, GaussianHost


@pytest.fixture(scope="module")
def host():
    return GaussianHost()


@pytest.fixture(scope="module")
def learned(host, axis, one_thread):
    preference, judge = learn(host, axis, count=80, seed=0, cfg=1.0, teacher_count=1500, steps=250)
    return calibrate(host, preference, judge, count=60, cfg=1.0, trials=30), judge


def noisy(host, count=200):
    generator = torch.Generator().manual_seed(9)
    sigma = torch.logspace(-1, 1, count)
    x0 = host.world.draw(count, seed=9, beta=0.5).float()
    return x0 + sigma.view(-1, 1, 1, 1) * torch.randn(count, *SHAPE, generator=generator), sigma


def test_the_learned_push_is_the_worlds_own(host, learned):
    x, sigma = noisy(host)
    reading, exact = learned[0].source(x, sigma, torch.zeros(200, dtype=torch.long)), host.world(x, sigma)
    error = (reading.push - exact.push).square().mean() / exact.push.square().mean()
    assert error < 0.15
    assert learned[0].training["push_r2"] > 0.85


def test_the_learned_log_odds_side_with_the_exact_ones(host, learned):
    x, sigma = noisy(host)
    reading, exact = learned[0].source(x, sigma, torch.zeros(200, dtype=torch.long)), host.world(x, sigma)
    sure = exact.log_odds.abs() > 3
    assert ((reading.log_odds > 0) == (exact.log_odds > 0))[sure].float().mean() > 0.97


def test_calibration_finds_the_base_rate_and_the_rate_at_full_strength(learned, axis):
    preference, _ = learned
    assert [c.group for c in preference.calibrations] == list(axis.groups)
    for calibration in preference.calibrations:
        assert calibration.base_rate == pytest.approx(0.1, abs=0.12) and calibration.base_n == 60
        assert calibration.full_rate >= 0.95
        assert abs(calibration.tone_drift) < 1.0


@pytest.mark.parametrize("target", [0.5, 1.0])
def test_a_learned_preference_gives_the_target_share(host, learned, target):
    preference, _ = learned
    prompts, seeds = ["a portrait of a Tavelu person"] * 100, range(5000, 5100)
    latents, (reasons,) = sample_corrected(host, prompts, seeds, [preference], Settings(target=target), cfg=1.0)
    share = float(host.world.is_counter(latents.double()).double().mean())
    assert share == pytest.approx(target, abs=0.12)
    assert reasons.count("") == pytest.approx(100 * (target - 0.1) / 0.9, abs=15)


def test_the_learned_gate_shuts_for_a_prompt_that_asks(host, learned):
    prompts, seeds = ["a portrait of a Tavelu person in a village", "a tree"], range(2)
    latents, (reasons,) = sample_corrected(host, prompts, seeds, [learned[0]], Settings(), cfg=1.0)
    assert torch.equal(latents, host.sample(host.encode(prompts), seeds))
    assert reasons == ["the prompt asks for a village", "the prompt names nobody of Orvane, Tavelu"]


def test_the_judge_sides_with_the_exact_log_odds(host, learned):
    x0 = host.world.draw(200, seed=11, beta=0.5)
    assert (learned[1].counter(x0.float()) == host.world.is_counter(x0)).float().mean() > 0.97


def test_pictures_already_fine_are_taken_from_the_plain_ones_bit_for_bit(host, learned):
    prompts, seeds = ["a portrait of a Orvane person"] * 20, range(20)
    plain = host.sample(host.encode(prompts), seeds)
    fresh, reasons = sample_corrected(host, prompts, seeds, [learned[0]], Settings(target=0.5), cfg=1.0)
    reused, again = sample_corrected(host, prompts, seeds, [learned[0]], Settings(target=0.5), cfg=1.0, plain=plain)
    assert reasons == again
    torch.testing.assert_close(fresh, reused, rtol=1e-4, atol=1e-4)
    for index, why in enumerate(reasons[0]):
        if why:
            assert torch.equal(reused[index], plain[index])


def test_pairs_are_drawn_from_the_same_seeds(host, axis):
    pairs = make_pairs(host, axis, 3, seed=4, cfg=1.0, steps=6)
    assert pairs.latents.shape == (2, 2, 3, *SHAPE) and pairs.lightness.shape == (2, 2, 3)
    gap = (pairs.latents[:, 1] - pairs.latents[:, 0]).mean(dim=(0, 1))
    assert torch.corrcoef(torch.stack([gap.flatten(), PATTERN.flatten()]))[0, 1] > 0.95


def test_lightness_is_the_median_cie_l_of_the_region():
    pictures = torch.rand(5, 3, 20, 30, generator=torch.Generator().manual_seed(0)) * 2 - 1
    box = pictures[:, :, 4:10, 6:15]
    wanted = rgb2lab(((box + 1) / 2).permute(0, 2, 3, 1).double().numpy())[..., 0].reshape(5, -1)
    wanted = np.sort(wanted, axis=1)[:, (wanted.shape[1] - 1) // 2]  # torch's median is the lower one
    np.testing.assert_allclose(lightness(pictures, (0.2, 0.2, 0.5, 0.5)).numpy(), wanted, atol=0.05)


def test_the_skin_mask_covers_the_box_and_a_margin_and_parts_of_cells_at_its_edge():
    mask = skin_mask((3, 4, 10, 20), (0.4, 0.45, 0.6, 0.55))  # grown by 0.1: x 0.3..0.7, y 0.35..0.65
    assert mask.shape == (10, 20)
    torch.testing.assert_close(mask[4:6, 6:14], torch.ones(2, 8))
    torch.testing.assert_close(mask[3, 6:14], torch.full((8,), 0.5))  # half of the cells from y 0.3 to 0.4
    assert mask[:3].abs().max() < 1e-5 and mask[:, :6].abs().max() < 1e-5 and mask[:, 14:].abs().max() < 1e-5
    torch.testing.assert_close(skin_mask((4, 6, 6), (0, 0, 1, 1)), torch.ones(6, 6))


def test_the_learned_tone_push_stays_around_the_skin(host, learned, axis):
    x, sigma = noisy(host)
    tone = learned[0].source(x, sigma, torch.zeros(200, dtype=torch.long)).tone
    inside = skin_mask(SHAPE, axis.skin_region) > 0
    assert inside.any() and not inside.all()
    assert tone[..., ~inside].square().mean() < 0.05 * tone[..., inside].square().mean()


def test_matched_pictures_have_a_partner_of_their_tone_and_each_is_used_once():
    tones = torch.rand(1, 2, 40, generator=torch.Generator().manual_seed(1)) * 20
    pairs = Pairs(torch.zeros(1, 2, 40, 1, 1, 1), tones, torch.zeros(1, 40))
    ((stereotype, counter),) = match_tones(pairs, tolerance=1.5)
    assert len(stereotype) == len(counter) > 10
    assert len(set(stereotype)) == len(stereotype) and len(set(counter)) == len(counter)
    assert (tones[0, 0, stereotype] - tones[0, 1, counter]).abs().max() <= 1.5


def test_sight_is_where_held_out_accuracy_falls_below_95_in_100_on_a_line_in_log_sigma():
    assert sight({"0.5": 1.0, "4.0": 1.0, "8.0": 0.9}) == pytest.approx(4 * 2**0.5)
    assert sight({"0.5": 0.99, "14.0": 0.96}) == 14.0
    assert sight({"0.5": 0.9, "14.0": 0.6}) == 0.0


def test_a_few_held_out_pictures_move_a_group_from_the_others_only_as_far_as_they_show():
    curves = {group: {"0.1": [share, 1.0]} for group, share in (("a", 0.92), ("b", 1.0), ("c", 1.0), ("blind", 0.5))}
    few, many = (accuracy_by_group(curves, pictures) for pictures in (24, 4000))
    assert few["a"]["0.1"] == pytest.approx(0.96)  # the median: 22 of 24 might be that
    assert few["blind"]["0.1"] == pytest.approx(0.69, abs=0.01)  # the upper end of 12 of 24
    assert all(many[group]["0.1"] == pytest.approx(curves[group]["0.1"][0], abs=0.02) for group in curves)
    alone = {"a": {"0.1": [0.875, 1.0]}}
    assert accuracy_by_group(alone, 24)["a"]["0.1"] == 0.875


def test_each_group_has_a_sight_of_its_own_which_its_pictures_are_corrected_by(learned, axis):
    preference = replace(learned[0], training={"sight": {"Orvane": 2.0, "Tavelu": 3.5}})
    readings = [PromptReading(group, "neither") for group in (1, 0, -1)]
    decision, _ = decide(preference, readings, torch.full((3,), 0.5))
    assert decision.sight[:2].tolist() == [3.5, 2.0] and decision.active.tolist() == [True, True, False]
    assert set(learned[0].training["sight"]) == set(axis.groups)
    assert replace(preference, training={}).sight.isinf().all()
    assert replace(preference, training={"sight": 0.0}).sight.tolist() == [0.0, 0.0]  # an older file's, of all groups


def test_features_far_below_zero_bring_no_denormal_numbers_into_training():
    features = torch.linspace(-200, 20, 2201, requires_grad=True)
    told = _silu(features)
    told.sum().backward()
    assert features.grad[features.grad != 0].abs().min() > 1e-13
    assert (told - F.silu(features)).abs().max() < 3e-12


def test_the_file_says_held_out_accuracy_and_confidence_of_each_group_by_sigma(learned, axis):
    curves = learned[0].training["held_out_accuracy_and_confidence"]
    assert list(curves) == list(axis.groups)
    for group in axis.groups:
        accuracy, confidence = zip(*curves[group].values(), strict=True)
        assert accuracy[0] > 0.9 and accuracy[0] > accuracy[-1]  # nearly clean, and nearly noise
        assert all(abs(a - c) < 0.2 for a, c in zip(accuracy, confidence, strict=True))


def test_a_preference_says_what_it_is_weak_in_and_for_which_group():
    sound = {"0.1": [1.0, 1.0], "1.0": [0.97, 0.99], "14.0": [0.6, 0.6]}
    curves = {"one": sound, "two": sound, "three": sound}
    figures = {"held_out_accuracy_and_confidence": curves, "held_out_pictures_a_group": 40, "push_r2": 0.86}
    assert weakness(figures) == ""
    assert "30%" in weakness(figures | {"push_r2": 0.3}) and "nan" in weakness(figures | {"push_r2": float("nan")})
    blind = {**curves, "two": {"0.1": [0.7, 0.9], "1.0": [0.65, 0.8], "14.0": [0.5, 0.5]}}
    said = weakness(figures | {"held_out_accuracy_and_confidence": blind})
    assert "of 40 nearly clean held-out pictures a group it tells the side only in 65% for two (" in said


def test_the_file_brings_the_judge_that_calibration_needs(host, learned, tmp_path):
    preference, judge = learned
    save_preference(preference, tmp_path / "p.safetensors")
    loaded = load_preference(tmp_path / "p.safetensors")
    x0 = host.world.draw(100, seed=3, beta=0.5).float()
    assert torch.equal(loaded.judge.counter(x0), judge.counter(x0))
    assert loaded.calibrations == preference.calibrations


def test_calibration_stops_once_the_interval_is_narrow_enough_and_says_the_interval(host, learned):
    preference, judge = learned
    early = calibrate(host, preference, judge, count=300, cfg=1.0, trials=20, narrow=0.09)
    for calibration in early.calibrations:
        low, high = calibration.base_interval
        assert calibration.base_n == 200 and high - low <= 0.18 and low < calibration.base_rate < high
        assert "within reach" in calibration.reach(0.5)
        assert "already draws" in calibration.reach(0.01)


def test_a_target_out_of_reach_is_said_with_what_to_do():
    weak = Calibration("Orvane", 2.0, 0.05, 400, 0.6, 400, full_interval=(0.55, 0.65))
    assert "may be out of reach; full strength gives 60.0% of 400. Learn from more pairs" in weak.reach(0.75)


def test_calibration_learns_what_the_first_prediction_tells_of_how_a_picture_comes_out(host, learned, axis):
    preference = learned[0]
    for known in preference.calibrations:
        assert known.lean_sigma == pytest.approx(14.6) and known.lean_spread > 0
        assert known.lean_slope > 0
    prompts, seeds = ["a portrait of a Tavelu person"] * 60, range(900, 960)
    conditioning = host.encode(prompts)
    found = first_leans(host, preference, conditioning, seeds, 2.0, 0.5)
    x = torch.stack([torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed)) for seed in seeds]) * 14.6
    sigma, group = torch.full((60,), 14.6), torch.full((60,), axis.groups.index("Tavelu"))
    by_hand = leaning(host.denoise(x, sigma, conditioning), preference.source(x, sigma, group).push)
    torch.testing.assert_close(found, by_hand, rtol=0.01, atol=0.01)
    assert first_leans(host, preference, conditioning, seeds, 2.0, 1.0) is None


def test_a_logistic_fit_finds_slope_and_offset_and_keeps_to_its_prior_where_there_is_nothing_to_see():
    z = torch.tensor([-1.0, 1.0]).repeat(300)
    counter = torch.tensor([0.0, 1.0] * 270 + [1.0, 0.0] * 30)  # 0.1 and 0.9 of them
    slope, offset = _logistic_fit(z, counter.double(), 0.5)
    assert slope == pytest.approx(np.log(9.0), rel=0.03) and abs(offset) < 0.01
    slope, offset = _logistic_fit(torch.zeros(4), torch.tensor([0.0, 0.0, 0.0, 1.0]).double(), 0.25)
    assert slope == 0 and offset == pytest.approx(np.log(1 / 3), abs=0.01)


def test_training_resumes_from_its_checkpoint_with_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 2)

    def trained(path, stop=None):
        torch.manual_seed(0)
        network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.SiLU(), torch.nn.Linear(8, 1))

        def loss_of_step(step):
            if step == stop:
                raise KeyboardInterrupt
            x = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
            return (network(x) - x.sum(dim=1, keepdim=True)).square().mean()

        training.optimise(network, 7, loss_of_step, "", 1e-2, lambda step: 1 - step / 7, average=0.9, path=path)
        return network.state_dict()

    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "stopped.pt", stop=5)
    whole, resumed = trained(tmp_path / "whole.pt"), trained(tmp_path / "stopped.pt")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
