"""Numbers of what becomes of a run's pictures after its first step, written out: no constant is imported."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from asked_world import SHAPE as OF_WORLD
from asked_world import WorldModel
from corrector.correction import run_skin
from corrector.correction.asked import AskedSides
from corrector.correction.decision import PastDecision, decide
from corrector.correction.kept_skin import with_skin_of
from corrector.correction.run import Run
from corrector.correction.update import Settings
from corrector.correction.verdict import Verdict
from corrector.latents.skin import Pictures, lab_of
from corrector.preference.calibration import Calibration
from corrector.preference.preference import Preference
from corrector.preference.text import Text

SHAPE = (4, 8, 8)
SHOWN = Pictures(torch.Tensor.clone, torch.Tensor.clone)


def run_of(preference, **more):
    return Run([preference], Settings(), torch.rand(2), [[]] * 2, use_gate=False, **more)


@pytest.mark.parametrize("sigmas, seen", [((10.0, 4.0, 3.9), 1), ((10.0, 4.1, 4.0), 2), ((3.0, 2.0, 1.0), 0)])
def test_without_correction_the_last_prediction_for_the_prompt_at_4_or_more_would_be_drawn(
    exact, monkeypatch, sigmas, seen
):
    taken = []
    monkeypatch.setattr(run_skin, "with_skin_of", lambda before, made, *_: taken.append(before) or made)
    preference = exact(shape=SHAPE, training={"tones": {"Orvane": 3.0}})
    preference = replace(preference, axis=replace(preference.axis, skin_region=(0, 0, 1, 1)))
    run, conditional = run_of(preference, pictures=lambda: SHOWN), torch.randn(3, 2, *SHAPE)
    for sigma, prompted in zip(sigmas, conditional, strict=True):
        run.correct(prompted + 1, sigma * torch.randn(2, *SHAPE), torch.full((2,), sigma), 2.0, prompted, prompted)
    run.finished(conditional[0])
    assert torch.equal(taken[0], conditional[seen])


@pytest.mark.parametrize("cosine, corrected", [(0.2, True), (0.4, False)])
def test_a_picture_that_is_fine_by_its_preview_is_corrected_at_once_below_a_likeness_of_0_3_of_the_noise(
    axis, monkeypatch, cosine, corrected
):
    monkeypatch.setattr(AskedSides, "verdict", lambda _, made, noises: Verdict(torch.ones(len(made))))
    run = run_of(Preference(axis, "any", Text(), name="asks"), asks=WorldModel(), steps=20)
    noise, other = torch.linalg.qr(torch.randn(2, OF_WORLD[0] * 16, 2)).Q.unbind(dim=2)
    noise, other = (each.view(-1, *OF_WORLD) for each in (noise, other))
    plain = torch.zeros(2, *OF_WORLD)
    run.correct(plain, 14 * noise, torch.full((2,), 14.0))
    assert run.outcomes() == ["left alone, it shows a city anyway"] * 2
    x = 10 * (cosine * noise + (1 - cosine**2) ** 0.5 * other)
    run.correct(plain, x, torch.full((2,), 10.0))
    assert (run.outcomes() == ["corrected"] * 2) == corrected


def test_a_picture_that_an_earlier_stage_corrected_stays_so_whatever_its_chance(exact):
    sure = Calibration("Orvane", 2.0, 0.5, 400, 1.0, 400, lean_slope=1.0, lean_sigma=10.0)
    preference = exact(shape=SHAPE, calibrations=(sure,))
    earlier = [PastDecision(0, True, ""), None]
    _, reasons = decide(preference, [None] * 2, torch.rand(2), 1.0, 2.0, torch.full((2,), 9.0), earlier)
    assert reasons == ["", "it shows a city anyway"]


@pytest.mark.parametrize("points", [-4.0, 4.0])
def test_a_vae_that_takes_over_two_thirds_of_a_change_is_given_half_as_much_again(points):
    def encode(pictures):
        return F.pad(2 / 3 * pictures, (0, 0, 0, 0, 0, 1))

    pictures = Pictures(lambda latents: latents[:, :3], encode, invertible=False)
    skin = torch.tensor([0.3, 0.0, -0.2, 0.0]).view(4, 1, 1).expand(1, 4, 16, 16)
    kept = with_skin_of(skin, skin, pictures, (0, 0, 1, 1), torch.tensor([points]))
    change = (lab_of(kept[:, :3]) - lab_of(skin[:, :3]))[..., 0]
    torch.testing.assert_close(change, torch.full((1, 16, 16), points), rtol=0, atol=0.2)


def test_darker_skin_is_harm_from_2_points_on():
    measured = Calibration("Orvane", 2.0, 0.1, 84, 0.9, 84)
    assert "2.1 points of L* darker" in replace(measured, tone_drift=-2.1).harm
    assert not replace(measured, tone_drift=-1.9).harm


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_repainted_pictures_in_half_precision_are_finished_in_it(exact, monkeypatch, dtype):
    monkeypatch.setattr(run_skin, "with_skin_of", lambda before, made, *_: made.float() + 1)
    preference = exact(shape=SHAPE, training={"tones": {"Orvane": 3.0}})
    preference = replace(preference, axis=replace(preference.axis, skin_region=(0, 0, 1, 1)))
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 4:] = 1
    run, x = run_of(preference, pictures=lambda: SHOWN, repainted=mask), torch.randn(2, *SHAPE).to(dtype)
    run.correct(x, x, torch.full((2,), 5.0), 2.0)
    finished = run.finished(x)
    assert finished.dtype == dtype and torch.equal(finished[..., :4], x[..., :4]) and (finished > x)[..., 4:].all()


@pytest.mark.parametrize("invertible", [True, False])
def test_a_run_says_if_skin_was_set_in_rough_colours(exact, monkeypatch, invertible):
    monkeypatch.setattr(run_skin, "with_skin_of", lambda before, made, *_: made + 1)
    preference = exact(shape=SHAPE, training={"tones": {"Orvane": 3.0}})
    preference = replace(preference, axis=replace(preference.axis, skin_region=(0, 0, 1, 1)))
    run, x = run_of(preference, pictures=lambda: replace(SHOWN, invertible=invertible)), torch.randn(2, *SHAPE)
    run.correct(x, x, torch.full((2,), 5.0), 2.0)
    assert run_skin.ROUGH not in run.notes()
    run.finished(x)
    assert (run_skin.ROUGH in run.notes()) == (run_skin.ROUGH in run.report()) == (not invertible)
