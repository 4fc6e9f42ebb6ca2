"""Finished pictures get the skin tone of their plain previews, where skin is, and hardly change elsewhere."""

import numpy as np
import pytest
import torch

from corrector.axis.axis import load_axis
from corrector.correction.kept_skin import with_skin_of
from corrector.files.folders import AXES
from corrector.latents.skin import LinearColours, Pictures
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
    kept = with_skin_of(plain, counter, Pictures(host.decode, host.encode_pictures), REGION)
    before, after, held = (host.decode(latents) for latents in (plain, counter, kept))
    lightness = [load_marker().lightness(each) for each in (before, after, held)]
    assert np.mean(lightness[1] - lightness[0]) > 3
    assert abs(np.mean(lightness[2] - lightness[0])) < 1.5
    skin = load_marker().mark(after) > 0
    moved = (held - after).abs().mean(dim=1)
    assert moved[skin].mean() > 5 * moved[~skin].mean()


def test_a_picture_that_has_the_tone_already_hardly_changes(host, pictures):
    plain, _ = pictures
    kept = with_skin_of(plain, plain, Pictures(host.decode, host.encode_pictures), REGION)
    torch.testing.assert_close(kept, plain, rtol=0, atol=1e-4)


def test_pictures_without_skin_in_the_box_are_left_as_they_are(host):
    latents = host.sample(host.encode(["a city"] * 2), [1, 2], 2.0, 6)
    black = Pictures(lambda x: torch.full((len(x), 3, 128, 128), -1.0), host.encode_pictures)
    assert torch.equal(with_skin_of(latents, latents + 0.01, black, REGION), latents + 0.01)


def test_skin_in_approximate_colours_is_set_in_the_latents_that_have_them():
    generator = torch.Generator().manual_seed(2)
    colours = LinearColours(0.2 * torch.randn(4, 3, generator=generator), torch.tensor([0.1, 0.0, -0.1]))
    rgb = torch.rand(2, 3, 16, 16, generator=generator) * 2 - 1
    torch.testing.assert_close(colours.rgb(colours.latents(rgb)), rgb, rtol=0, atol=1e-5)
    skin, wall = torch.tensor([0.1, -0.1, -0.3]).view(3, 1, 1), torch.tensor([-0.2, 0.3, 0.8]).view(3, 1, 1)
    before = wall.repeat(1, 1, 16, 16)
    before[..., 2:9, 5:11] = skin
    after = wall.flip(0).repeat(1, 1, 16, 16)
    after[..., 2:9, 5:11] = skin + 0.15
    kept = colours.rgb(with_skin_of(colours.latents(before), colours.latents(after), colours.pictures, REGION))
    assert (kept - before)[..., 2:9, 5:11].abs().max() < 0.06
    torch.testing.assert_close(kept[..., 10:, :], after[..., 10:, :], rtol=0, atol=1e-4)
