"""The method's own numbers, written out: no constant is imported from the code, so a changed one fails here."""

import math
from dataclasses import replace

import pytest
import torch

from corrector.correction.decision import Decided, Decision, decide, notes
from corrector.correction.memory import Memory
from corrector.correction.run import Run
from corrector.correction.thinning import coins_from_noise, coins_from_seeds, first_lean, level_of, thinned
from corrector.correction.update import Settings, correct, drift
from corrector.latents.fingerprint import fingerprint, same_weights
from corrector.latents.skin import skin_mask
from corrector.latents.spaces import LATENT_SPACES, denoised_from_output, fit_mask, noise_level, scale_input
from corrector.latents.statistics import denoising_error, rate
from corrector.learning.calibrate import calibrate
from corrector.learning.pairs import PairError, Pairs, make_pairs, refuse_broken
from corrector.learning.points import Points, sample_points
from corrector.learning.tone import Tilt, tone_gradient, tone_power, tone_slopes, tone_weight
from corrector.learning.training import batch_of, patch_of, train_distilled, train_judge
from corrector.preference.calibration import Calibration, between
from corrector.preference.judge import Judge
from corrector.preference.networks import Distilled, Reading, along
from corrector.preference.preference import Preference
from corrector.preference.prompt_gate import PromptGate, PromptReading
from gaussian_host import GaussianHost

MEASURED = Calibration("Orvane", 2.0, 0.3, 400, 0.9, 400)


class Constant:
    """A source with the same belief q and a push of length 1 for all latents."""

    has_weights = False

    def __init__(self, belief=0.5):
        self.log_odds = math.log(belief / (1 - belief))

    def read(self, x, sigma, group, conditional):
        return Reading(torch.full((len(x),), self.log_odds), torch.ones_like(x))

    def in_run(self, evaluate):
        return self


class GateOf:
    """A gate that reads the same group from each prompt."""

    def __init__(self, group):
        self.group = group

    def read(self, regions):
        return PromptReading(self.group, "neither")


@pytest.fixture
def constant(axis):
    return Preference(axis, "miniature", Constant(), training={"tone_slopes": {}})


def everyone(count, chance=0.0, tone=0.0):
    columns = torch.full((count,), chance), torch.full((count,), tone)
    return Decision(torch.ones(count, dtype=torch.bool), torch.zeros(count, dtype=torch.long), *columns)


# correction/update


def change(preference, sigma, cfg=1.0, **settings):
    """How far each picture at sigma [B] is moved."""
    x, sigma = torch.zeros(len(sigma), 1, 2, 2), torch.tensor(sigma)
    corrected = correct(x, x, sigma, [preference], [everyone(len(x))], Settings(**settings), cfg)
    return corrected[:, 0, 0, 0].tolist()


@pytest.mark.parametrize("strength", [0.5, 1.0, 1.6, 2.0])
def test_push_is_strength_times_cfg_and_a_half_times_the_opening(constant, strength):
    opening = [0.5, 0.75, 0.875]  # 1 - q^n with n = 1 + 2 / (1 + sigma^2): 1, 2 and 3
    moved = change(constant, [1e4, 1.0, 1e-4], cfg=3.0, strength=strength)
    assert moved == pytest.approx([3.5 * strength * part for part in opening], rel=1e-4)
    assert change(constant, [1e4], cfg=1.2) == pytest.approx([2.0 * 0.5]), "CFG scales below 1.5 count as 1.5"


def test_window_includes_both_of_its_edges(constant):
    moved = change(constant, [5.01, 5.0, 3.0, 1.0, 0.99], window=(5.0, 1.0))
    assert [bool(value) for value in moved] == [False, True, True, True, False]


@pytest.mark.parametrize(
    "belief, chance, opening", [(0.2, 0.0, 0.8), (0.2, 0.3, 1 - 0.2 / 0.7), (0.2, 1.0, 0.6), (0.9, 1.0, 0.0)]
)
def test_gate_of_a_picture_closes_by_its_belief_over_its_chance(belief, chance, opening):
    reading = Constant(belief).read(torch.zeros(1, 1, 1, 1), None, None, None)
    assert float(drift(reading, everyone(1, chance), k=2.0)) == pytest.approx(2 * opening, abs=1e-6)
    toned = replace(reading, tone=torch.ones(1, 1, 1, 1))
    added = float(drift(toned, everyone(1, chance, tone=-3.0), k=2.0)) - float(drift(reading, everyone(1, chance), 2.0))
    assert added == pytest.approx(-3 * (1 - chance) ** 2, abs=1e-6)


def test_each_preference_moves_its_own_pictures(constant):
    x, everybody = torch.zeros(3, 1, 2, 2), everyone(3)
    actives = torch.tensor([[True, False, False], [False, True, False]])
    decisions = [replace(everybody, active=active) for active in actives]
    corrected = correct(x, x, torch.full((3,), 1e4), [constant] * 2, decisions, Settings(), 3.0)
    assert corrected[:, 0, 0, 0].tolist() == pytest.approx([1.75, 1.75, 0.0], rel=1e-4)


def test_cap_is_the_largest_rms_of_a_step(constant):
    assert change(constant, [1e4], cfg=3.0, cap=0.4) == pytest.approx([0.4])
    assert change(constant, [1e4], cfg=3.0, cap=1.8) == pytest.approx([1.75], rel=1e-4)


# correction/decision, correction/run


@pytest.mark.parametrize("strength, shown", [(0.74, False), (0.75, True)])
def test_picture_shows_the_counter_side_if_it_was_corrected_at_three_quarters_or_more(constant, strength, shown):
    assert Decided(0, True, "", 0.5, strength).shows_counter_side == shown
    assert not Decided(0, False, "", 0.5, strength).shows_counter_side


def test_decision_for_the_same_group_and_target_is_kept(constant):
    earlier = [Decided(0, False, "for a reason", 0.5), Decided(0, True, "", 0.5), Decided(1, False, "group", 0.5), None]
    decision, reasons = decide(constant, [None] * 4, torch.tensor([0.0, 0.9, 0.1, 0.8]), 0.5, earlier=earlier)
    assert reasons[:3] == ["for a reason", "", ""] and decision.active.tolist() == [False, True, True, False]
    decision, reasons = decide(constant, [None] * 4, torch.zeros(4), 1.0, earlier=earlier)
    assert decision.active.all() and reasons == [""] * 4, "another target share is decided anew"


@pytest.mark.parametrize("cfg, far", [(0.9, True), (1.0, False), (14.0, False), (14.1, True)])
def test_cfg_scale_is_far_beyond_twice_the_measured_ones(constant, cfg, far):
    preference = replace(constant, calibrations=(MEASURED, replace(MEASURED, cfg=7.0)))
    assert any("far from it" in note for note in notes(preference, [""], [0], cfg)) == far


def test_strongest_correction_of_all_stages_counts(constant):
    def stage(strength, before, target=1.0):
        settings, coins = Settings(strength=strength, target=target), torch.tensor([0.1, 0.9])
        run, x = Run([constant], settings, coins, [[]] * 2, before=before, memory=Memory()), torch.zeros(2, 4, 8, 8)
        run.correct(x, x, torch.ones(2))
        return run

    second = stage(0.1, stage(1.0, None))
    assert [decided[constant.axis.hash].strength for decided in second.decided()] == [1.0, 1.0]
    assert stage(1.0, second, target=0.5).outcomes()[0].startswith("left alone"), "both show the counter side already"


def test_picture_out_of_scope_keeps_the_decision_of_an_earlier_stage(constant):
    for group, kept in ((-1, 0), (1, 1)):
        first, second = (
            Run([replace(constant, gate=GateOf(read))], Settings(), torch.zeros(1), [[]], memory=Memory())
            for read in (0, group)
        )
        x = torch.zeros(1, 4, 8, 8)
        first.correct(x, x, torch.ones(1))
        second.earlier = first.decided()
        second.correct(x, x, torch.ones(1))
        assert second.decided()[0][constant.axis.hash].group == kept


def test_chance_is_read_from_the_predictions_before_other_nodes_changed_them(constant):
    preference = replace(constant, calibrations=(replace(LEANING, lean_guidance=2.0),))
    run, x = Run([preference], Settings(), torch.zeros(1), [[]], memory=Memory()), torch.ones(1, 4, 8, 8)
    run.correct(5 * x, x, torch.tensor([10.0]), 3.0, 0.1 * x, 0 * x)
    lean = 0.0 + 2.0 * (3 * 0.1 - 0.1)  # log-odds, and guidance along the push
    assert float(run.decisions[0].chance) == pytest.approx(1 / (1 + math.exp(-0.7 - 3 * lean)), rel=1e-5)


@pytest.mark.parametrize("noise, remembered", [(0.05, 1), (0.5, 2)])
def test_last_prediction_is_remembered_beside_a_result_that_holds_noise(constant, noise, remembered):
    run, x = Run([constant], Settings(), torch.zeros(1), [[]], memory=Memory()), torch.ones(1, 4, 8, 8)
    last = run.correct(x, x, torch.ones(1))
    run.finish(last + noise * last.abs().mean())
    assert len(run.memory.runs) == remembered


# correction/thinning


def test_coins_are_those_of_every_version():
    seeds = [0, 1, 42, 2**31]
    assert coins_from_seeds(seeds).tolist() == pytest.approx([0.486553, 0.976573, 0.309989, 0.361122], abs=1e-5)
    assert coins_from_seeds([42], seed=1).tolist() == pytest.approx([0.506931], abs=1e-5)
    noise = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    assert coins_from_noise(noise).tolist() == pytest.approx([0.425449, 0.831785, 0.288708], abs=1e-5)
    assert coins_from_noise(noise, seed=1).tolist() == pytest.approx([0.959937, 0.328215, 0.427674], abs=1e-5)


LEANING = replace(
    MEASURED, base_rate=0.6, full_rate=1.0, lean_slope=3.0, lean_offset=0.7, lean_spread=1.0, lean_sigma=10.0
)


@pytest.mark.parametrize("sigma, read", [(3.9, False), (4.1, True), (10.9, True), (11.1, False)])
def test_lean_is_read_from_0_4_to_1_1_of_the_calibrated_sigma(constant, sigma, read):
    preference, x = replace(constant, calibrations=(LEANING,)), torch.zeros(1, 4, 8, 8)
    lean = first_lean(preference, x, torch.tensor([sigma]), torch.tensor([0]), x, x, 2.0)
    assert (lean is not None) == read


def test_level_of_batches():
    chances = torch.tensor([[0.1, 0.2], [0.6, 0.8]])
    assert level_of(chances, 0.5) == pytest.approx(0.6) and level_of(chances, 0.4) == 0.0


def test_batches_above_their_target_are_corrected_as_often_as_pinned():
    coin, leans = torch.tensor([0.0]), torch.linspace(-3, 1, 401)
    chosen = [bool(thinned(coin, 0.5, LEANING, lean[None])) for lean in leans]
    assert sum(chosen) == 188 and chosen == sorted(chosen, reverse=True)


# correction/memory


def unit(seed):
    """A picture [1, 4, 6, 6] with mean 0 in each channel and a sum of squares of 1; too small for tiles."""
    picture = torch.randn(1, 4, 6, 6, generator=torch.Generator().manual_seed(seed))
    picture = picture - picture.mean(dim=(2, 3), keepdim=True)
    return picture / picture.norm()


def like(picture, likeness, seed=9):
    """A picture that explains `likeness` (R^2) of another."""
    return picture + (1 - likeness) ** 0.5 * unit(seed)


def found(memory, latents, context=None):
    return [decided and decided["axis"].reason for decided in memory.find(latents, context=context)]


def memory_of(*runs):
    """Runs, oldest first, whose pictures [B, ...] are remembered by the names "0", "1", ..."""
    memory = Memory()
    for name, latents in enumerate(runs):
        memory.keep(latents, [{"axis": Decided(0, False, str(name))} for _ in latents], context="job")
    return memory


@pytest.mark.parametrize(
    "likeness, context, name",
    [(0.76, None, "0"), (0.74, None, None), (0.01, "job", "0"), (-0.01, "job", None)],
)
def test_picture_is_found_from_a_likeness_of_three_quarters_or_above_zero_in_its_own_job(likeness, context, name):
    assert found(memory_of(like(unit(1), likeness)), unit(1), context) == [name]


@pytest.mark.parametrize("likeness, name", [(0.41, "0"), (0.39, None)])
def test_batch_in_its_order_is_found_from_a_mean_likeness_of_0_4(likeness, name):
    batch = torch.cat([unit(1), unit(2)])
    assert found(memory_of(torch.cat([like(unit(1), likeness), like(unit(2), likeness)])), batch) == [name] * 2


@pytest.mark.parametrize("older, name", [(0.84, "1"), (0.86, "0")])
def test_older_picture_must_be_more_alike_by_0_05(older, name):
    assert found(memory_of(like(unit(1), older), like(unit(1), 0.8)), unit(1)) == [name]


@pytest.mark.parametrize("later, name", [(1023, "0"), (1024, None)])
def test_1024_pictures_are_remembered(later, name):
    memory = memory_of(unit(1), *torch.randn(later, 1, 4, 1, 1))
    assert found(memory, unit(1)) == [name]


@pytest.mark.parametrize("later, name", [(127, "0"), (128, None)])
def test_128_pictures_are_compared(later, name):
    memory = memory_of(like(unit(1), 0.9), torch.randn(later, 4, 1, 1))
    assert found(memory, unit(1)) == [name]


@pytest.mark.parametrize("side, name", [(6, "0"), (5, None)])
def test_tile_has_at_least_six_cells_a_side(side, name):
    picture = torch.randn(1, 4, 12, 12, generator=torch.Generator().manual_seed(3))
    assert found(memory_of(picture), picture[..., 2 : 2 + side, 3 : 3 + side]) == [name]


def test_pictures_are_compared_at_32_cells_a_side():
    assert memory_of(torch.randn(1, 4, 96, 64)).runs[0].latents.shape[2:] == (32, 21)


# latents


def test_latent_spaces():
    spaces = {name: (space.channels, space.scale, space.shift, space.flow) for name, space in LATENT_SPACES.items()}
    assert spaces["sd15"] == (4, 0.18215, 0.0, False) and spaces["sdxl"] == (4, 0.13025, 0.0, False)
    assert spaces["sd3"] == (16, 1.5305, 0.0609, True) and spaces["flux"] == (16, 0.3611, 0.1159, True)


def test_relations_between_x_sigma_and_the_output():
    x, sigma = torch.full((1, 1, 1, 1), 2.0), torch.tensor([0.75])
    assert float(scale_input(x, sigma)) == pytest.approx(2 / 1.25)
    assert float(scale_input(x, sigma, flow=True)) == pytest.approx(2 / 0.625**0.5)
    assert float(noise_level(sigma)) == pytest.approx(math.log(0.75) / 4)
    assert float(noise_level(sigma, flow=True)) == pytest.approx(math.log(3) / 4)
    assert float(noise_level(torch.zeros(1))) == pytest.approx(math.log(1e-4) / 4)
    outputs = [float(denoised_from_output(0.5 * x, x, sigma, kind)) for kind in ("eps", "flow", "v")]
    assert outputs == pytest.approx([1.25, 1.25, 2 / 1.5625 - 0.75 / 1.25])


def test_mask_is_repeated_and_kept_within_0_and_1():
    mask = fit_mask(torch.tensor([[[0.2]], [[1.5]]]), torch.zeros(3, 4, 2, 2))
    assert mask[:, 0, 0, 0].tolist() == pytest.approx([0.2, 1.0, 0.2])


def test_skin_mask_reaches_a_tenth_of_the_sides_beyond_its_box():
    mask = skin_mask((4, 10, 10), (0.4, 0.4, 0.6, 0.6))
    assert mask[5].tolist() == pytest.approx([0, 0, 0, 1, 1, 1, 1, 0, 0, 0], abs=1e-5)


@pytest.mark.parametrize("factor, same", [(1.002, True), (1.006, False)])
def test_weights_that_differ_by_less_than_four_thousandths_are_the_same(factor, same):
    weights = {f"{i}": torch.randn(64, 64, generator=torch.Generator().manual_seed(i)) for i in range(8)}
    assert same_weights(fingerprint(weights), fingerprint({k: factor * v for k, v in weights.items()})) == same


def test_rate_has_a_wilson_interval_of_95_percent():
    assert rate(5, 20) == pytest.approx((0.25, 0.1119, 0.4687), abs=1e-4)


def test_denoising_error_is_at_sigma_one_half():
    host, seen = GaussianHost(), []
    host.denoise = lambda x, sigma, conditioning: seen.append(sigma) or torch.zeros_like(x)
    error = denoising_error(host, torch.ones(2, 4, 4, 4), None, [1, 2])
    assert seen[0].tolist() == [0.5, 0.5] and error.tolist() == [4.0, 4.0]


# preference


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Distilled("miniature", 2, width=16, blocks=1, rise=0.5).eval().requires_grad_(False)


def test_network_pushes_from_sigma_0_15_on_and_its_tone_push_falls_below(network):
    x, group = torch.randn(1, 4, 8, 8), torch.tensor([0])
    at = {sigma: network(x, torch.tensor([sigma]), group, x) for sigma in (0.149, 0.15, 0.075)}
    assert not at[0.149].push.any() and at[0.15].push.any()
    torch.testing.assert_close(at[0.075].tone, at[0.15].tone / 4)
    weighed = network.read(x, torch.tensor([0.15]), group, x).tone / at[0.15].tone
    assert float(weighed.median()) == pytest.approx((1 + 0.15**-2) ** 0.25, rel=1e-4)


def test_along_is_a_share_of_the_push():
    push = torch.randn(2, 4, 3, 3)
    torch.testing.assert_close(along(torch.stack([0.3 * push[0], -2 * push[1]]), push), torch.tensor([0.3, -2.0]))


@pytest.mark.parametrize(
    "measured, harms",
    [
        ({"distance": 1.0}, False), ({"distance": 1.01}, True), ({"distance": 1.01, "base_rate": 0.5}, False),
        ({"spread": 1.09}, False), ({"spread": 1.11}, True), ({"extremes": 0.91}, False), ({"extremes": 0.89}, True),
        ({"error": 1.5}, False), ({"error": 1.51}, True), ({"tone_drift": -2.0}, False), ({"tone_drift": 2.1}, True),
        ({"agreement": 0.9}, False), ({"agreement": 0.89}, True),
    ],
)  # fmt: skip
def test_correction_harms_beyond_these_figures(measured, harms):
    assert bool(replace(MEASURED, **measured).harm) == harms


def test_calibration_between_and_beyond_its_scales():
    calibrations = [replace(MEASURED, tone=1.0), replace(MEASURED, cfg=8.0, base_rate=0.1, tone=3.0)]
    tones = [between(calibrations, cfg).tone for cfg in (0.5, 1.0, 2.0, 4.0, 100.0)]
    assert tones == pytest.approx([0.0, 0.0, 1.0, 2.0, 3.0 + 0.6 * 2])
    assert between(calibrations, 4.0).base_rate == pytest.approx(1 / (1 + (7 / 3 * 9) ** 0.5))
    chance = LEANING.chance(torch.tensor([0.0, 1.0]))
    assert chance.tolist() == pytest.approx([1 / (1 + math.exp(-0.7)), 1 / (1 + math.exp(-3.7))])
    assert MEASURED.chance(torch.zeros(1)) == 0.3


def test_judge_says_counter_above_0_and_that_its_folds_agree():
    judge = Judge(4, width=2).requires_grad_(False)
    for fold, bias in enumerate((0.5, -0.2)):
        judge.networks[fold][-1].weight.zero_()
        judge.networks[fold][-1].bias.fill_(bias)
    latents = torch.zeros(3, 4, 8, 8)
    assert judge(latents).tolist() == pytest.approx([0.15] * 3) and judge.counter(latents).tolist() == [True] * 3
    assert judge.agreement(latents) == 0.0


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
    assert ("almost: Orvane" in gate_of(probability, 0.0).said(axis)) == almost
    assert PromptReading(0, "neither").open and not PromptReading(-1, "neither").open


# learning


def test_tone_slope_is_the_gap_over_the_variance_and_counts_at_most_four_deviations():
    tones = torch.tensor([-1.0, 0.0, 1.0]) + torch.tensor([[[0.0], [2.0]], [[0.0], [20.0]]])  # [G, 2, 3]
    slopes = tone_slopes(Pairs(torch.zeros(2, 2, 3, 1, 1, 1), tones, torch.zeros(2, 3)))
    spread = (8 / 11) ** 0.5  # of all tones within groups and sides
    assert slopes.tolist() == pytest.approx([-2 * spread, -4 * spread], rel=1e-5)


def test_tone_gradient_is_a_ridge_regression_and_zero_for_lightness_that_hardly_varies():
    latents = torch.randn(1, 2, 40, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    tones = 50 + 3 * latents[:, :, :, 0].mean(dim=(-1, -2))
    box = (0.3, 0.3, 0.7, 0.7)
    pairs = Pairs(latents, tones, torch.zeros(1, 40))
    assert float(tone_gradient(pairs, box).norm()) == pytest.approx(0.67343, rel=1e-3)
    _, shift = Tilt(pairs, box).at(torch.tensor([2.0]), torch.tensor([0]))
    assert float(shift[shift != 0].square().mean().sqrt()) == pytest.approx(2 * 0.079, rel=1e-4)
    flat = replace(pairs, lightness=50 + (tones - 50) * 0.099 / float((tones - tones.mean(dim=2, keepdim=True)).std()))
    assert not tone_gradient(flat, box).any()


def test_tone_weight_and_its_power():
    assert tone_weight(1.5, 5.0, 10.0) == pytest.approx(3.0) and tone_weight(1.5, 9.0, 10.0) == 8.0
    assert tone_weight(1.5, 9.99999, 10.0) == 1.5 and tone_weight(1.5, 5.0, 10.0, 0.5) == pytest.approx(6.0)
    powers = [tone_power((1.0, 2.0), (10 - 4, 10 - 4 * 2**power), 10.0) for power in (0.2, 0.8, 1.5)]
    assert powers == pytest.approx([0.5, 0.8, 1.0])


@pytest.fixture(scope="module")
def pairs(axis):
    return make_pairs(GaussianHost(), axis, 8, seed=4, cfg=1.0, steps=6)


@pytest.fixture(scope="module")
def points(axis, pairs):
    return sample_points(GaussianHost(), axis, pairs, 300, seed=3)


def test_points_of_a_seed(points, pairs):
    assert pairs.seeds[:, :2].tolist() == [[2124808501, 1095241025], [1693972046, 1337499214]]
    assert len(points.x) == 300 and points.evaluations == 1355 and points.sigma.min() >= 0.15
    columns = points.x, points.sigma, points.conditional, points.push, points.update, points.tone, points.weights
    squares = [float(column.double().square().mean()) for column in columns]
    assert squares == pytest.approx([26.378, 26.185, 0.15600, 0.13588, 0.084595, 0.0010917, 304.76], rel=1e-3)
    assert points.tone_power == pytest.approx(0.0013588, rel=1e-3)


def test_points_with_tiny_pushes_do_not_count_most():
    push, sigma = torch.tensor([1.0, 0.1]).view(2, 1, 1, 1), torch.tensor([1.5, 100.0])
    column = torch.zeros(2, 1, 1, 1)
    points = Points(column, sigma, torch.zeros(2), column, push, column, 0.001 * push, torch.zeros(2))
    assert points.weights.tolist() == pytest.approx([1.0, 20.0])
    assert points.tone_power == pytest.approx(0.01 * 1.01 / 2)


def test_networks_of_latents(points):
    assert [patch_of((4, side, side)) for side in (64, 95, 96, 128)] == [2, 2, 4, 4]
    assert [batch_of(64, (side, side)) for side in (8, 16, 32, 64)] == [64, 64, 16, 8]
    source, figures = train_distilled("miniature", 2, points, steps=1, seed=0)
    assert source.rise == 0.7 and source.config["patch"] == 2
    assert figures["held_out_points"] == 18 and figures["points"] == 300, "6 % of 50 runs"


def test_judge_is_measured_on_the_fold_that_it_has_not_seen():
    noise = torch.randn(1, 2, 16, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    judge, accuracy = train_judge(Pairs(noise, noise[..., 0, 0, 0], torch.zeros(1, 16)), seed=0, steps=60)
    sides = judge.counter(noise.flatten(0, 2)) == torch.tensor([0, 1]).repeat_interleave(16)
    assert accuracy < 0.75 < float(sides.float().mean()), "noise is learned by heart, and nothing else can be"


def test_one_picture_in_twenty_may_be_broken():
    refuse_broken(5, 100)
    refuse_broken(5, 40, planned=100)
    for broken in ((6, 100), (3, 50, 59)):
        with pytest.raises(PairError):
            refuse_broken(*broken)


def test_three_quarters_of_a_groups_pairs_are_whole(axis):
    for broken, enough in ((2, True), (3, False)):
        host, sample = GaussianHost(), GaussianHost().sample

        def partly(conditioning, seeds, sample=sample, host=host, broken=broken, **options):
            latents = sample(conditioning, seeds, **options)
            first, host.drawn = not hasattr(host, "drawn"), True
            latents[: broken if first else 0] = math.nan
            return latents

        host.sample, host.batch = partly, 50
        three = replace(axis, groups=("Orvane", "Tavelu", "Quilmari", "Zendoli"))
        if enough:
            assert make_pairs(host, three, 8, seed=1, steps=2).latents.shape[2] == 6
        else:
            with pytest.raises(PairError, match="Only 5 of 8 pairs of Orvane"):
                make_pairs(host, three, 8, seed=1, steps=2)


@pytest.mark.parametrize("count, measured", [(48, True), (46, False)])
def test_distance_needs_24_counter_pictures(axis, pairs, constant, count, measured):
    host, judge = GaussianHost(), train_judge(pairs, seed=0, steps=2)[0]
    one_group = replace(axis, groups=("Orvane",))
    preference = replace(constant, axis=one_group, source=host.world)
    (calibration,) = calibrate(host, preference, judge, count, cfgs=(2.0,)).calibrations
    assert (calibration.distance is not None) == measured and calibration.base_n == count


# hosts


def test_sigma_and_scale_of_a_schedulers_samples():
    diffusers = pytest.importorskip("diffusers")
    from corrector.hosts import schedulers

    betas = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    ddim = diffusers.DDIMScheduler(**betas, rescale_betas_zero_snr=True)
    assert schedulers.noise_level(ddim, 999) == pytest.approx((4096.0, 2.0**-12), rel=1e-4)
    assert schedulers.noise_level(diffusers.DDIMScheduler(**betas), 500) == pytest.approx((1.61828, 0.525673), rel=1e-4)
    for kind, scale in (("EulerDiscrete", False), ("DPMSolverMultistep", True)):
        scheduler = getattr(diffusers, f"{kind}Scheduler")(**betas)
        scheduler.set_timesteps(10)
        sigma, alpha = schedulers.noise_level(scheduler, scheduler.timesteps[0])
        assert sigma == pytest.approx(float(scheduler.sigmas[0])) and sigma > 9
        assert alpha == pytest.approx((sigma**2 + 1) ** -0.5 if scale else 1.0)
