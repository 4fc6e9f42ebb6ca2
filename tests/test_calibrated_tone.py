"""By how much a correction changes skin, as calibration measures it where the truth is known."""

from dataclasses import replace
from itertools import cycle

import pytest
import torch

from corrector.correction.sampled import sample_corrected
from corrector.correction.update import Settings
from corrector.latents.skin import lab_of
from corrector.learning.calibrate import calibrate
from corrector.preference.preference import Preference
from gaussian_host import GaussianHost


@pytest.fixture(autouse=True)
def exact_weight(monkeypatch):
    """The update of a world whose sides are exact needs no more than its CFG scale."""
    monkeypatch.setattr("corrector.correction.update.LEAST_WEIGHT", 1.0)


def lightness_of(host, latents):
    """CIE L* of pictures that are grey all over [N]."""
    return lab_of(host.decode(latents))[:, 0, 0, 0]


@pytest.mark.parametrize("lighter, truth", [(-0.2, -5.1), (0.0, 0.0), (0.2, 5.0)])
def test_the_calibrated_tone_is_by_how_much_the_update_changes_skin_and_taking_it_back_keeps_it(axis, lighter, truth):
    host = GaussianHost(lighter)
    learned = Preference(axis, "miniature", host.world, training={"tones": dict.fromkeys(axis.groups, truth)})
    preference = calibrate(host, learned, 20, (1.0,))
    for calibration in preference.calibrations:
        assert calibration.tone == pytest.approx(truth, abs=0.4) and abs(calibration.tone_drift) < 0.3
    prompts, seeds = ["a portrait of a Tavelu person"] * 40, range(900, 940)
    plain = host.sample(host.encode(prompts), seeds, steps=10)
    changes = []
    for calibrations in (preference.calibrations, [replace(each, tone=0.0) for each in preference.calibrations]):
        toned = [replace(preference, calibrations=calibrations)]
        kept, _ = sample_corrected(host, prompts, seeds, toned, Settings(), 1.0, steps=10)
        changes.append(float((lightness_of(host, kept) - lightness_of(host, plain)).mean()))
    assert abs(changes[0]) < 0.3 and changes[1] == pytest.approx(0.8 * truth, abs=0.6)


def test_without_skin_to_see_the_calibrated_tone_is_that_of_the_pairs(axis):
    host, colours = GaussianHost(), cycle([torch.eye(3)[0], torch.eye(3)[1]])  # each picture has another one
    host.decode = lambda latents: next(colours).view(1, 3, 1, 1).expand(len(latents), 3, 16, 16)
    learned = Preference(axis, "miniature", host.world, training={"tones": dict.fromkeys(axis.groups, -2.0)})
    assert {each.tone for each in calibrate(host, learned, 4, (1.0,)).calibrations} == {-2.0}
