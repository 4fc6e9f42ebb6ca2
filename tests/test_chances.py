"""What the first step of a run tells of how its pictures will come out, and how calibration fits that."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from corrector.correction.first_look import first_look
from corrector.correction.sampled import first_predictions
from corrector.files.folders import WEIGHTS
from corrector.learning.chances import leans_from, logistic_fit
from corrector.miniature.host import Miniature
from corrector.preference.calibration import Calibration
from corrector.preference.file import load_preference
from gaussian_world import GaussianWorld

KNOWN = Calibration("Orvane", 2.0, 0.3, 400, 1.0, 400, lean_slope=2.5, lean_spread=1.0, lean_sigma=14.6)


def size(update):
    return update.square().mean(dim=(1, 2, 3)).sqrt()


def test_the_lean_is_the_size_of_the_first_update_and_what_guidance_adds_along_it(exact):
    known = replace(KNOWN, lean_guidance=3.0)
    preference = replace(exact(shape=(4, 4, 4)), calibrations=(known,))
    x, sigma, groups = (
        14.6 * torch.randn(3, 4, 4, 4, generator=torch.Generator().manual_seed(0)),
        torch.full((3,), 14.6),
        torch.tensor([0, -1, 1]),
    )
    update = preference.source.update(x, sigma)
    found = first_look(preference, x, sigma, groups, x, x + 0.25 * update, 2.0).lean
    torch.testing.assert_close(found[0], (1 + 3.0 * 0.25) * size(update)[0])
    torch.testing.assert_close(found[2], size(update)[2])  # of the other group nothing is known
    assert found[1].isnan()  # out of scope
    torch.testing.assert_close(first_look(preference, x, sigma, groups, x, x, 1.0).lean[0], size(update)[0])  # CFG 1


def test_a_picture_that_shows_the_counter_side_already_is_open_to_little_change(exact):
    sizes = {"sides_apart": {"Orvane": 0.5, "Tavelu": 0.5}}
    world, groups = GaussianWorld(means=(0.5, -0.5), spreads=(0.3, 0.3), shape=(4, 4, 4)), torch.tensor([0, 1])
    preference = exact(world, training=sizes)
    x, sigma = torch.stack([torch.full((4, 4, 4), mean) for mean in (0.5, -0.5)]), torch.full((2,), 0.7)
    look = first_look(preference, x, sigma, groups, x, x, 2.0)
    assert look.lean is None and look.opening.tolist() == pytest.approx([0.0, 1.0], abs=1e-3)


def test_the_lean_is_read_from_runs_that_start_a_little_lower_too_if_it_was_calibrated(exact):
    preference, groups = replace(exact(shape=(4, 4, 4)), calibrations=(KNOWN,)), torch.zeros(3).long()
    x = 14.6 * torch.randn(3, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    assert (
        first_look(preference, x, torch.full((3,), 10.3), groups, x, x, 2.0).lean is not None
    )  # DDIM's first of 16 steps
    assert first_look(preference, x, torch.full((3,), 4.0), groups, x, x, 2.0).lean is None  # img2img at a low denoise
    never = replace(preference, calibrations=(replace(KNOWN, lean_slope=0.0),))
    assert first_look(never, x, torch.full((3,), 14.6), groups, x, x, 2.0).lean is None


def test_guidance_adds_to_the_lean_in_proportion_to_the_cfg_scale_above_1():
    host, preference = Miniature(), load_preference(WEIGHTS / "miniature-backdrop.safetensors")
    conditioning, groups = host.encode(["a portrait of an Orvane person"] * 4), torch.zeros(4, dtype=torch.long)

    def leans(cfg):
        x, sigma, conditional, denoised = first_predictions(host, conditioning, range(4), cfg)
        return first_look(preference, x, sigma, groups, conditional, denoised, cfg).lean

    at_1, at_2, at_7 = map(leans, (1.0, 2.0, 7.0))
    assert preference.calibration("Orvane", 2.0).lean_slope < 0
    assert (at_2 > at_1).all()  # the model draws city backdrops less for Orvane than without a prompt
    torch.testing.assert_close(at_7 - at_1, 6 * (at_2 - at_1), rtol=1e-3, atol=1e-3)


def test_a_logistic_fit_finds_common_slopes_and_keeps_to_its_prior_where_there_is_nothing_to_see():
    z = np.tile([-1.0, 1.0], 300)
    told = np.stack([z, np.zeros_like(z)], axis=1)
    counter = np.array([0.0, 1.0] * 270 + [1.0, 0.0] * 30)  # 0.1 and 0.9 of them
    slopes, (offset, other) = logistic_fit([told, told], [counter, counter])
    assert slopes == pytest.approx([np.log(9.0), 0.0], rel=0.03) and abs(offset) < 0.01 and abs(other) < 0.01
    slopes, (offset,) = logistic_fit([np.zeros((4, 2))], [np.array([0.0, 0.0, 0.0, 1.0])])
    assert slopes == [0, 0] and offset == pytest.approx(np.log(1 / 3), abs=0.01)


def test_the_lean_weighs_guidance_so_that_its_chances_are_the_rates_at_every_cfg_scale():
    rng = np.random.default_rng(1)
    told = [rng.normal([0.0, (cfg - 1) * 0.1], [1.0, 0.05], size=(3000, 2)) for cfg in (2.0, 7.0)]
    sides = [(rng.random(3000) < 1 / (1 + np.exp(1 - one @ [2.0, 3.0]))).astype(float) for one in told]
    for known, one, side in zip(leans_from(told, sides), told, sides, strict=True):
        lean = one @ [1.0, known["lean_guidance"]]
        chance = replace(KNOWN, **known).chance(torch.tensor(lean))
        assert float(chance.mean()) == pytest.approx(side.mean(), abs=0.01)
        assert known["lean_mean"] == pytest.approx(lean.mean()) and known["lean_spread"] == pytest.approx(
            lean.std(ddof=1)
        )
