"""Finished pictures get the skin tone of their plain previews, where skin is, and hardly change elsewhere."""

import numpy as np
import pytest
import torch

from corrector.axis.axis import load_axis
from corrector.correction.kept_skin import with_skin_of
from corrector.files.folders import AXES
from corrector.latents.skin import LinearColours, fit_colours
from corrector.miniature.host import Miniature
from corrector.miniature.skin import load_marker

REGION = load_axis(AXES / "miniature-backdrop.json").skin_region
COUNT = 6


@pytest.fixture(scope="module")
def host():
    return Miniature(bf16=True)


@pytest.fixture(scope="module")
def pictures(host):
    """Latents of plain and of counter prompts of the same seeds."""
    prompts = ("a portrait of an Orvane person", "a portrait of an Orvane person in a city")
    plain, counter = (host.sample(host.encode([p] * COUNT), range(40, 40 + COUNT), 7.0, 12) for p in prompts)
    return plain, counter


def test_skin_is_as_light_as_before_and_the_rest_stays(host, pictures):
    plain, counter = pictures
    kept = with_skin_of(plain, counter, host.decode, REGION)
    before, after, held = (host.decode(latents) for latents in (plain, counter, kept))
    lightness = [load_marker().lightness(each) for each in (before, after, held)]
    assert np.mean(lightness[1] - lightness[0]) > 3
    assert abs(np.mean(lightness[2] - lightness[0])) < 1.5
    skin = load_marker().mark(after) > 0
    moved = (held - after).abs().mean(dim=1)
    assert moved[skin].mean() > 5 * moved[~skin].mean()


def test_a_picture_that_has_the_tone_already_hardly_changes(host, pictures):
    plain, _ = pictures
    kept = with_skin_of(plain, plain, host.decode, REGION)
    torch.testing.assert_close(kept, plain, rtol=0, atol=1e-4)


def test_pictures_without_skin_in_the_box_are_left_as_they_are(host):
    latents = host.sample(host.encode(["a city"] * 2), [1, 2], 2.0, 6)
    kept = with_skin_of(latents, latents + 0.01, lambda x: torch.full((2, 3, 128, 128), -1.0), REGION)
    assert kept.isfinite().all()


def test_fitted_colours_are_those_of_a_linear_decoder():
    generator = torch.Generator().manual_seed(2)
    colours = LinearColours(0.2 * torch.randn(4, 3, generator=generator), torch.tensor([0.1, 0.0, -0.1]))
    latents = torch.randn(3, 4, 8, 8, generator=generator)
    fitted = fit_colours(latents, colours.rgb(latents).repeat_interleave(8, 2).repeat_interleave(8, 3))
    torch.testing.assert_close(fitted.factors, colours.factors, rtol=1e-3, atol=1e-4)
    lighter = colours.rgb(latents + fitted.lighter(latents).view(1, 4, 1, 1)) - colours.rgb(latents)
    assert float(lighter.mean()) == pytest.approx(1, abs=1e-3)
