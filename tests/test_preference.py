"""The two sources: log-odds [B] and push [B, C, H, W]."""

import pytest
import torch

from corrector.preference.networks import LOWEST_SIGMA, Distilled, PreferenceError
from corrector.preference.text import Text

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


def test_distilled_works_for_flow_latents_at_sigma_one():
    x, _, group = step(channels=16)
    reading = fresh(space="flux")(x, torch.ones(3), group, x)
    assert torch.isfinite(reading.push).all()


def test_latents_of_another_space_are_refused_with_both_channel_counts():
    with pytest.raises(PreferenceError, match=r"16 channels.*miniature.*has 4.*made for this model"):
        fresh()(*step(channels=16), None)


def text_of(counter=1.0, stereotype=-1.0):
    """A Text source in a run whose host predicts constant values for both sides."""
    return Text("counter", "stereotype").in_run(
        lambda text, x, sigma: (torch.full_like(x, counter), torch.full_like(x, stereotype))
    )


def mixed(x, share, counter=1.0, stereotype=-1.0):
    """The prediction of a model whose probability of the counter side is `share` [B]."""
    q = torch.as_tensor(share).view(-1, 1, 1, 1)
    return q * torch.full_like(x, counter) + (1 - q) * torch.full_like(x, stereotype)


def test_text_finds_the_share_of_each_picture():
    x, _, group = step()
    reading = text_of().read(x, torch.full((3,), 5.0), group, mixed(x, [0.1, 0.5, 0.9]))
    torch.testing.assert_close(reading.log_odds.sigmoid(), torch.tensor([0.1, 0.5, 0.9]))
    torch.testing.assert_close(reading.push, torch.full_like(x, 2.0))


def test_text_smooths_over_steps_until_sigma_rises():
    x, _, group = step(batch=1)
    source = text_of()

    def share(sigma, true):
        return float(source.read(x, torch.full((1,), sigma), group, mixed(x, [true])).log_odds.sigmoid())

    assert share(10.0, 0.2) == pytest.approx(0.2)
    assert share(5.0, 0.8) == pytest.approx(0.5)
    assert share(10.0, 0.8) == pytest.approx(0.8)  # sigma rose: no smoothing with the previous step
    assert text_of().previous is None


def test_text_with_equal_sides_has_no_push_and_is_finite():
    x, _, group = step()
    reading = text_of(1.0, 1.0).read(x, torch.ones(3), group, mixed(x, [0.5] * 3, 1.0, 1.0))
    assert not reading.push.any() and torch.isfinite(reading.log_odds).all()
