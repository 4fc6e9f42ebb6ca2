"""Finished pictures get the skin tone of their plain previews, or another by points, and hardly change elsewhere."""

import numpy as np
import pytest
import torch

from corrector.axis.axis import load_axis
from corrector.correction.kept_skin import skin_lightness, with_skin_of
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


def test_skin_changes_by_as_many_points_as_are_asked_for_and_the_rest_stays(host, pictures):
    plain, counter = pictures
    points = torch.tensor([4.0, -4.0, 0.0] * 2)
    changed = with_skin_of(plain, counter, Pictures(host.decode, host.encode_pictures), REGION, points)
    after, held = host.decode(counter), host.decode(changed)
    lightness = [load_marker().lightness(each) for each in (after, held)]
    np.testing.assert_allclose(lightness[1] - lightness[0], points, atol=1.0)
    skin = load_marker().mark(after) > 0
    moved = (held - after).abs().mean(dim=1)
    assert moved[skin].mean() > 5 * moved[~skin].mean()
    torch.testing.assert_close(changed[2::3], counter[2::3], rtol=0, atol=1e-5)


def test_the_lightness_of_skin_is_that_of_what_both_pictures_show(host, pictures):
    before, after = (host.decode(latents) for latents in pictures)
    lightness = skin_lightness(before, after, REGION)
    marked = [load_marker().lightness(each) for each in (before, after)]
    np.testing.assert_allclose(lightness[:, 1] - lightness[:, 0], marked[1] - marked[0], atol=2.0)
    torch.testing.assert_close(
        skin_lightness(after, after, REGION).diff(dim=1), torch.zeros(COUNT, 1), rtol=0, atol=0.1
    )
    red, green = (torch.eye(3)[channel].view(1, 3, 1, 1).expand(2, 3, 64, 64) for channel in (0, 1))
    assert skin_lightness(red, green, REGION).isnan().all(), "no skin of one person is in both"


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
