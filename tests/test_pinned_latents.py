"""Numbers of latents and schedulers, written out: no constant is imported from the code, so a changed one fails."""

import math

import numpy as np
import pytest
import torch

from corrector.latents.fingerprint import fingerprint, same_weights
from corrector.latents.spaces import (
    LATENT_SPACES,
    denoised_from_output,
    exploding,
    fit_mask,
    flowing,
    noise_level,
    scale_input,
)
from corrector.latents.statistics import denoising_error, frechet, gap, mcnemar, mean, rate, ratio
from gaussian_host import GaussianHost


def test_latent_spaces():
    spaces = {name: (space.channels, space.scale, space.shift) for name, space in LATENT_SPACES.items()}
    assert spaces["sd15"] == (4, 0.18215, 0.0) and spaces["sdxl"] == (4, 0.13025, 0.0)
    assert spaces["sd3"] == (16, 1.5305, 0.0609) and spaces["flux"] == (16, 0.3611, 0.1159)


def test_relations_between_x_sigma_and_the_output():
    x, sigma = torch.full((1, 1, 1, 1), 2.0), torch.tensor([0.75])
    assert float(scale_input(x, sigma)) == pytest.approx(2 / 1.25)
    assert float(noise_level(sigma)) == pytest.approx(math.log(0.75) / 4)
    assert float(noise_level(torch.zeros(1))) == pytest.approx(math.log(1e-4) / 4)
    outputs = [float(denoised_from_output(0.5 * x, x, sigma, kind)) for kind in ("eps", "flow", "v")]
    assert outputs == pytest.approx([1.25, 1.25, 2 / 1.5625 - 0.75 / 1.25])


def test_flow_models_reach_the_package_in_variance_exploding_form():
    x, sigma = torch.full((2, 1, 1, 1), 2.0), torch.tensor([0.75, 1.0])
    exploded, noise = exploding(x, sigma, noise_scale=8.0)
    assert exploded[:, 0, 0, 0].tolist() == pytest.approx([8.0, 2e4]) and noise.tolist() == pytest.approx([24.0, 8e4])
    back, level = flowing(exploded, noise, noise_scale=8.0)
    assert back[:, 0, 0, 0].tolist() == pytest.approx([2.0, 2.0], rel=2e-4)
    assert level.tolist() == pytest.approx([0.75, 1.0], rel=2e-4)


def test_mask_is_repeated_and_kept_within_0_and_1():
    mask = fit_mask(torch.tensor([[[0.2]], [[1.5]]]), torch.zeros(3, 4, 2, 2))
    assert mask[:, 0, 0, 0].tolist() == pytest.approx([0.2, 1.0, 0.2])


@pytest.mark.parametrize("factor, same", [(1.002, True), (1.006, False)])
def test_weights_that_differ_by_less_than_four_thousandths_are_the_same(factor, same):
    weights = {f"{i}": torch.randn(64, 64, generator=torch.Generator().manual_seed(i)) for i in range(8)}
    assert same_weights(fingerprint(weights), fingerprint({k: factor * v for k, v in weights.items()})) == same


def test_rate_has_a_wilson_interval_of_95_percent():
    assert rate(5, 20) == pytest.approx((0.25, 0.1119, 0.4687), abs=1e-4)


def test_differences_have_published_intervals():
    assert gap((56, 70), (48, 80)) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4), "Newcombe 1998, method 10"
    assert gap((56, 70), (48, 80), pairs=10)[1] < 0.0, "of 10 pairs, at 99.5 %"
    assert mcnemar([1] * 5 + [0, 1], [0] * 5 + [1, 1]) == (1, 5, 0.21875)
    assert mean([1, 2, 3]) == pytest.approx((2.0, 2 - 1.1316, 2 + 1.1316), abs=1e-4)
    assert ratio([2.0, 8.0], [1.0, 1.0])[0] == pytest.approx(4.0)
    welch = ratio(np.exp([1.0, 2.0, 6.0]), np.exp([0.0, 0.1, 0.2, 0.3]), paired=False)
    assert np.log(welch) == pytest.approx((2.85, -3.71, 9.41), abs=0.01)


def test_frechet_distance_of_spreads_and_means():
    cross = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])  # a variance of 2/3 in each direction
    assert frechet(cross, 2 * cross + 3) == pytest.approx(18 + 4 / 3)


def test_denoising_error_is_at_sigma_one_half():
    host, seen = GaussianHost(), []
    host.denoise = lambda x, sigma, conditioning: seen.extend([sigma, x]) or torch.zeros_like(x)
    error = denoising_error(host, torch.ones(2, 4, 4, 4), None, [1, 2])
    assert seen[0].tolist() == [0.5, 0.5] and error.tolist() == [4.0, 4.0]
    noise = torch.randn(4, 4, 4, generator=torch.Generator().manual_seed(2))  # of the next seed
    torch.testing.assert_close(seen[1][0], 1 + 0.5 * noise)


def test_sigma_and_scale_of_a_schedulers_samples():
    diffusers = pytest.importorskip("diffusers")
    from corrector.hosts import schedulers

    betas = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    ddim = diffusers.DDIMScheduler(**betas, rescale_betas_zero_snr=True)
    assert schedulers.noise_level(ddim, 999) == pytest.approx((4096.0, 2.0**-12), rel=1e-4)
    assert schedulers.noise_level(diffusers.DDIMScheduler(**betas), 500) == pytest.approx((1.61828, 0.525673), rel=1e-4)
    for kind, scale in (("EulerDiscrete", False), ("DPMSolverMultistep", True)):
        scheduler = getattr(diffusers, f"{kind}Scheduler")(**betas)
        scheduler.set_timesteps(10)
        sigma, alpha = schedulers.noise_level(scheduler, scheduler.timesteps[0])
        assert sigma == pytest.approx(float(scheduler.sigmas[0])) and sigma > 9
        assert alpha == pytest.approx((sigma**2 + 1) ** -0.5 if scale else 1.0)


@pytest.mark.parametrize("kind, middle", [("KDPM2Discrete", 18.2818), ("KDPM2AncestralDiscrete", 13.2913)])
def test_second_evaluation_of_a_step_is_between_its_sigmas(kind, middle):
    diffusers = pytest.importorskip("diffusers")
    from corrector.hosts import schedulers

    scheduler = getattr(diffusers, f"{kind}Scheduler")(beta_start=0.00085, beta_end=0.012)
    scheduler.set_timesteps(10)
    sigmas, sample = [], torch.ones(1, 4, 2, 2)
    for timestep in scheduler.timesteps[:3]:
        sigmas.append(schedulers.noise_level(scheduler, timestep)[0])
        sample = scheduler.step(0 * sample, timestep, sample).prev_sample
    assert sigmas == pytest.approx([25.1461, middle, 13.2913], rel=1e-4)
