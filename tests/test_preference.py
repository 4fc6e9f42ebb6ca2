"""The learned source: the update [B, C, H, W]."""

import pytest
import torch

from corrector.latents.spaces import MOST_NOISE, exploding
from corrector.preference.networks import CLOSED, Distilled, PreferenceError

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
def test_an_update_has_the_size_of_the_latent(size, patch):
    x, sigma, group = step(size)
    update = fresh(patch=patch)(x, sigma, group, x)
    assert update.shape == x.shape and torch.isfinite(update).all()


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_a_source_gives_the_same_result_in_inference_mode(mode):
    x, sigma, group = step()
    source = fresh()
    plain = source(x, sigma, group, x)
    with mode():
        update = source.update(x.clone(), sigma.clone(), group.clone(), x.clone())
    torch.testing.assert_close(update[sigma >= CLOSED], plain[sigma >= CLOSED])
    assert not update.requires_grad


def test_pictures_of_a_batch_are_independent():
    x, sigma, group = step()
    together = fresh()(x, sigma, group, x)
    alone = fresh()(x[1:2], sigma[1:2], group[1:2], x[1:2])
    torch.testing.assert_close(together[1:2], alone, rtol=1e-4, atol=1e-5)


def test_a_learned_source_reads_the_prediction_for_the_prompt_and_changes_nothing_once_it_is_closed():
    source, (x, _, group) = fresh(), step()
    sigma = torch.tensor([CLOSED * 0.99, CLOSED, 8.0])
    first, second = (source.update(x, sigma, group, prediction) for prediction in (x, -x))
    assert not first[0].any() and (first[1:] != second[1:]).flatten(1).any(dim=1).all()
    assert not source.update(x, sigma / 10, group, x).any()


def test_a_source_whose_weights_are_broken_is_refused_and_a_broken_prediction_is_not_its_fault():
    source, (x, sigma, group) = fresh(), step()
    assert source.update(x, sigma, group, x / 0).isnan().any()
    source.last.weight.fill_(float("inf"))
    with pytest.raises(PreferenceError, match=r"gives NaN or infinity for these latents.*learn it again"):
        source.update(x, sigma, group, x)


def test_a_learned_source_works_at_the_first_sigma_of_a_flow_model():
    x, _, group = step(channels=16)
    x, sigma = exploding(x, torch.ones(3))
    update = fresh(space="flux").update(x, sigma, group, x / MOST_NOISE)
    assert torch.isfinite(update).all() and update.any()


def test_latents_of_another_space_are_refused_with_both_channel_counts():
    with pytest.raises(PreferenceError, match=r"16 channels.*miniature.*has 4.*made for this model"):
        fresh()(*step(channels=16), None)
