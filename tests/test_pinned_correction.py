"""The correction's own numbers, written out: no constant is imported from the code, so a changed one fails here."""

import math
from dataclasses import replace

import pytest
import torch

from corrector.correction.decision import Decision, PastDecision, decide
from corrector.correction.memory import Memory
from corrector.correction.run import Run
from corrector.correction.thinning import coins_from_noise, coins_from_seeds, first_lean, level_of, thinned
from corrector.correction.update import Settings, correct, drift
from corrector.gate.prompt_gate import PromptReading
from corrector.preference.calibration import Calibration
from corrector.preference.networks import Reading
from corrector.preference.preference import Preference

MEASURED = Calibration("Orvane", 2.0, 0.3, 400, 0.9, 400)


class Constant:
    """A source with the same belief q and a push of length 1 for all latents."""

    has_weights = False

    def __init__(self, belief=0.5):
        self.log_odds = math.log(belief / (1 - belief))

    def read(self, x, sigma, group, conditional):
        return Reading(torch.full((len(x),), self.log_odds), torch.ones_like(x))


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
    everywhere = torch.ones(count, dtype=torch.bool)
    return Decision(everywhere, torch.zeros(count, dtype=torch.long), *columns, ~everywhere)


# correction/update


def change(preference, sigma, cfg=1.0, **settings):
    """How far each picture at sigma [B] is moved."""
    x, sigma = torch.zeros(len(sigma), 1, 2, 2), torch.tensor(sigma)
    corrected = correct(x, x, sigma, [preference], [everyone(len(x))], Settings(**settings), cfg)
    return corrected[:, 0, 0, 0].tolist()


@pytest.mark.parametrize("strength", [0.5, 1.0, 1.6, 2.0])
def test_push_is_strength_times_cfg_and_a_half_times_the_opening(constant, strength):
    opening = [0.5, 0.62107, 0.75, 0.875]  # 1 - q^n with n = 1 + 2 / (1 + sigma^2): 1, 1.4, 2 and 3
    moved = change(constant, [1e4, 2.0, 1.0, 1e-4], cfg=3.0, strength=strength)
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


def test_picture_of_strength_0_stays_and_a_mask_is_a_factor(constant):
    x = torch.full((2, 1, 2, 2), 0.1).half()
    settings = Settings(strength=torch.tensor([0.0, 1.0]), mask=torch.full((1, 1, 2, 2), 0.6))
    reads, read = [], constant.source.read
    constant.source.read = lambda x, *rest: reads.append(len(x)) or read(x, *rest)
    moved = correct(x, x, torch.full((2,), 1e4), [constant], [everyone(2)], settings, 3.0) - x
    assert moved[:, 0, 0, 0].tolist() == pytest.approx([0.0, 0.6 * 1.75], rel=2e-3) and reads == [1]


def test_cap_is_the_largest_rms_of_a_step(constant):
    assert change(constant, [1e4], cfg=3.0, cap=0.4) == pytest.approx([0.4])
    assert change(constant, [1e4], cfg=3.0, cap=1.8) == pytest.approx([1.75], rel=1e-4)


# correction/decision, correction/run


@pytest.mark.parametrize("strength, shown", [(0.74, False), (0.75, True)])
def test_picture_shows_the_counter_side_if_it_was_corrected_at_three_quarters_or_more(constant, strength, shown):
    assert PastDecision(0, True, "", 0.5, strength).shows_counter_side == shown
    assert not PastDecision(0, False, "", 0.5, strength).shows_counter_side


def test_decision_for_the_same_group_and_target_is_kept(constant):
    earlier = [
        PastDecision(0, False, "for a reason", 0.5),
        PastDecision(0, True, "", 0.5),
        PastDecision(1, False, "group", 0.5),
        None,
    ]
    decision, reasons = decide(constant, [None] * 4, torch.tensor([0.0, 0.9, 0.1, 0.8]), 0.5, earlier=earlier)
    assert reasons[:3] == ["for a reason", "", ""] and decision.active.tolist() == [False, True, True, False]
    decision, reasons = decide(constant, [None] * 4, torch.zeros(4), 1.0, earlier=earlier)
    assert decision.active.all() and reasons == [""] * 4, "another target share is decided anew"


def test_decision_has_the_chance_and_tone_of_the_calibration_and_closed_prompts_stay(constant):
    preference = replace(constant, calibrations=(replace(MEASURED, tone=-2.5),))
    readings = [PromptReading(0, "neither"), PromptReading(0, "counter"), PromptReading(-1, "neither")]
    decision, reasons = decide(preference, readings, torch.zeros(3), cfg=2.0)
    assert decision.active.tolist() == [True, False, False] and [bool(why) for why in reasons] == [False, True, True]
    assert decision.chance.tolist() == pytest.approx([0.3, 0.3, 0.0]) and float(decision.tone[0]) == -2.5


@pytest.mark.parametrize("strength, corrected", [(0.75, [False, False]), (0.74, [False, True])])
def test_picture_that_shows_the_counter_side_counts_for_another_target(constant, strength, corrected):
    earlier = [PastDecision(0, True, "", 1.0, strength), None]
    decision, _ = decide(constant, [None] * 2, torch.tensor([0.4, 0.2]), 0.5, earlier=earlier)
    assert decision.active.tolist() == corrected


@pytest.mark.parametrize("start, unknown", [(torch.ones(1, 4, 8, 8), 0), (torch.eye(8).expand(1, 4, 8, 8), 1)])
def test_latents_of_an_empty_picture_are_not_looked_up(constant, start, unknown):
    run = Run([constant], Settings(), torch.zeros(1), [[]], start, memory=Memory())
    assert run.unknown == unknown


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
        second._earlier = first.decided()
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
    assert len(run.memory.pictures) == remembered


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


@pytest.mark.parametrize("coin, target, chosen", [(0.001, 0.7, False), (0.0003, 0.4, True)])
def test_last_picture_is_chosen_by_the_coin_of_the_batch(coin, target, chosen):
    assert thinned(torch.tensor([coin]), target).tolist() == [chosen], "the coin is the fraction of 997 times the sum"


def test_pictures_that_lean_most_to_the_counter_side_are_corrected_first():
    assert thinned(torch.zeros(2), 0.5, LEANING, torch.tensor([-3.0, -2.0])).tolist() == [False, True]


@pytest.mark.parametrize("target, spread, count", [(0.5, 1.0, 188), (0.8, 2.0, 299)])
def test_pictures_are_corrected_as_often_as_pinned(target, spread, count):
    coin, leans, calibration = torch.tensor([0.0]), torch.linspace(-3, 1, 401), replace(LEANING, lean_spread=spread)
    chosen = [bool(thinned(coin, target, calibration, lean[None])) for lean in leans]
    assert sum(chosen) == count and chosen == sorted(chosen, reverse=True)


# correction/memory


def unit(seed):
    """A picture [1, 4, 8, 8] with mean 0 in each channel and a sum of squares of 1."""
    picture = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(seed))
    picture = picture - picture.mean(dim=(2, 3), keepdim=True)
    return picture / picture.norm()


def like(picture, likeness, seed=9):
    """A picture that explains `likeness` (R^2) of another."""
    return picture + (1 - likeness) ** 0.5 * unit(seed)


def memory_of(*runs):
    """Runs, oldest first, whose pictures [B, ...] are remembered by the names "0", "1", ..."""
    memory = Memory()
    for name, latents in enumerate(runs):
        memory.keep(latents, [{"axis": PastDecision(0, False, str(name))} for _ in latents], context="job")
    return memory


def found(memory, latents, context=None, mask=None):
    return [decided and decided["axis"].reason for decided in memory.find(latents, mask, context)]


@pytest.mark.parametrize(
    "likeness, context, name", [(0.86, None, "0"), (0.84, "other", None), (0.21, "job", "0"), (0.19, "job", None)]
)
def test_picture_is_found_from_a_likeness_of_0_85_or_0_2_in_its_own_job(likeness, context, name):
    assert found(memory_of(like(unit(1), likeness)), unit(1), context) == [name]


@pytest.mark.parametrize("older, name", [(0.954, "1"), (0.956, "0")])
def test_newest_of_pictures_counts_that_are_alike_to_two_decimals(older, name):
    assert found(memory_of(like(unit(1), older), like(unit(1), 0.951)), unit(1)) == [name]


@pytest.mark.parametrize("later, name", [(1023, "0"), (1024, None)])
def test_1024_pictures_are_remembered(later, name):
    assert found(memory_of(unit(1), torch.zeros(later, 4, 1, 1)), unit(1)) == [name]


def test_pictures_are_compared_at_8_cells_a_side_and_without_what_is_repainted():
    assert memory_of(torch.randn(1, 4, 96, 64)).pictures[0].cells.shape == (4, 8, 8)
    picture = unit(1).repeat_interleave(2, dim=3)
    mask = (torch.arange(16) < 7).float().expand(1, 1, 8, 16)  # to the middle of a cell
    assert found(memory_of(picture), picture + 9 * mask, mask=mask) == ["0"]
