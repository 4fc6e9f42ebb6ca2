"""The relations between x, sigma and the network's output for eps, v and flow; masks."""

import pytest
import torch

from corrector.latents.spaces import (
    add_noise,
    denoised_from_output,
    exploding,
    fit_mask,
    flowing,
    noise_level,
    scale_input,
)
from steady import given
from steady import strategies as st


def clean_and_noise(count=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, count, 4, 6, 10, generator=generator).unbind()


@pytest.mark.parametrize("prediction", ["eps", "v", "flow"])
@given(st.floats(0.01, 20))
def test_the_rule_of_each_prediction_recovers_x0(prediction, sigma):
    flow = prediction == "flow"
    level = torch.full((6,), sigma / 20 if flow else sigma)
    x0, noise = clean_and_noise()
    v = (noise - sigma * x0) / (sigma**2 + 1) ** 0.5  # Salimans & Ho 2022, with alpha = 1 / sqrt(1 + sigma^2)
    output = {"eps": noise, "v": v, "flow": noise - x0}[prediction]
    x = (1 - level[0]) * x0 + level[0] * noise if flow else add_noise(x0, noise, level)
    denoised = denoised_from_output(output, x, level, prediction)
    torch.testing.assert_close(denoised, x0, rtol=1e-3, atol=1e-4 * (1 + sigma))


def test_an_unknown_prediction_type_is_refused_with_the_known_ones():
    x = torch.zeros(1, 4, 2, 2)
    with pytest.raises(ValueError, match=r'"x0".*"eps", "v" and "flow"'):
        denoised_from_output(x, x, torch.ones(1), "x0")


@pytest.mark.parametrize("sigma", [0.02, 0.4, 0.98, 30.0])
def test_a_network_sees_unit_variance_at_every_sigma(sigma):
    x0, noise = clean_and_noise(count=200)
    level = torch.full((200,), sigma)
    assert float(scale_input(add_noise(x0, noise, level), level).std()) == pytest.approx(1, abs=0.02)


def test_the_noise_level_rises_with_sigma_and_is_finite_at_both_ends():
    level = noise_level(torch.tensor([0.0, 0.03, 1.0, 14.6]))
    assert torch.isfinite(level).all() and (level.diff() > 0).all()


@pytest.mark.parametrize("noise_scale", [1.0, 8.0])
@given(st.floats(0.001, 0.999))
def test_a_flow_model_in_variance_exploding_form_is_the_same_picture_and_noise(noise_scale, sigma):
    x0, noise = clean_and_noise()
    level = torch.full((6,), sigma)
    x = (1 - sigma) * x0 + sigma * noise_scale * noise
    exploded, spread = exploding(x, level, noise_scale)
    torch.testing.assert_close(exploded, add_noise(x0, noise, spread), rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(flowing(exploded, spread, noise_scale), (x, level), rtol=1e-4, atol=1e-5)


def test_the_first_sigma_of_a_flow_model_stays_finite():
    first = torch.ones(1, 4, 2, 2), torch.ones(1)
    x, sigma = exploding(*first)
    assert torch.isfinite(x).all() and torch.isfinite(sigma).all()
    torch.testing.assert_close(flowing(x, sigma), first, rtol=1e-6, atol=0)


def test_each_picture_has_its_own_sigma():
    x0, noise = clean_and_noise(count=3)
    x = add_noise(x0, noise, torch.tensor([0.0, 1.0, 5.0]))
    torch.testing.assert_close(x[0], x0[0])
    torch.testing.assert_close(x[2], x0[2] + 5 * noise[2])


@pytest.mark.parametrize("shape", [(64, 96), (1, 64, 96), (2, 64, 96), (2, 1, 64, 96), (9, 1, 8, 12)], ids=str)
def test_masks_of_any_size_and_number_fit_a_batch(shape):
    mask, x = torch.zeros(shape), torch.zeros(5, 4, 8, 12)
    mask[..., shape[-1] // 2 :] = 1
    fitted = fit_mask(mask, x)
    assert fitted.shape == (5, 1, 8, 12) and not fitted[..., :6].any() and (fitted[..., 6:] == 1).all()
