"""The relations between x, sigma and the network's output for eps, v and flow; masks."""

import pytest
import torch

from corrector.latents.spaces import (
    LATENT_SPACES,
    add_noise,
    denoised_from_output,
    fit_mask,
    noise_level,
    scale_input,
)
from steady import given
from steady import strategies as st


def clean_and_noise(count=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, count, 4, 6, 10, generator=generator).unbind()


@given(st.floats(0.01, 20))
def test_the_eps_rule_recovers_x0_from_the_noise(sigma):
    x0, noise = clean_and_noise()
    level = torch.full((6,), sigma)
    x = add_noise(x0, noise, level)
    torch.testing.assert_close(denoised_from_output(noise, x, level, "eps"), x0, rtol=1e-3, atol=1e-4 * (1 + sigma))


@given(st.floats(0.01, 20))
def test_the_v_rule_recovers_x0_from_v(sigma):
    x0, noise = clean_and_noise()
    level = torch.full((6,), sigma)
    x = add_noise(x0, noise, level)
    v = (noise - sigma * x0) / (sigma**2 + 1) ** 0.5  # Salimans & Ho 2022, with alpha = 1 / sqrt(1 + sigma^2)
    torch.testing.assert_close(denoised_from_output(v, x, level, "v"), x0, rtol=1e-3, atol=1e-4 * (1 + sigma))


@given(st.floats(0.01, 1))
def test_the_flow_rule_recovers_x0_from_the_velocity(sigma):
    x0, noise = clean_and_noise()
    level = torch.full((6,), sigma)
    x = add_noise(x0, noise, level, flow=True)
    torch.testing.assert_close(denoised_from_output(noise - x0, x, level, "flow"), x0, rtol=1e-4, atol=1e-4)


def test_an_unknown_prediction_type_is_refused_with_the_known_ones():
    x = torch.zeros(1, 4, 2, 2)
    with pytest.raises(ValueError, match=r'"x0".*"eps", "v" and "flow"'):
        denoised_from_output(x, x, torch.ones(1), "x0")


@pytest.mark.parametrize("flow", [False, True], ids=["eps", "flow"])
@pytest.mark.parametrize("sigma", [0.02, 0.4, 0.98])
def test_a_network_sees_unit_variance_at_every_sigma(flow, sigma):
    x0, noise = clean_and_noise(count=200)
    level = torch.full((200,), sigma)
    assert float(scale_input(add_noise(x0, noise, level, flow), level, flow).std()) == pytest.approx(1, abs=0.02)


def test_at_sigma_one_a_flow_model_is_pure_noise_and_nothing_is_infinite():
    x0, noise = clean_and_noise()
    level = torch.ones(6)
    torch.testing.assert_close(add_noise(x0, noise, level, flow=True), noise)
    assert torch.isfinite(noise_level(level, flow=True)).all()


def test_the_noise_level_rises_with_sigma_and_is_finite_at_zero():
    level = noise_level(torch.tensor([0.0, 0.03, 1.0, 14.6]))
    assert torch.isfinite(level).all() and (level.diff() > 0).all()


def test_each_picture_has_its_own_sigma():
    x0, noise = clean_and_noise(count=3)
    x = add_noise(x0, noise, torch.tensor([0.0, 1.0, 5.0]))
    torch.testing.assert_close(x[0], x0[0])
    torch.testing.assert_close(x[2], x0[2] + 5 * noise[2])


def test_the_miniature_has_its_own_space():
    assert {"sd15", "sdxl", "sd3", "flux", "miniature"} <= set(LATENT_SPACES)
    assert [name for name, space in LATENT_SPACES.items() if space.flow] == ["sd3", "flux"]


@pytest.mark.parametrize("shape", [(64, 96), (1, 64, 96), (2, 64, 96), (2, 1, 64, 96), (9, 1, 8, 12)], ids=str)
def test_masks_of_any_size_and_number_fit_a_batch(shape):
    mask, x = torch.zeros(shape), torch.zeros(5, 4, 8, 12)
    mask[..., shape[-1] // 2 :] = 1
    fitted = fit_mask(mask, x)
    assert fitted.shape == (5, 1, 8, 12) and not fitted[..., :6].any() and (fitted[..., 6:] == 1).all()
