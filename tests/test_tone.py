"""The tone of skin: how light it is, what it tells about the side, and how the model would draw another one."""

import numpy as np
import pytest
import torch
from skimage.color import rgb2lab

from corrector.correction.decision import Decision
from corrector.correction.update import Settings, correct
from corrector.latents.skin import lightness, skin_mask
from corrector.learning.pairs import Pairs, make_pairs
from corrector.learning.points import sample_points
from corrector.learning.tone import TILT, Tilt, tone_gradient, tone_power, tone_slopes, tone_weight
from corrector.preference.networks import LOWEST_SIGMA, Distilled
from corrector.preference.preference import Preference
from gaussian_host import PATTERN, SHAPE, GaussianHost
from gaussian_world import GaussianWorld


def lightness_pairs(gaps, spread, count=400):
    """Pairs of one group a gap, whose stereotype pictures are darker by it, in points of L*."""
    tones = 60 + spread * torch.randn(len(gaps), 2, count, generator=torch.Generator().manual_seed(1))
    tones[:, 0] -= torch.tensor(gaps).view(-1, 1)
    return Pairs(torch.zeros(len(gaps), 2, count, 1, 1, 1), tones, torch.zeros(len(gaps), count))


def test_lightness_is_the_median_cie_l_of_the_region():
    pictures = torch.rand(5, 3, 20, 30, generator=torch.Generator().manual_seed(0)) * 2 - 1
    box = pictures[:, :, 4:10, 6:15]
    wanted = rgb2lab(((box + 1) / 2).permute(0, 2, 3, 1).double().numpy())[..., 0].reshape(5, -1)
    wanted = np.sort(wanted, axis=1)[:, (wanted.shape[1] - 1) // 2]  # torch's median is the lower one
    np.testing.assert_allclose(lightness(pictures, (0.2, 0.2, 0.5, 0.5)).numpy(), wanted, atol=0.05)


def test_the_skin_mask_covers_the_box_and_a_margin_and_parts_of_cells_at_its_edge():
    mask = skin_mask((3, 4, 10, 20), (0.4, 0.45, 0.6, 0.55))  # grown by 0.1: x 0.3..0.7, y 0.35..0.65
    assert mask.shape == (10, 20)
    torch.testing.assert_close(mask[4:6, 6:14], torch.ones(2, 8))
    torch.testing.assert_close(mask[3, 6:14], torch.full((8,), 0.5))  # half of the cells from y 0.3 to 0.4
    assert mask[:3].abs().max() < 1e-5 and mask[:, :6].abs().max() < 1e-5 and mask[:, 14:].abs().max() < 1e-5
    torch.testing.assert_close(skin_mask((4, 6, 6), (0, 0, 1, 1)), torch.ones(6, 6))


def test_the_gradient_of_lightness_is_found_where_skin_is_and_whatever_else_the_sides_show(axis):
    generator, wanted = torch.Generator().manual_seed(2), torch.zeros(SHAPE)
    wanted[3] = skin_mask(SHAPE, axis.skin_region)
    latents = torch.randn(2, 2, 300, *SHAPE, generator=generator)
    latents[:, 1, :, :3] += 3.0  # clothes, which say nothing of skin
    tones = 60 + 5 * (latents * wanted).flatten(3).sum(dim=3)
    spread = (tones - tones.mean(dim=2, keepdim=True)).std()
    found = tone_gradient(Pairs(latents, tones, torch.zeros(2, 300)), axis.skin_region)
    torch.testing.assert_close(found * spread / 5, wanted, atol=0.15, rtol=0)
    assert not found[:, skin_mask(SHAPE, axis.skin_region) == 0].any()


def test_the_tone_push_at_points_is_the_covariance_of_picture_and_lightness_on_the_counter_side(axis):
    host, spread = GaussianHost(), 0.6
    host.world = GaussianWorld(beta=0.1, means=(PATTERN, -PATTERN), spreads=(spread, 0.9), shape=SHAPE)
    pairs = make_pairs(host, axis, 40, seed=4, cfg=1.0, steps=6)
    points, mask = sample_points(host, axis, pairs, 60, seed=3), skin_mask(SHAPE, axis.skin_region)
    variance = spread**2 * points.sigma**2 / (spread**2 + points.sigma**2)
    wanted = variance.view(-1, 1, 1, 1) * tone_gradient(pairs, axis.skin_region) * mask
    torch.testing.assert_close(points.tone, wanted, atol=0.02 * float(wanted.abs().max()), rtol=0.02)


@pytest.mark.parametrize("gap, sign", [(6.0, -1), (-6.0, 1)])
def test_points_ask_for_skin_of_the_tone_that_the_stereotype_has(axis, gap, sign):
    pairs = lightness_pairs([gap], spread=4.0)
    pairs.latents = torch.randn(1, 2, 400, *SHAPE, generator=torch.Generator().manual_seed(3))
    pairs.latents[:, :, :, 3] += pairs.lightness[..., None, None] / 10
    s, shift = Tilt(pairs, axis.skin_region).at(torch.tensor([2.0]), torch.tensor([0]))
    assert torch.equal(s.sign(), torch.full((1, 1, 1, 1), float(sign)))
    assert shift[0, 3].sum().sign() == sign
    lit = shift[shift != 0]
    torch.testing.assert_close(lit.square().mean().sqrt(), torch.tensor(2.0 * TILT))


def test_the_tone_slope_is_the_density_ratio_of_two_normal_distributions():
    pairs = lightness_pairs([0.0, 6.0, -3.0], spread=4.0)
    wanted = torch.tensor([0.0, -6.0, 3.0]) / 4.0  # in standard deviations within a side
    torch.testing.assert_close(tone_slopes(pairs), wanted, rtol=0.15, atol=0.15)


def test_sides_that_differ_by_far_more_than_their_spread_have_a_bounded_slope_and_none_is_refused():
    for spread in (0.0, 0.5):
        slopes = tone_slopes(lightness_pairs([14.0, 14.0], spread))
        assert slopes.isfinite().all() and (slopes < 0).all() and slopes.abs().max() < 50


def network(rise):
    torch.manual_seed(0)
    return Distilled("miniature", 2, width=16, blocks=1, rise=rise).eval().requires_grad_(False)


@pytest.mark.parametrize("sigma", [0.3, 4.0])
def test_the_tone_push_is_weighed_more_where_little_noise_is_left_and_the_push_is_not(axis, sigma):
    x, group, yes = torch.randn(2, 4, 16, 16), torch.tensor([0, 1]), torch.ones(2, dtype=torch.bool)
    moved = {}
    for rise, tone in ((0.0, -2.0), (0.5, -2.0), (0.5, 0.0)):
        decision = Decision(yes, group, torch.zeros(2), torch.full((2,), tone), ~yes)
        preference = Preference(axis, "miniature", network(rise))
        moved[rise, tone] = correct(x, x, torch.full((2,), sigma), [preference], [decision], Settings()) - x
    weighed = (moved[0.5, -2.0] - moved[0.5, 0.0]) / (moved[0.0, -2.0] - moved[0.5, 0.0])
    torch.testing.assert_close(weighed.median(), torch.tensor((1 + sigma**-2) ** 0.25), rtol=1e-3, atol=0)


def test_below_the_lowest_sigma_only_the_tone_push_goes_on_as_the_covariance_does():
    x, group = torch.randn(2, 4, 16, 16), torch.tensor([0, 1])
    lowest, below = (torch.full((2,), sigma) for sigma in (LOWEST_SIGMA, LOWEST_SIGMA / 3))
    last, further = (network(0.5)(x, sigma, group, x) for sigma in (lowest, below))
    torch.testing.assert_close(further.tone, last.tone / 9)
    assert not further.push.any() and last.push.any()


@pytest.mark.parametrize("power", [0.6, 1.0, 1.9])
def test_two_trials_find_the_weight_that_keeps_the_tone_where_its_effect_grows_as_a_power_of_it(power):
    def change(weight):
        return 10.0 - 12.0 * weight**power  # of L*

    first, second = 1.5, tone_weight(1.5, change(1.5), 10.0)
    grows = tone_power((first, second), (change(first), change(second)), 10.0)
    found = tone_weight(second, change(second), 10.0, grows)
    assert abs(change(found)) < 1e-6


def test_trials_that_say_nothing_of_the_power_leave_the_weight_on_a_line():
    assert tone_power((1.5, 1.45), (-0.5, 0.5), 10.0) == 1.0, "like weights"
    assert tone_power((1.5, 1.0), (10.5, 11.0), 10.0) == 1.0, "nothing was taken away"
    assert tone_power((1.5, 0.8), (-9.0, 9.0), 10.0) == 2.0, "it cannot grow faster than the weight's square"
    assert tone_weight(1.5, 11.0, 10.0) == 1.5, "more of it would not help"
