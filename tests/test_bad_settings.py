"""Invalid settings raise an error that says what was found and what is expected; odd ones do no harm."""

import math

import numpy as np
import pytest
import torch

from corrector.correction.decision import decide, summary
from corrector.correction.update import CorrectionError, Settings, correct
from corrector.gate.prompt_gate import PromptReading
from corrector.preference.file import load_preference

STRENGTH = r"strength is .*must be 0 \(off\) or more"


@pytest.mark.parametrize(
    ("setting", "values", "words"),
    [
        ("strength", [-0.1, math.nan, math.inf, torch.tensor([1.0, -1.0]), torch.tensor([math.nan])], STRENGTH),
        ("strength", [torch.ones(2, 1), torch.ones(0)], "strength has the shape"),
        ("mask", [torch.ones(8), torch.ones(1, 3, 8, 8), torch.ones(0, 8, 8), torch.ones(1, 1, 1, 8, 8)], "the shape"),
        ("mask", ["mask.png", [[1.0]], np.ones((8, 8))], "mask is of the type"),
        ("target", [0.0, -0.5, 1.01, math.nan], "target share is"),
        ("window", [(1.0, 1.0), (1.0, 2.0), (5.0, -1.0), (math.nan, 0.0), (0.0, 0.0)], "is empty; its start"),
        ("cap", [0.0, -1.0, math.nan], "cap is"),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused(setting, values, words):
    for value in values:
        with pytest.raises(CorrectionError, match=words):
            Settings(**{setting: value})


def test_strengths_are_one_for_each_picture():
    with pytest.raises(CorrectionError, match="3 strengths for 2 pictures; give one number"):
        Settings(strength=torch.ones(3)).strengths(2)


def test_the_defaults_and_the_ends_of_every_range_are_accepted():
    Settings()
    Settings(strength=0.0, target=1.0, window=(math.inf, 0.0), cap=1e-3)
    Settings(strength=torch.tensor([0.0, 3.0]), target=1e-6)
    for shape in ((8, 8), (2, 8, 8), (2, 1, 8, 8)):
        Settings(mask=torch.ones(shape))


@pytest.fixture(scope="module")
def shipped():
    return load_preference("weights/miniature-backdrop.safetensors")


def corrected(preference, cfg, sigma=8.0, change=None):
    """Three noisy pictures and their corrected predictions; `change` edits the model's predictions before."""
    x = 8.0 * torch.randn(3, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    denoised = torch.zeros_like(x) if change is None else change(torch.zeros_like(x))
    readings = [PromptReading(0, "neither")] * 3
    decision, reasons = decide(preference, readings, torch.tensor([0.1, 0.5, 0.9]), cfg=cfg)
    changed = correct(denoised, x, torch.full((3,), sigma), [preference], [decision], Settings(), cfg, denoised)
    return denoised, changed, summary(preference, reasons, [0] * 3, cfg)


def test_at_a_cfg_scale_of_zero_where_the_prompt_says_nothing_nothing_is_corrected(shipped):
    denoised, found, _ = corrected(shipped, 0.0)
    assert torch.equal(found, denoised) and not torch.equal(corrected(shipped, 0.1)[1], denoised)
    assert corrected(shipped, -3.0)[1].isfinite().all()


def test_a_cfg_scale_far_from_the_calibrated_ones_is_said_and_one_between_them_is_not(shipped):
    _, found, said = corrected(shipped, 30.0)
    assert found.isfinite().all() and "CFG 30 is far from it" in said
    assert "far from" not in corrected(shipped, 4.0)[2] and "far from" not in corrected(shipped, 9.0)[2]


@pytest.mark.parametrize("sigma, moves", [(0.0, False), (0.001, False), (2000.0, True)])
def test_a_sigma_that_was_never_seen_gives_finite_pictures_and_moves_none_where_all_is_decided(shipped, sigma, moves):
    denoised, found, _ = corrected(shipped, 7.0, sigma)
    assert found.isfinite().all() and torch.equal(found, denoised) == (not moves)


def test_nan_in_one_picture_of_a_batch_leaves_the_others_as_they_would_be(shipped):
    def broken(denoised):
        denoised[1] = math.nan
        return denoised

    _, found, _ = corrected(shipped, 7.0, change=broken)
    _, sound, _ = corrected(shipped, 7.0)
    assert found[1].isnan().any()
    torch.testing.assert_close(found[[0, 2]], sound[[0, 2]])
