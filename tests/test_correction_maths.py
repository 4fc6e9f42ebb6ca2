"""The update against closed forms, in a mixture of two Gaussians where q, the update and every share are exact."""

import math
from dataclasses import replace

import pytest
import torch
from scipy.stats import binomtest

from corrector.correction.decision import Decision, decide
from corrector.correction.thinning import coins_from_seeds
from corrector.correction.update import Settings, correct
from corrector.latents.spaces import expand
from corrector.preference.calibration import Calibration
from gaussian_world import GaussianWorld

VECTOR = torch.linspace(-1.2, 1.2, 12).reshape(3, 2, 2)
WORLDS = {
    "one dimension": GaussianWorld(),
    "many dimensions": GaussianWorld(beta=0.1, means=(VECTOR, -0.5 * VECTOR), shape=(3, 2, 2)),
    "unequal spreads": GaussianWorld(beta=0.3, spreads=(0.4, 0.7)),
}
worlds = pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS.keys())


def noisy(world, count=64, seed=0):
    """x at `count` sigmas, from nearly clean to nearly pure noise."""
    generator = torch.Generator().manual_seed(seed)
    sigma = torch.logspace(-2, math.log10(20.0), count, dtype=torch.float64)
    noise = torch.randn(count, *world.shape, generator=generator, dtype=torch.float64)
    return world.draw(count, seed) + expand(sigma, noise) * noise, sigma


def everyone(count):
    """A Decision that corrects every picture."""
    everywhere, nowhere = torch.ones(count, dtype=torch.bool), torch.zeros(count)
    return Decision(everywhere, torch.zeros(count, dtype=torch.long), nowhere, ~everywhere)


@worlds
def test_the_push_is_sigma_squared_times_the_gradient_of_the_log_odds(world):
    x, sigma = noisy(world)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(world.log_odds(x, sigma).sum(), x)
    wanted = expand(sigma.square(), x) * gradient  # Tweedie
    torch.testing.assert_close(world.push(x.detach(), sigma), wanted, rtol=1e-4, atol=1e-5)


@worlds
def test_the_update_is_the_push_as_far_as_the_model_does_not_expect_the_counter_side(world):
    x, sigma = noisy(world)
    wanted = world.denoised_of(x, sigma, 0) - world.denoised(x, sigma)
    torch.testing.assert_close(world.update(x, sigma), wanted.float(), rtol=1e-4, atol=1e-5)


@worlds
@pytest.mark.parametrize("cfg", [1.0, 2.0, 7.0])
def test_at_a_cfg_scale_the_corrected_denoised_is_that_of_a_prompt_for_the_counter_side(world, cfg, exact):
    x, sigma = noisy(world)
    unconditional, conditional = 0.3 * x, world.denoised(x, sigma)
    guided = unconditional + cfg * (conditional - unconditional)
    decision = everyone(len(x))
    corrected = correct(guided, x, sigma, [exact(world)], [decision], Settings(), cfg, conditional)
    wanted = unconditional + cfg * (world.denoised_of(x, sigma, 0) - unconditional)
    torch.testing.assert_close(corrected, wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["one dimension", "many dimensions"])
def test_sampling_with_all_pictures_corrected_draws_counter_pictures_only(name, exact):
    world, preference = WORLDS[name], exact(WORLDS[name])
    decision = everyone(1000)
    samples = world.sample(1000, seed=2, hook=lambda d, x, s: correct(d, x, s, [preference], [decision], Settings()))
    assert float(world.is_counter(samples).double().mean()) > 0.995
    assert torch.allclose(samples.mean(dim=0), world.means[0], atol=0.1)


@pytest.mark.parametrize("target", [0.35, 0.6, 0.85])
def test_thinning_gives_the_target_share_within_the_binomial_error(target, exact):
    world = WORLDS["one dimension"]
    known = Calibration("Orvane", 1.0, world.beta, 400, 1.0, 400)
    preference = replace(exact(world), calibrations=(known,))
    decision, _ = decide(preference, [None] * 3000, coins_from_seeds(range(3000)), target)
    samples = world.sample(
        3000, seed=4, hook=lambda d, x, s: correct(d, x, s, [preference], [decision], Settings(target=target))
    )
    counter = int(world.is_counter(samples).sum())
    assert binomtest(counter, 3000, target).pvalue > 0.001


def test_updates_of_independent_axes_add_to_the_joint_correction(exact):
    """Two axes in different dimensions: the joint density is a product, and its correction the sum."""
    first, second = GaussianWorld(beta=0.2), GaussianWorld(beta=0.4, means=(0.8, -1.0))

    class OnOne:
        def __init__(self, world, channel):
            self.world, self.channel = world, channel

        def update(self, x, sigma, group, conditional):
            update, channel = torch.zeros_like(x), slice(self.channel, self.channel + 1)
            update[:, channel] = self.world.update(x[:, channel], sigma)
            return update

    x, sigma = noisy(GaussianWorld(shape=(2, 1, 1)))
    parts = [first.denoised(x[:, :1], sigma), second.denoised(x[:, 1:], sigma)]
    preferences = [exact(OnOne(first, 0)), exact(OnOne(second, 1)), exact(OnOne(second, 0))]
    nobody = replace(everyone(len(x)), active=torch.zeros(len(x), dtype=torch.bool))
    decisions = [everyone(len(x)), everyone(len(x)), nobody]
    corrected = correct(torch.cat(parts, dim=1), x, sigma, preferences, decisions, Settings())
    wanted = torch.cat([first.denoised_of(x[:, :1], sigma, 0), second.denoised_of(x[:, 1:], sigma, 0)], dim=1)
    torch.testing.assert_close(corrected, wanted, rtol=1e-3, atol=1e-4)
