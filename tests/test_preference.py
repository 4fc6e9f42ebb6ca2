"""The two sources: log-odds [B] and push [B, C, H, W]."""

import pytest
import torch

from corrector.latents.spaces import MOST_NOISE, exploding
from corrector.preference.networks import LOWEST_SIGMA, Distilled, PreferenceError

SIZES = [(16, 16), (15, 16), (7, 13), (1, 1), (2, 33)]


def fresh(seed=0, **config):
    """A source for inference whose weights are all random, also those that are initialised to zero."""
    generator = torch.Generator().manual_seed(seed)
    source = Distilled(**{"space": "miniature", "groups": 3, "width": 16, "blocks": 1, **config})
    for parameter in source.parameters():
        parameter.data = 0.2 * torch.randn(parameter.shape, generator=generator)
    return source.eval().requires_grad_(False)


def step(size=(16, 16), batch=3, channels=4):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(batch, channels, *size, generator=generator)
    return x, torch.linspace(0.1, 10, batch), torch.arange(batch) % 3


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("patch", [1, 2])
def test_a_push_has_the_size_of_the_latent(size, patch):
    x, sigma, group = step(size)
    reading = fresh(patch=patch)(x, sigma, group, x)
    assert reading.push.shape == x.shape and reading.log_odds.shape == (3,)
    assert torch.isfinite(reading.push).all() and torch.isfinite(reading.log_odds).all()


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_a_source_gives_the_same_result_in_inference_mode(mode):
    x, sigma, group = step()
    source = fresh()
    plain = source(x, sigma, group, x)
    with mode():
        reading = source(x.clone(), sigma.clone(), group.clone(), x.clone())
    torch.testing.assert_close(reading.push, plain.push)
    torch.testing.assert_close(reading.log_odds, plain.log_odds)
    assert not reading.push.requires_grad and not reading.log_odds.requires_grad


def test_pictures_of_a_batch_are_independent():
    x, sigma, group = step()
    together = fresh()(x, sigma, group, x)
    alone = fresh()(x[1:2], sigma[1:2], group[1:2], x[1:2])
    torch.testing.assert_close(together.push[1:2], alone.push, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together.log_odds[1:2], alone.log_odds, rtol=1e-4, atol=1e-5)


def test_a_learned_source_reads_the_prediction_for_the_prompt_and_pushes_nowhere_below_its_sigmas():
    source, (x, _, group) = fresh(), step()
    sigma = torch.tensor([LOWEST_SIGMA * 0.99, LOWEST_SIGMA, 8.0])
    first, second = (source(x, sigma, group, prediction) for prediction in (x, -x))
    assert (first.log_odds != second.log_odds).all()
    assert not first.push[0].any() and (first.push[1:].abs().amax(dim=(1, 2, 3)) > 0).all()


def test_a_learned_source_works_at_the_first_sigma_of_a_flow_model():
    x, _, group = step(channels=16)
    x, sigma = exploding(x, torch.ones(3))
    reading = fresh(space="flux")(x, sigma, group, x / MOST_NOISE)
    assert torch.isfinite(reading.push).all()


def test_latents_of_another_space_are_refused_with_both_channel_counts():
    with pytest.raises(PreferenceError, match=r"16 channels.*miniature.*has 4.*made for this model"):
        fresh()(*step(channels=16), None)
