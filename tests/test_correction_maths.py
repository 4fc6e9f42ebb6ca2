"""The update against closed forms, in a mixture of two Gaussians where q, h and every share are exact."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from scipy.stats import binomtest

from corrector.correction.decision import Decision, decide
from corrector.correction.thinning import coins_from_seeds
from corrector.correction.update import Settings, correct, drift
from corrector.latents.spaces import expand
from corrector.preference.calibration import Calibration
from corrector.preference.networks import Reading
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
    return Decision(everywhere, torch.zeros(count, dtype=torch.long), nowhere, nowhere, ~everywhere)


@worlds
def test_the_push_is_sigma_squared_times_the_gradient_of_the_log_odds(world):
    x, sigma = noisy(world)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(world.log_odds(x, sigma).sum(), x)
    wanted = expand(sigma.square(), x) * gradient  # Tweedie
    torch.testing.assert_close(world.read(x.detach(), sigma).push, wanted.float(), rtol=1e-4, atol=1e-5)


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


def opening(log_odds, chance=0.0):
    """How far the gate is open: the drift along a push of length 1."""
    decision = replace(everyone(1), chance=torch.tensor([chance]))
    push = torch.ones(1, 1, 1, 1)
    return float(drift(Reading(torch.tensor([log_odds]), push), decision, 1.0))


def test_the_gate_closes_on_a_counter_picture_and_earlier_on_one_that_comes_out_fine_by_itself():
    assert [opening(log_odds) for log_odds in (-12.0, 0.0, 12.0)] == pytest.approx([1.0, 0.5, 0.0], abs=1e-4)
    assert opening(-1.0986, chance=1.0) == pytest.approx(0.5, abs=1e-3)  # a belief of 0.25: it ends at 0.5
    assert opening(0.0, chance=1.0) == pytest.approx(0.0, abs=1e-6)
    assert opening(-1.0) > opening(-1.0, chance=0.3) > opening(-1.0, chance=1.0) > 0
    assert opening(-12.0, chance=1.0) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("cfg, k", [(0.5, 2.0), (1.0, 2.0), (1.5, 2.0), (7.0, 7.5)])
def test_the_push_has_a_margin_of_a_half_and_ends_later_where_little_noise_is_left(cfg, k):
    class Half:
        """A belief of a half at all sigmas, and a push of length 1."""

        def read(self, x, sigma, group, conditional):
            return Reading(torch.zeros(len(x)), torch.ones_like(x))

    preference, x = SimpleNamespace(source=Half()), torch.zeros(3, 1, 1, 1)
    sigma = torch.tensor([1e4, 1.0, 1e-4])
    added = correct(x, x, sigma, [preference], [everyone(3)], Settings(), cfg).flatten()
    assert added.tolist() == pytest.approx([k * 0.5, k * (1 - 0.5**2), k * (1 - 0.5**3)], abs=1e-5)


def test_drifts_of_independent_axes_add_to_the_joint_correction(exact):
    """Two axes in different dimensions: the joint density is a product, and its correction the sum."""
    first, second = GaussianWorld(beta=0.2), GaussianWorld(beta=0.4, means=(0.8, -1.0))

    class OnOne:
        def __init__(self, world, channel):
            self.world, self.channel = world, channel

        def read(self, x, sigma, group, conditional):
            reading = self.world.read(x[:, self.channel : self.channel + 1], sigma)
            push = torch.zeros_like(x)
            push[:, self.channel : self.channel + 1] = reading.push
            return type(reading)(reading.log_odds, push)

    x, sigma = noisy(GaussianWorld(shape=(2, 1, 1)))
    parts = [first.denoised(x[:, :1], sigma), second.denoised(x[:, 1:], sigma)]
    preferences = [exact(OnOne(first, 0)), exact(OnOne(second, 1)), exact(OnOne(second, 0))]
    nobody = replace(everyone(len(x)), active=torch.zeros(len(x), dtype=torch.bool))
    decisions = [everyone(len(x)), everyone(len(x)), nobody]
    corrected = correct(torch.cat(parts, dim=1), x, sigma, preferences, decisions, Settings())
    wanted = torch.cat([first.denoised_of(x[:, :1], sigma, 0), second.denoised_of(x[:, 1:], sigma, 0)], dim=1)
    torch.testing.assert_close(corrected, wanted, rtol=1e-3, atol=1e-4)
