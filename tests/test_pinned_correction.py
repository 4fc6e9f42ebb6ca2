"""The correction's own numbers, written out: no constant is imported from the code, so a changed one fails here."""

import math
from dataclasses import replace

import pytest
import torch

from corrector.correction.decision import Decision, PastDecision, decide
from corrector.correction.first_look import first_look
from corrector.correction.memory import Memory
from corrector.correction.run import Run
from corrector.correction.thinning import coins_from_noise, coins_from_seeds, level_of, thinned
from corrector.correction.update import Settings, correct, update_scale
from corrector.gate.prompt_gate import PromptReading
from corrector.preference.calibration import Calibration
from corrector.preference.preference import Preference

MEASURED = Calibration("Orvane", 2.0, 0.3, 400, 0.9, 400)


class Constant:
    """A source with the same update for all latents."""

    has_weights = True

    def update(self, x, sigma, group, conditional):
        return torch.full_like(x, 0.5)


class GateOf:
    """A gate that reads the same group from each prompt."""

    def __init__(self, group):
        self.group = group

    def read(self, regions):
        return PromptReading(self.group, "neither")


@pytest.fixture
def constant(axis):
    return Preference(axis, "miniature", Constant())


def everyone(count):
    everywhere = torch.ones(count, dtype=torch.bool)
    return Decision(everywhere, torch.zeros(count, dtype=torch.long), torch.zeros(count), ~everywhere)


# correction/update


def change(preference, sigma, cfg=2.0, **settings):
    """How far each picture at sigma [B] is moved."""
    x, sigma = torch.zeros(len(sigma), 1, 2, 2), torch.tensor(sigma)
    corrected = correct(x, x, sigma, [preference], [everyone(len(x))], Settings(**settings), cfg)
    return corrected[:, 0, 0, 0].tolist()


@pytest.mark.parametrize("strength", [0.5, 1.0, 1.6, 2.0])
def test_change_is_strength_times_scale_times_the_update_at_all_sigmas(constant, strength):
    assert change(constant, [1e4, 2.0, 1e-4], 3.0, strength=strength) == pytest.approx([1.5 * strength] * 3)


@pytest.mark.parametrize("cfg, least", [(0.0, 0.0), (0.5, 0.875), (1.0, 1.75), (1.5, 1.75), (2.0, 2.0), (7.0, 7.0)])
def test_scale_is_the_cfg_scale_and_at_least_1_75_for_a_network(constant, cfg, least):
    assert update_scale(cfg, least=True) == pytest.approx(least) and update_scale(cfg, least=False) == cfg
    assert change(constant, [1e4], cfg) == pytest.approx([least / 2])


def test_window_includes_both_of_its_edges(constant):
    moved = change(constant, [5.01, 5.0, 3.0, 1.0, 0.99], window=(5.0, 1.0))
    assert [bool(value) for value in moved] == [False, True, True, True, False]


def test_each_preference_moves_its_own_pictures(constant):
    x, everybody = torch.zeros(3, 1, 2, 2), everyone(3)
    actives = torch.tensor([[True, False, False], [False, True, False]])
    decisions = [replace(everybody, active=active) for active in actives]
    corrected = correct(x, x, torch.full((3,), 1e4), [constant] * 2, decisions, Settings(), 3.0)
    assert corrected[:, 0, 0, 0].tolist() == pytest.approx([1.5, 1.5, 0.0])


def test_picture_of_strength_0_stays_and_a_mask_is_a_factor(constant):
    x = torch.full((2, 1, 2, 2), 0.1).half()
    settings = Settings(strength=torch.tensor([0.0, 1.0]), mask=torch.full((1, 1, 2, 2), 0.6))
    asked, update = [], constant.source.update
    constant.source.update = lambda x, *rest: asked.append(len(x)) or update(x, *rest)
    moved = correct(x, x, torch.full((2,), 1e4), [constant], [everyone(2)], settings, 3.0) - x
    assert moved[:, 0, 0, 0].tolist() == pytest.approx([0.0, 0.6 * 1.5], rel=2e-3) and asked == [1]


def test_cap_is_the_largest_rms_of_a_step(constant):
    assert change(constant, [1e4], 3.0, cap=0.4) == pytest.approx([0.4])
    assert change(constant, [1e4], 3.0, cap=1.6) == pytest.approx([1.5])


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


def test_decision_has_the_tone_of_the_calibration_and_closed_prompts_stay(constant):
    preference = replace(constant, calibrations=(replace(MEASURED, tone=-2.5),))
    readings = [PromptReading(0, "neither"), PromptReading(0, "counter"), PromptReading(-1, "neither")]
    decision, reasons = decide(preference, readings, torch.zeros(3), cfg=2.0)
    assert decision.active.tolist() == [True, False, False] and [bool(why) for why in reasons] == [False, True, True]
    assert decision.tone.tolist() == [-2.5, 0.0, 0.0]


def test_tone_is_less_the_likelier_a_picture_shows_the_counter_side_anyway(constant):
    known, learned = replace(LEANING, tone=-2.0), replace(constant, training={"tones": {"Orvane": -2.0}})
    lean = torch.tensor([-10.0, 0.0])  # chances of 0 and 1 / (1 + e^-0.7)
    by_chance, _ = decide(replace(constant, calibrations=(known,)), [None] * 2, torch.zeros(2), lean=lean)
    assert by_chance.tone.tolist() == pytest.approx([-2.0, -2.0 * 0.331812], abs=1e-5)
    by_opening, _ = decide(learned, [None] * 2, torch.zeros(2), opening=torch.tensor([1.0, 0.25]))
    assert by_opening.tone.tolist() == pytest.approx([-2.0, -0.5])
    assert decide(learned, [None] * 2, torch.zeros(2))[0].tone.tolist() == [-2.0, -2.0], "neither is known"


def test_picture_is_left_alone_from_a_chance_of_0_97(constant):
    preference = replace(constant, calibrations=(replace(LEANING, lean_slope=1.0, lean_offset=0.0),))
    lean = torch.tensor([0.969, 0.971]).logit()
    decision, reasons = decide(preference, [None] * 2, torch.zeros(2), lean=lean)
    assert decision.active.tolist() == [True, False] and decision.fine.tolist() == [False, True]
    assert reasons == ["", "it shows a city anyway"]


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
    preference = replace(constant, calibrations=(replace(LEANING, lean_guidance=2.0, lean_offset=-3.0, tone=-2.0),))
    run, x = Run([preference], Settings(), torch.zeros(1), [[]], memory=Memory()), torch.ones(1, 4, 8, 8)
    run.correct(5 * x, x, torch.tensor([10.0]), 3.0, 0.1 * x, 0 * x)
    lean = 0.5 + 2.0 * (3 * 0.1 - 0.1)  # the update's size, and guidance along it
    tone = -2.0 * (1 - 1 / (1 + math.exp(3.0 - 3 * lean)))
    assert run.decisions[0].tone.tolist() == pytest.approx([tone], rel=1e-5)


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
    look = first_look(preference, x, torch.tensor([sigma]), torch.tensor([0]), x, x, 2.0)
    assert (look.lean is not None) == read and look.opening is None


def test_opening_is_the_updates_size_over_how_far_the_sides_are_apart(constant):
    sizes = {"sides_apart": {"Orvane": 2.0, "Tavelu": 0.4}}
    x, groups = torch.zeros(3, 4, 8, 8), torch.tensor([0, 1, -1])
    for calibrations in ((), (LEANING,)):
        preference = replace(constant, training=sizes, calibrations=calibrations)
        look = first_look(preference, x, torch.full((3,), 3.0), groups, x, x, 2.0)
        assert look.lean is None and look.opening.tolist() == pytest.approx([0.25, 1.0, 1.0])
    preference = replace(constant, training={"sides_apart": {"Orvane": 2.0}})
    look = first_look(preference, x, torch.full((3,), 3.0), groups, x, x, 2.0)
    assert look.opening.tolist() == pytest.approx([0.25, 1.0, 1.0]), "of the other group it is not known"


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
