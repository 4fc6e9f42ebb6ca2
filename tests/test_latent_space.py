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


@pytest.mark.parametrize("prediction", ["eps", "v", "flow"])
@given(st.floats(0.01, 20))
def test_the_rule_of_each_prediction_recovers_x0(prediction, sigma):
    flow = prediction == "flow"
    level = torch.full((6,), sigma / 20 if flow else sigma)
    x0, noise = clean_and_noise()
    v = (noise - sigma * x0) / (sigma**2 + 1) ** 0.5  # Salimans & Ho 2022, with alpha = 1 / sqrt(1 + sigma^2)
    output = {"eps": noise, "v": v, "flow": noise - x0}[prediction]
    denoised = denoised_from_output(output, add_noise(x0, noise, level, flow), level, prediction)
    torch.testing.assert_close(denoised, x0, rtol=1e-3, atol=1e-4 * (1 + sigma))


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


def test_the_noise_level_rises_with_sigma_and_is_finite_at_both_ends():
    for level in (noise_level(torch.tensor([0.0, 0.03, 1.0, 14.6])), noise_level(torch.tensor([0.0, 0.5, 1.0]), True)):
        assert torch.isfinite(level).all() and (level.diff() > 0).all()


def test_each_picture_has_its_own_sigma():
    x0, noise = clean_and_noise(count=3)
    x = add_noise(x0, noise, torch.tensor([0.0, 1.0, 5.0]))
    torch.testing.assert_close(x[0], x0[0])
    torch.testing.assert_close(x[2], x0[2] + 5 * noise[2])


def test_flow_spaces_are_those_of_sd3_and_flux():
    assert {"sd15", "sdxl", "miniature"} <= set(LATENT_SPACES)
    assert [name for name, space in LATENT_SPACES.items() if space.flow] == ["sd3", "flux"]


@pytest.mark.parametrize("shape", [(64, 96), (1, 64, 96), (2, 64, 96), (2, 1, 64, 96), (9, 1, 8, 12)], ids=str)
def test_masks_of_any_size_and_number_fit_a_batch(shape):
    mask, x = torch.zeros(shape), torch.zeros(5, 4, 8, 12)
    mask[..., shape[-1] // 2 :] = 1
    fitted = fit_mask(mask, x)
    assert fitted.shape == (5, 1, 8, 12) and not fitted[..., :6].any() and (fitted[..., 6:] == 1).all()
