"""One run of any host: it decides once, keeps what earlier stages decided, corrects at every call and reports."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from corrector.correction.memory import Memory
from corrector.correction.record import corrections_of
from corrector.correction.run import Run
from corrector.correction.update import CorrectionError, Settings
from corrector.gate.prompt_gate import PromptGate, PromptReading
from corrector.latents.skin import Pictures, lab_of
from corrector.preference.calibration import Calibration

COUNT, SHAPE = 8, (4, 8, 8)
WINDOW_MISSED = "the window contains none of this run's steps"


class Gate(PromptGate):
    """Reads a prompt that is a tensor [1, 1, 1]: 0 the group, 1 out of scope, 2 asks for the stereotype."""

    def __init__(self):
        super().__init__(1, 2, 1, in_scope=0.8, asked=0.5)

    def read(self, regions):
        value = int(regions[0])
        return PromptReading(-1 if value == 1 else 0, "stereotype" if value == 2 else "neither")


@pytest.fixture
def preference(exact):
    preference = exact(shape=SHAPE)
    preference.gate = Gate()
    return preference


@pytest.fixture
def memory():
    return Memory()


@pytest.fixture
def run_of(preference, memory):
    """`run_of(start, target, seed, asked)` -> a Run that shares the memory of the others, with other coins a seed."""

    def make(start=None, target=0.5, seed=0, asked=(0,) * COUNT, preference=preference, **more):
        coins = torch.rand(len(asked), generator=torch.Generator().manual_seed(seed))
        prompts = [[torch.full((1, 1, 1), float(value))] for value in asked]
        settings = more.pop("settings", Settings(target=target))
        return Run([preference], settings, coins, prompts, start=start, **{"memory": memory, **more})

    return make


def sampled(run, seed=0, sigmas=(10.0, 3.0, 0.5)):
    """A short run of Euler's method with a model that predicts smooth pictures -> what it made."""
    generator, count = torch.Generator().manual_seed(seed), len(run.coins)
    pictures = F.interpolate(torch.randn(count, SHAPE[0], 4, 4, generator=generator), SHAPE[1:], mode="bicubic")
    denoised = None
    for sigma in sigmas:
        x = pictures + sigma * torch.randn(pictures.shape, generator=generator)
        denoised = run.correct(pictures.clone(), x, torch.full((count,), sigma), 2.0)
    run.finish(denoised)
    return denoised


def outcome(run):
    return "".join("L" if why else "C" for why in run.reasons[0])


def outcome_of(run, seed=0):
    sampled(run, seed)
    return outcome(run)


def test_it_decides_once_and_a_target_below_one_leaves_pictures_bit_identical(run_of):
    run, calls = run_of(), []
    x = torch.randn(COUNT, *SHAPE, generator=torch.Generator().manual_seed(1))
    for sigma in (10.0, 3.0):
        denoised = torch.zeros_like(x)
        result = run.correct(denoised, x, torch.full((COUNT,), sigma), 2.0)
        calls.append([not torch.equal(one, zero) for one, zero in zip(result, denoised, strict=True)])
    assert calls[0] == calls[1] == [mark == "C" for mark in outcome(run)]
    assert 0 < sum(calls[0]) < COUNT


def test_a_later_stage_keeps_what_the_first_decided(run_of):
    first = run_of(context="graph")
    made = sampled(first)
    for seed in range(1, 4):
        later = run_of(made, seed=seed, context="graph")
        assert outcome_of(later, seed) == outcome(first) and later.unknown == 0
        alone = run_of(seed=seed, memory=Memory())
        assert outcome_of(alone, seed) != outcome(first), "by itself it would decide otherwise"


def test_a_run_that_the_host_knows_to_be_of_the_same_pictures_keeps_its_decisions(run_of):
    first = run_of(memory=Memory())
    assert outcome_of(first) == outcome_of(run_of(seed=4, before=first), 4)


def test_unknown_pictures_are_noted_and_decided_anew(run_of):
    start = torch.randn(COUNT, *SHAPE, generator=torch.Generator().manual_seed(7))
    run, whole, empty = run_of(start), run_of(start, target=1.0), run_of(torch.zeros_like(start))
    for each in (run, whole, empty):
        sampled(each)
    assert run.unknown == COUNT and "were not made by an earlier run" in run.report()[-1]
    assert len(whole.report()) == 1, "at target 1 nothing is decided by seeds"
    assert len(empty.report()) == 1, "an empty latent comes from nowhere"


def test_the_prompt_of_a_stage_has_priority(run_of):
    made = sampled(run_of(target=1.0))
    asked = (0, 1, 2, 0, 0, 0, 0, 0)
    later = run_of(made, asked=asked, seed=3, target=1.0)
    second = sampled(later, 3)
    assert outcome(later) == "CLL" + "C" * 5
    assert "names nobody" in later.reasons[0][1] and "asks for a village" in later.reasons[0][2]
    third = outcome_of(run_of(second, seed=5, target=1.0), 5)
    assert third == "CCL" + "C" * 5, "an earlier stage's decision holds for the same group and target only"


def test_a_raised_target_corrects_more_and_a_lowered_one_leaves_alone_what_shows_the_counter_side(run_of):
    first = run_of(target=0.5)
    made = sampled(first)
    assert outcome(first).count("C") == 4
    for target, corrected in ((1.0, 8), (0.75, 6), (0.5, 4), (0.25, 0)):
        later = run_of(made, seed=7, target=target)
        second = sampled(later, 7)
        assert outcome(later).count("C") == corrected
        if target >= 0.5:
            assert all(b == "C" for a, b in zip(outcome(first), outcome(later), strict=True) if a == "C")
    assert outcome_of(run_of(second, seed=8, target=1.0), 8) == "C" * 8, "after a lowered target as well"


@pytest.mark.parametrize(
    "settings, corrected",
    [(dict(strength=0.74), 4), (dict(strength=0.75), 0), (dict(window=(0.2, 0.1)), 4)],
    ids=["weakly", "strongly", "not at all"],
)
def test_what_was_corrected_at_a_strength_of_three_quarters_counts_as_showing_the_counter_side(
    run_of, settings, corrected
):
    first = run_of(settings=Settings(**settings))
    assert outcome_of(run_of(sampled(first), seed=7, target=0.5), 7).count("C") == corrected


def test_another_strength_corrects_the_same_pictures_with_it(run_of):
    first = run_of()
    made = sampled(first)
    weaker = run_of(made, seed=9, settings=Settings(strength=0.5, target=0.5))
    assert outcome_of(weaker, 9) == outcome(first)


def test_two_axes_are_remembered_apart(run_of, preference, axis):
    first = run_of()
    made = sampled(first)
    outcome_of(run_of(made, seed=2, preference=replace(preference, axis=replace(axis, id="other", title="Other"))), 2)
    assert outcome_of(run_of(made, seed=3), 3) == outcome(first)


def test_outside_its_window_it_reports_that_nothing_was_corrected(run_of):
    run, x = run_of(asked=(0,), settings=Settings(window=(0.2, 0.1))), torch.randn(1, *SHAPE)
    assert run.correct(x, x, torch.ones(1)) is x and run.reasons == [[WINDOW_MISSED]]
    assert run.outcomes() == [f"left alone, {WINDOW_MISSED}"] and "corrected 0 of 1" in run.report()[0]


def test_before_its_first_call_there_is_nothing_to_report(run_of, memory):
    run = run_of()
    run.finish()
    assert run.report() == run.outcomes() == run.reasons == [] and not memory.pictures


def test_a_change_is_the_corrected_less_the_plain_and_none_where_nothing_acts(run_of, memory):
    x, sigma = torch.randn(COUNT, *SHAPE, generator=torch.Generator().manual_seed(1)), torch.full((COUNT,), 3.0)
    denoised = torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    whole = run_of(target=1.0).correct(denoised, x, sigma, 2.0)
    run = run_of(target=1.0)
    torch.testing.assert_close(run.change(x, sigma, 2.0, denoised, lambda: denoised), whole - denoised)
    run.finish()
    assert memory.find(whole) == run.decided()
    nobody = run_of(asked=(1,) * COUNT)
    assert nobody.change(x, sigma, 2.0, denoised, lambda: denoised) is None


def test_each_picture_has_its_own_strength(run_of):
    run, x = run_of(asked=(0, 0), settings=Settings(strength=torch.tensor([0.0, 1.0]))), torch.randn(2, *SHAPE)
    corrected = run.correct(torch.zeros_like(x), x, torch.full((2,), 3.0))
    assert torch.equal(corrected[0], torch.zeros(SHAPE)) and corrected[1].any()
    assert run.outcomes() == ["left alone, its strength is 0", "corrected"]
    with pytest.raises(CorrectionError, match="3 strengths for 2 pictures"):
        run_of(asked=(0, 0), settings=Settings(strength=torch.ones(3)))


def orthogonal_noise():
    """Two directions of noise [COUNT, *SHAPE] whose cosine is 0."""
    noise, other = torch.randn(2, COUNT, *SHAPE, generator=torch.Generator().manual_seed(4))
    both = (each.flatten(1) / each.flatten(1).norm(dim=1, keepdim=True) for each in (noise, other))
    noise, other = both
    other = other - (noise * other).sum(dim=1, keepdim=True) * noise
    return noise.view(-1, *SHAPE) * 16, (other / other.norm(dim=1, keepdim=True)).view(-1, *SHAPE) * 16


@pytest.mark.parametrize("cosine, marks", [(1.0, "LLLL"), (0.96, "LLLL"), (0.94, "CCCC"), (0.0, "CCCC")])
def test_a_picture_that_is_fine_by_its_chance_is_corrected_where_the_sampler_adds_noise(
    run_of, preference, cosine, marks
):
    sure = Calibration("Orvane", 2.0, 0.5, 400, 1.0, 400, lean_slope=1e-3, lean_offset=9.0, lean_sigma=10.0)
    run, denoised = run_of(target=1.0, preference=replace(preference, calibrations=(sure,))), torch.zeros(COUNT, *SHAPE)
    noise, other = orthogonal_noise()
    assert run.correct(denoised, 10 * noise, torch.full((COUNT,), 10.0), 2.0) is denoised
    assert set(run.reasons[0]) == {"it shows a city anyway"}
    x = 3 * (cosine * noise + (1 - cosine**2) ** 0.5 * other)
    corrected = run.correct(denoised, x, torch.full((COUNT,), 3.0), 2.0)
    assert outcome(run) == 2 * marks and (corrected is denoised) == (marks == "LLLL")


SKIN = torch.tensor([0.3, 0.0, -0.2, 0.0]).view(4, 1, 1).expand(SHAPE)  # colours of a picture all over, and nothing
PICTURES = Pictures(lambda latents: latents[:, :3], lambda pictures: F.pad(pictures, (0, 0, 0, 0, 0, 1)))


@pytest.fixture
def darkening(preference):
    """It makes skin of Orvane darker by 3 points of L*."""
    return replace(preference, training={"tones": {"Orvane": -3.0, "Tavelu": 0.0}})


def skin_run(run, sigma=10.0):
    """A step of pictures that are skin all over -> points of L* by which `finished` changes each [COUNT, 8, 8]."""
    made = SKIN.repeat(COUNT, 1, 1, 1)
    run.correct(made, made + sigma, torch.full((COUNT,), sigma), 2.0)
    kept = run.finished(made)
    for corrected, before, after in zip(run.decisions[0].active, made, kept, strict=True):
        assert corrected or torch.equal(before, after)
    return (lab_of(PICTURES.decode(kept)) - lab_of(PICTURES.decode(made)))[..., 0]


@pytest.mark.parametrize("strength, points", [(0.5, 1.5), (1.0, 3.0), (2.0, 3.0)])
def test_a_finished_picture_gets_back_the_points_by_which_a_learned_preference_changed_its_skin(
    run_of, darkening, strength, points
):
    asked, mask = (0, 1, 2, 0, 0, 0, 0, 0), torch.ones(8, 8)
    mask[:, 4:] = 0
    settings = Settings(strength=torch.tensor([strength] * 7 + [0.0]), mask=mask)
    run = run_of(preference=darkening, asked=asked, settings=settings, pictures=lambda: PICTURES)
    change = skin_run(run)
    assert not change[[1, 2, 7]].any() and not change[..., 4:].any()
    torch.testing.assert_close(change[[0, 3], :, :4], torch.full((2, 8, 4), points), rtol=0, atol=0.1)


def test_a_picture_is_finished_as_it_is_if_no_tone_is_known_or_nothing_can_be_seen_or_was_corrected(
    run_of, darkening, preference
):
    made = torch.randn(COUNT, *SHAPE, generator=torch.Generator().manual_seed(2))
    runs = [
        run_of(preference=preference, pictures=lambda: PICTURES),
        run_of(preference=darkening),
        run_of(preference=darkening, pictures=lambda: None),
        run_of(preference=darkening, pictures=lambda: PICTURES, settings=Settings(window=(0.2, 0.1))),
    ]
    for run in runs:
        run.correct(made, made, torch.full((COUNT,), 10.0), 2.0)
        assert run.finished(made) is made


@pytest.mark.parametrize(
    "settings, owed",
    [({}, -3.0), ({"target": 0.99}, -3.0), ({"strength": 0.5}, -1.5), ({"window": (0.2, 0.1)}, 0.0)],
    ids=["fully", "for another target", "weakly", "not at all"],
)
def test_a_second_stage_takes_back_what_the_first_did_to_skin_and_left(run_of, darkening, settings, owed):
    first = run_of(preference=darkening, settings=Settings(**settings))
    assert not skin_run(first).any(), "its pictures are not finished"
    assert [past[darkening.axis.hash].tone for past in first.decided()] == [owed] * COUNT
    settled = darkening.training | {"sides_apart": {"Orvane": 1e9, "Tavelu": 1e9}}  # a tiny part of them is open
    second = run_of(
        preference=replace(darkening, training=settled), target=1.0, before=first, pictures=lambda: PICTURES
    )
    torch.testing.assert_close(skin_run(second, 3.0), torch.full((COUNT, 8, 8), -owed), rtol=0, atol=0.1)
    assert [past[darkening.axis.hash].tone for past in second.decided()] == [0.0] * COUNT
    third = run_of(preference=replace(darkening, training=settled), target=1.0, before=second)
    skin_run(third)
    assert third.decisions[0].tone.abs().max() < 1e-6


def test_another_batch_than_the_announced_and_video_latents_are_refused(run_of):
    x, video = torch.randn(3, *SHAPE), torch.randn(COUNT, 4, 2, 8, 8)
    with pytest.raises(CorrectionError, match="samples 3 pictures, but announced 8"):
        run_of().correct(x, x, torch.ones(3))
    with pytest.raises(CorrectionError, match=r"5 dimensions.*not videos"):
        run_of().correct(video, video, torch.ones(COUNT))


def test_a_run_whose_sampler_never_asks_it_has_no_record_and_no_outcome(run_of):
    run = run_of()
    run.finish(torch.zeros(COUNT, *SHAPE))
    assert corrections_of(run) == run.outcomes() == run.report() == []
