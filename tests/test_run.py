"""One run of any host: it decides once, keeps what earlier stages decided, corrects at every call and reports."""

import pytest
import torch
import torch.nn.functional as F

from corrector.correction.memory import Memory
from corrector.correction.run import OFF, OUTSIDE, Run
from corrector.correction.update import CorrectionError, Settings
from corrector.gate.prompt_gate import PromptReading

COUNT, SHAPE = 8, (4, 8, 8)


class Gate:
    """Reads a prompt that is a tensor [1, 1, 1]: 0 the group, 1 out of scope, 2 asks for the stereotype."""

    def read(self, regions):
        value = int(regions[0])
        return PromptReading(-1 if value == 1 else 0, "stereotype" if value == 2 else "neither")


@pytest.fixture
def preference(exact):
    made = exact(shape=SHAPE)
    made.gate = Gate()
    return made


def prompts(*values):
    return [[torch.full((1, 1, 1), float(value))] for value in values or [0] * COUNT]


def run_of(preference, memory, start=None, target=0.5, seed=0, asked=None, **more):
    coins = torch.rand(COUNT if start is None else len(start), generator=torch.Generator().manual_seed(seed))
    asked = asked or prompts(*[0] * len(coins))
    return Run([preference], Settings(target=target), coins, asked, start=start, memory=memory, **more)


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


def test_it_decides_once_and_a_target_below_one_leaves_pictures_bit_identical(preference):
    run, calls = run_of(preference, Memory()), []
    x = torch.randn(COUNT, *SHAPE, generator=torch.Generator().manual_seed(1))
    for sigma in (10.0, 3.0):
        denoised = torch.zeros_like(x)
        result = run.correct(denoised, x, torch.full((COUNT,), sigma), 2.0)
        calls.append([not torch.equal(one, zero) for one, zero in zip(result, denoised, strict=True)])
    assert calls[0] == calls[1] == [mark == "C" for mark in outcome(run)]
    assert 0 < sum(calls[0]) < COUNT


def test_a_later_stage_keeps_what_the_first_decided(preference):
    memory = Memory()
    first = run_of(preference, memory, context="graph")
    made = sampled(first)
    for seed in range(1, 6):
        later = run_of(preference, memory, made, seed=seed, context="graph")
        sampled(later, seed, (2.0, 0.5))
        assert outcome(later) == outcome(first) and later.unknown == 0
        assert outcome(run_of_alone(preference, seed)) != outcome(first), "by itself it would decide otherwise"


def run_of_alone(preference, seed):
    run = run_of(preference, Memory(), seed=seed)
    sampled(run, seed)
    return run


def test_pictures_that_are_not_known_are_said_and_decided_anew(preference):
    start = torch.randn(COUNT, *SHAPE, generator=torch.Generator().manual_seed(7))
    run = run_of(preference, Memory(), start)
    sampled(run)
    assert run.unknown == COUNT and "were not made by an earlier run" in run.report()[-1]
    whole = run_of(preference, Memory(), start, target=1.0)
    sampled(whole)
    assert len(whole.report()) == 1, "at target 1 nothing is decided by seeds"
    assert len(run_of_alone(preference, 0).report()) == 1, "an empty latent comes from nowhere"


def test_a_run_of_the_same_pictures_that_the_host_knows_is_kept_to(preference):
    first = run_of(preference, Memory())
    sampled(first)
    later = run_of(preference, Memory(), seed=4, before=first)
    sampled(later, 4)
    assert outcome(later) == outcome(first)


def test_what_the_prompt_of_a_stage_asks_for_comes_first(preference):
    memory, first = Memory(), run_of(preference, Memory(), target=1.0)
    first.memory = memory
    made = sampled(first)
    asked = prompts(0, 1, 2, 0, 0, 0, 0, 0)
    later = run_of(preference, memory, made, asked=asked, seed=3, target=1.0)
    sampled(later, 3)
    assert outcome(later) == "CLL" + "C" * 5
    assert "names nobody" in later.reasons[0][1] and "asks for a village" in later.reasons[0][2]
    third = run_of(
        preference, memory, sampled(run_of(preference, memory, made, target=1.0, asked=asked)), seed=5, target=1.0
    )
    sampled(third, 5)
    assert outcome(third) == "CCL" + "C" * 5, "who was out of scope is still the first stage's, who asked stays asked"


def test_a_raised_target_corrects_more_and_a_lowered_one_leaves_alone_what_shows_the_counter_side_already(preference):
    memory, first = Memory(), run_of(preference, Memory(), target=0.5)
    first.memory = memory
    made = sampled(first)
    assert outcome(first).count("C") == 4
    for target, corrected in ((1.0, 8), (0.75, 6), (0.5, 4), (0.25, 0)):
        later = run_of(preference, memory, made, seed=7, target=target)
        sampled(later, 7)
        assert outcome(later).count("C") == corrected
        if target >= 0.5:
            assert all(b == "C" for a, b in zip(outcome(first), outcome(later), strict=True) if a == "C")
    made = sampled(later, 7)
    again = run_of(preference, memory, made, seed=8, target=1.0)
    sampled(again, 8)
    assert outcome(again) == "C" * 8, "what a lowered target left alone is decided anew as well"


@pytest.mark.parametrize("settings", [dict(strength=0.01), dict(window=(0.2, 0.1))], ids=["weakly", "not at all"])
def test_what_was_hardly_corrected_does_not_count_as_showing_the_counter_side(preference, settings):
    memory = Memory()
    coins = torch.rand(COUNT, generator=torch.Generator().manual_seed(0))
    first = Run([preference], Settings(**settings), coins, prompts(*[0] * COUNT), memory=memory)
    later = run_of(preference, memory, sampled(first), seed=7, target=0.5)
    sampled(later, 7)
    assert outcome(later).count("C") == 4


def test_another_strength_corrects_the_same_pictures_with_it(preference):
    memory, first = Memory(), run_of(preference, Memory(), target=0.5)
    first.memory = memory
    made = sampled(first)
    coins = torch.rand(COUNT, generator=torch.Generator().manual_seed(9))
    later = Run([preference], Settings(strength=0.5, target=0.5), coins, prompts(*[0] * COUNT), made, memory=memory)
    sampled(later, 9)
    assert outcome(later) == outcome(first)


def test_two_axes_are_remembered_apart(preference, exact, axis):
    from dataclasses import replace

    memory, other = Memory(), exact(shape=SHAPE)
    other.axis = replace(axis, id="other", title="Other")
    first = run_of(preference, memory)
    made = sampled(first)
    second = run_of(other, memory, made, seed=2)
    sampled(second, 2)
    third = run_of(preference, memory, made, seed=3)
    sampled(third, 3)
    assert outcome(third) == outcome(first)


def test_outside_its_window_it_says_that_nothing_was_corrected(preference):
    run = Run([preference], Settings(window=(0.2, 0.1)), torch.zeros(1), prompts(0), memory=Memory())
    x = torch.randn(1, *SHAPE)
    assert run.correct(x, x, torch.ones(1)) is x and run.reasons == [[OUTSIDE]]
    assert run.outcomes() == [f"left alone, {OUTSIDE}"] and "corrected 0 of 1" in run.report()[0]


def test_before_its_first_call_there_is_nothing_to_report(preference):
    run = run_of(preference, Memory())
    run.finish()
    assert run.report() == run.outcomes() == run.reasons == [] and not run.memory.runs


def test_a_change_is_the_corrected_less_the_plain_and_none_where_nothing_acts(preference):
    x, sigma = torch.randn(COUNT, *SHAPE, generator=torch.Generator().manual_seed(1)), torch.full((COUNT,), 3.0)
    denoised = torch.randn(x.shape)
    whole = run_of(preference, Memory(), target=1.0).correct(denoised, x, sigma, 2.0)
    run = run_of(preference, Memory(), target=1.0)
    torch.testing.assert_close(run.change(x, sigma, 2.0, denoised, lambda: denoised), whole - denoised)
    run.finish()
    torch.testing.assert_close(run.memory.runs[0].latents, whole)
    nobody = run_of(preference, Memory(), asked=prompts(*[1] * COUNT))
    assert nobody.change(x, sigma, 2.0, denoised, lambda: denoised) is None


def test_each_picture_has_its_own_strength_and_is_told_that_it_is_off(preference):
    coins, x = torch.zeros(2), torch.randn(2, *SHAPE)
    run = Run([preference], Settings(strength=torch.tensor([0.0, 1.0])), coins, prompts(0, 0), memory=Memory())
    corrected = run.correct(torch.zeros_like(x), x, torch.full((2,), 3.0))
    assert torch.equal(corrected[0], torch.zeros(SHAPE)) and corrected[1].any()
    assert run.outcomes() == [f"left alone, {OFF}", "corrected"]
    with pytest.raises(CorrectionError, match="3 strengths for 2 pictures"):
        Run([preference], Settings(strength=torch.ones(3)), coins, prompts(0, 0), memory=Memory())


def test_another_batch_than_the_announced_is_refused(preference):
    x = torch.randn(3, *SHAPE)
    with pytest.raises(CorrectionError, match="samples 3 pictures, but announced 8"):
        run_of(preference, Memory()).correct(x, x, torch.ones(3))


def test_latents_of_video_are_refused(preference):
    x = torch.randn(COUNT, 4, 2, 8, 8)
    with pytest.raises(CorrectionError, match=r"5 dimensions.*not videos"):
        run_of(preference, Memory()).correct(x, x, torch.ones(COUNT))


def test_a_run_of_a_sampler_that_does_not_tell_is_over_when_sigma_rises_again(preference):
    run, x = run_of(preference, Memory()), torch.randn(COUNT, *SHAPE)
    levels = [(10.0, False), (3.0, False), (5.0, False), (1.0, False), (10.0, True)]
    assert [run.over(x, torch.full((COUNT,), sigma)) for sigma, _ in levels] == [over for _, over in levels]
    assert run.over(x[:2], torch.full((2,), 0.5))
