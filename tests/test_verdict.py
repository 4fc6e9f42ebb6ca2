"""Which side a finished latent shows, by exact predictions of two Gaussians and by the miniature."""

import math
from pathlib import Path

import pytest
import torch

from corrector.axis.axis import AxisError, load_axis
from corrector.correction.verdict import Verdict, sigma_of, verdict, verdict_of_host
from corrector.miniature.host import Miniature
from gaussian_host import PATTERN, SHAPE, GaussianHost
from gaussian_world import GaussianWorld

AXES = Path(__file__).resolve().parents[1] / "axes"
WORLD = GaussianWorld(means=(PATTERN, -PATTERN), spreads=(0.6, 0.6), shape=SHAPE)


def exact(x, sigma):
    x, sigma = x.double(), sigma.double()
    return WORLD.denoised_of(x, sigma, 0), WORLD.denoised_of(x, sigma, 1)


def test_the_side_is_the_nearer_one_however_small_the_difference_and_whatever_the_noise():
    """For two Gaussians of one spread the noise cancels out: d has the sign of <D_c - D_s, x0>, weighed by cell."""
    x0 = 0.6 * torch.randn(200, *SHAPE, generator=torch.Generator().manual_seed(0))
    nearer = (PATTERN.square().sum(0) * PATTERN * x0).sum(dim=(1, 2, 3)) > 0
    assert torch.equal(verdict(x0, exact).evidence > 0, nearer) and 60 < nearer.sum() < 140


def test_the_evidence_says_where_a_picture_lies_between_the_predictions_of_the_two_sides():
    """1 at the counter side's mean, -1 at the other's, and 0 halfway, whatever else there is; beyond, more."""
    along = torch.tensor([1.0, -1.0, 0.0, 0.5, 2.0]).view(-1, 1, 1, 1)
    across = torch.zeros(SHAPE)
    across[2:] = 5.0
    assert verdict(along * PATTERN + across, exact).evidence.tolist() == pytest.approx([1, -1, 0, 0.5, 2], abs=0.01)


def test_cells_in_which_the_sides_agree_do_not_count():
    x0 = torch.cat([PATTERN, PATTERN], dim=2)[None]

    def predict(x, sigma):
        """Of the right half both sides say the same, and both are wrong."""
        return tuple(torch.cat([side, torch.full_like(side, 7.0)], dim=3) for side in exact(x[..., :4], sigma))

    assert verdict(x0, predict).evidence.item() == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(("d", "side"), [(0.2, "counter"), (0.19, "unsure"), (-0.19, "unsure"), (-0.2, "stereotype")])
def test_little_evidence_is_no_verdict(d, side):
    assert Verdict(torch.tensor([d], dtype=torch.float64)).sides == [side]


def test_a_picture_with_a_broken_prediction_is_unsure_and_spoils_no_other():
    x0 = PATTERN.expand(3, *SHAPE).clone()
    x0[1, 0, 0, 0] = math.nan

    def predict(x, sigma):
        counter, stereotype = exact(x, sigma)
        counter[2, 1, 2, 3] = math.inf
        return counter, stereotype

    assert verdict(x0, predict).sides == ["counter", "unsure", "unsure"]


@pytest.mark.parametrize(("distance", "side"), [(0.0, "unsure"), (0.015, "unsure"), (0.03, "counter")])
def test_prompts_that_say_the_same_up_to_rounding_give_no_verdict(distance, side):
    x0 = PATTERN[None] + distance

    def predict(x, sigma):
        counter = exact(x, sigma)[0]
        return counter, torch.cat([counter[..., :-1] - distance, counter[..., -1:]], dim=-1)

    assert verdict(x0, predict).sides == [side]


def test_a_picture_gets_the_same_verdict_in_any_batch_and_in_half_precision():
    host, axis = GaussianHost(), load_axis(AXES / "miniature-backdrop.json")
    latents = WORLD.draw(7, seed=1, beta=0.5).float()
    whole = verdict_of_host(host, latents, axis, "Orvane").evidence
    host.batch = 2
    assert torch.equal(verdict_of_host(host, latents, axis, "Orvane").evidence, whole)
    halves = verdict_of_host(host, latents.half(), axis, "Orvane").evidence
    torch.testing.assert_close(halves, whole, rtol=0, atol=5e-3)


def test_four_evaluations_a_picture_at_one_sigma():
    seen = []

    def predict(x, sigma):
        seen.append((len(x), sigma.tolist()))
        return exact(x, sigma)

    verdict(WORLD.draw(3, seed=1), predict)
    assert seen == [(3, [6.0] * 3)] * 2  # each for two sides


@pytest.mark.parametrize(
    ("size", "sigma"), [((8, 8), 6.0), ((16, 16), 6.0), ((32, 32), 12.0), ((64, 4), 6.0), ((64, 64), 14.0)]
)
def test_latents_with_more_cells_are_asked_about_at_more_noise(size, sigma):
    assert sigma_of(*size) == sigma


def test_latents_of_any_size_and_number_of_channels():
    for shape in ((1, 5, 9), (16, 8, 8)):
        world = GaussianWorld(means=(0.5, -0.5), shape=shape)
        both = world.draw(40, seed=2, beta=0.5)

        def predict(x, sigma, world=world):
            return tuple(world.denoised_of(x.double(), sigma.double(), side) for side in (0, 1))

        asked = ["counter" if value > 0 else "stereotype" for value in both.mean(dim=(1, 2, 3)).tolist()]
        assert verdict(both, predict).sides == asked


def test_an_unknown_group_is_refused_by_name():
    with pytest.raises(AxisError, match='no group "Nobody"'):
        verdict_of_host(GaussianHost(), PATTERN[None], load_axis(AXES / "miniature-backdrop.json"), "Nobody")


def test_the_miniature_says_of_its_pictures_what_the_reader_sees(one_thread):
    host, axis = Miniature(), load_axis(AXES / "miniature-attire.json")
    asked = ["wearing a robe", "in a modern jacket"] * 4
    prompts = host.encode([f"a portrait of a Zendoli person {phrase}" for phrase in asked])
    latents = host.sample(prompts, list(range(8)), cfg=7.0, steps=6)
    seen = host.reader.read(host.decode(latents))["attire"]
    assert seen == ["traditional", "modern"] * 4
    assert verdict_of_host(host, latents, axis, "Zendoli").sides == ["stereotype", "counter"] * 4
