"""The three sources of the preference behind one call: log-odds [B] and push [B, C, H, W]."""

import pytest
import torch

from corrector.latent_space.spaces import push_from_gradient
from corrector.preference.networks import Classifier, Distilled, PreferenceError
from corrector.preference.text import Text

SIZES = [(16, 16), (15, 16), (7, 13), (1, 1), (2, 33)]


def fresh(kind, seed=0, **config):
    """A source with random weights, also where they start at zero, ready for inference."""
    generator = torch.Generator().manual_seed(seed)
    source = kind(**{"space": "miniature", "groups": 3, "width": 16, "blocks": 1, **config})
    for parameter in source.parameters():
        parameter.data = 0.2 * torch.randn(parameter.shape, generator=generator)
    return source.eval().requires_grad_(False)


def step(size=(16, 16), batch=3, channels=4):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(batch, channels, *size, generator=generator)
    return x, torch.linspace(0.1, 10, batch), torch.arange(batch) % 3


@pytest.mark.parametrize("kind", [Distilled, Classifier])
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("patch", [1, 2])
def test_a_push_has_the_size_of_the_latent_whatever_that_is(kind, size, patch):
    x, sigma, group = step(size)
    reading = fresh(kind, patch=patch)(x, sigma, group)
    assert reading.push.shape == x.shape and reading.log_odds.shape == (3,)
    assert torch.isfinite(reading.push).all() and torch.isfinite(reading.log_odds).all()


@pytest.mark.parametrize("kind", [Distilled, Classifier])
@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_a_source_reads_the_same_under_inference_mode_as_hosts_run_it(kind, mode):
    x, sigma, group = step()
    source = fresh(kind)
    plain = source(x, sigma, group)
    with mode():
        reading = source(x.clone(), sigma.clone(), group.clone())
    torch.testing.assert_close(reading.push, plain.push)
    torch.testing.assert_close(reading.log_odds, plain.log_odds)
    assert not reading.push.requires_grad and not reading.log_odds.requires_grad


def test_distilled_calls_no_autograd(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("autograd was called")

    monkeypatch.setattr(torch.autograd, "grad", refuse)
    monkeypatch.setattr(torch.Tensor, "backward", refuse)
    with torch.inference_mode():
        assert fresh(Distilled)(*step()).push.grad_fn is None


def test_the_classifiers_push_is_sigma_squared_times_the_gradient_of_its_log_odds():
    x, sigma, group = step((6, 6))
    source = fresh(Classifier)
    wanted = torch.zeros_like(x)
    for index in range(4):  # central differences in a few directions, in double
        source = source.double()
        direction = torch.zeros_like(x, dtype=torch.float64)
        direction[:, index, 2, 3] = 1e-4
        ahead, behind = (source.log_odds(x.double() + s * direction, sigma.double(), group) for s in (1, -1))
        wanted[:, index, 2, 3] = ((ahead - behind) / 2e-4).float()
    push = source.float()(x, sigma, group).push
    wanted = push_from_gradient(wanted, sigma)
    torch.testing.assert_close(push[:, :, 2, 3], wanted[:, :, 2, 3], rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("kind", [Distilled, Classifier])
def test_images_of_a_batch_are_read_independently(kind):
    x, sigma, group = step()
    together = fresh(kind)(x, sigma, group)
    alone = fresh(kind)(x[1:2], sigma[1:2], group[1:2])
    torch.testing.assert_close(together.push[1:2], alone.push, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together.log_odds[1:2], alone.log_odds, rtol=1e-4, atol=1e-5)


def test_the_group_that_the_prompt_names_changes_the_reading():
    x, sigma, _ = step()
    first, second = (fresh(Distilled)(x, sigma, torch.full((3,), group)) for group in (0, 1))
    assert not torch.allclose(first.push, second.push)


def test_distilled_works_for_flow_latents_at_sigma_one():
    x, _, group = step(channels=16)
    reading = fresh(Distilled, space="flux")(x, torch.ones(3), group)
    assert torch.isfinite(reading.push).all()


@pytest.mark.parametrize("kind", [Distilled, Classifier])
def test_latents_of_another_space_are_refused_with_both_channel_counts(kind):
    with pytest.raises(PreferenceError, match=r"16 channels.*miniature.*has 4.*made for this model"):
        fresh(kind)(*step(channels=16))


def text_of(counter=1.0, stereotype=-1.0):
    """A Text source in a run, whose host predicts constant sides."""
    return Text("counter", "stereotype").in_run(
        lambda text, x, sigma: (torch.full_like(x, counter), torch.full_like(x, stereotype))
    )


def mixed(x, share, counter=1.0, stereotype=-1.0):
    """What a model predicts that believes in the counter side by `share` [B]."""
    q = torch.as_tensor(share).view(-1, 1, 1, 1)
    return q * torch.full_like(x, counter) + (1 - q) * torch.full_like(x, stereotype)


def test_text_finds_each_images_own_share():
    x, _, group = step()
    reading = text_of()(x, torch.full((3,), 5.0), group, mixed(x, [0.1, 0.5, 0.9]))
    torch.testing.assert_close(reading.log_odds.sigmoid(), torch.tensor([0.1, 0.5, 0.9]))
    torch.testing.assert_close(reading.push, torch.full_like(x, 2.0))


def test_text_smooths_along_a_run_and_forgets_when_sigma_rises_again():
    x, _, group = step(batch=1)
    source = text_of()

    def share(sigma, true):
        return float(source(x, torch.full((1,), sigma), group, mixed(x, [true])).log_odds.sigmoid())

    assert share(10.0, 0.2) == pytest.approx(0.2)
    assert share(5.0, 0.8) == pytest.approx(0.5)
    assert share(10.0, 0.8) == pytest.approx(0.8)  # a sampler that steps back: nothing is left of the first
    assert text_of().previous is None


def test_text_with_two_sides_that_agree_pushes_nowhere_and_stays_finite():
    x, _, group = step()
    reading = text_of(1.0, 1.0)(x, torch.ones(3), group, mixed(x, [0.5] * 3, 1.0, 1.0))
    assert not reading.push.any() and torch.isfinite(reading.log_odds).all()
