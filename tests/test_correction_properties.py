"""Properties for any latents: off is identical, pictures are independent, mask and cap bind, dtypes are kept."""

import pytest
import torch

from corrector.axis.axis import Axis, Side
from corrector.correction.decision import Decision
from corrector.correction.update import Settings, correct
from corrector.preference.preference import Preference
from gaussian_world import GaussianWorld
from steady import given
from steady import strategies as st

SHAPES = st.tuples(st.integers(1, 5), st.just(4), st.integers(1, 9), st.integers(1, 9))
SEEDS = st.integers(0, 2**31)
SIGMAS = st.floats(0.02, 15.0)
DTYPES = st.sampled_from([torch.float16, torch.bfloat16, torch.float32])


def latents(shape, seed, sigma, dtype=torch.float32):
    """Denoised, x and sigma [B] of a step."""
    generator = torch.Generator().manual_seed(seed)
    denoised = torch.randn(shape, generator=generator)
    x = denoised + sigma * torch.randn(shape, generator=generator)
    return denoised.to(dtype), x.to(dtype), torch.full((shape[0],), sigma)


def decision(active):
    group, none = torch.zeros(len(active), dtype=torch.long), torch.zeros(len(active), dtype=torch.bool)
    return Decision(torch.tensor(active), group, torch.zeros(len(active)), none)


def preference_of(shape):
    axis = Axis("t", "t", ("a",), ("{group}",), Side("s", ("s",)), Side("c", ("c",)))
    return Preference(axis, "miniature", GaussianWorld(means=(0.4, -0.4), spreads=(0.8, 0.9), shape=shape[1:]))


def act(denoised, x, sigma, active, **chosen):
    preferences = [preference_of(x.shape)]
    return correct(denoised, x, sigma, preferences, [decision(active)], Settings(**chosen), cfg=3.0)


@given(SHAPES, SEEDS, SIGMAS, DTYPES, st.sampled_from(["strength", "above", "below", "nobody", "no preference"]))
def test_off_returns_the_same_tensor_object(shape, seed, sigma, dtype, why):
    denoised, x, level = latents(shape, seed, sigma, dtype)
    active, chosen = [why != "nobody"] * shape[0], {}
    if why == "strength":
        chosen = {"strength": 0.0}
    elif why == "above":
        chosen = {"window": (sigma / 2, 0.0)}
    elif why == "below":
        chosen = {"window": (float("inf"), sigma * 2)}
    if why == "no preference":
        assert correct(denoised, x, level, [], [], Settings()) is denoised
    else:
        assert act(denoised, x, level, active, **chosen) is denoised


@given(SHAPES, SEEDS, SIGMAS, DTYPES, st.data())
def test_inactive_pictures_are_bit_identical_and_active_ones_change_in_dtype_and_shape_of_the_input(
    shape, seed, sigma, dtype, data
):
    active = data.draw(st.lists(st.booleans(), min_size=shape[0], max_size=shape[0]))
    denoised, x, level = latents(shape, seed, sigma, dtype)
    denoised[..., :1] = -0.0
    kept = denoised.clone(), x.clone(), level.clone()
    corrected = act(denoised, x, level, active)
    assert all(torch.equal(a, b) for a, b in zip((denoised, x, level), kept, strict=True)), "inputs are not modified"
    assert corrected.dtype == dtype and corrected.shape == denoised.shape
    for index, moves in enumerate(active):
        if not moves:
            assert torch.equal(corrected[index], denoised[index])
            assert torch.signbit(corrected[index, ..., :1]).all(), "also the sign of zero"
    if dtype == torch.float32 and sigma > 0.5:
        change = (corrected - denoised).flatten(1).abs().amax(dim=1)
        assert (change[torch.tensor(active)] > 0).all()


@given(SHAPES, SEEDS, SIGMAS, st.floats(0.001, 0.5))
def test_no_picture_changes_by_more_than_the_cap(shape, seed, sigma, cap):
    denoised, x, level = latents(shape, seed, sigma)
    corrected = act(denoised, x, level, [True] * shape[0], cap=cap)
    change = (corrected - denoised).square().mean(dim=(1, 2, 3)).sqrt()
    assert (change <= cap * 1.001 + 1e-6).all()
    free = act(denoised, x, level, [True] * shape[0])
    assert torch.equal(act(denoised, x, level, [True] * shape[0], cap=1e6), free)


@given(SEEDS, SIGMAS, st.integers(1, 4))
def test_the_region_outside_the_mask_is_identical(seed, sigma, batch):
    denoised, x, level = latents((batch, 4, 6, 10), seed, sigma)
    mask = torch.zeros(1, 1, 6, 10)
    mask[..., 5:] = 1
    corrected = act(denoised, x, level, [True] * batch, mask=mask)
    assert torch.equal(corrected[..., :5], denoised[..., :5])
    assert torch.equal(corrected[..., 5:], act(denoised, x, level, [True] * batch)[..., 5:])


@given(SEEDS, SIGMAS, st.lists(st.floats(0, 2), min_size=1, max_size=5))
def test_each_picture_can_have_its_own_strength(seed, sigma, strengths):
    count = len(strengths)
    denoised, x, level = latents((count, 4, 5, 7), seed, sigma)
    together = act(denoised, x, level, [True] * count, strength=torch.tensor(strengths))
    for index, strength in enumerate(strengths):
        one = slice(index, index + 1)
        alone = act(denoised[one], x[one], level[one], [True], strength=strength)
        torch.testing.assert_close(together[one], alone)
        if strength == 0:
            assert torch.equal(together[one], denoised[one])


@pytest.mark.parametrize("strength", [0.5, 1.5, 2.0])
def test_the_correction_grows_in_proportion_to_the_strength(strength):
    denoised, x, level = latents((2, 4, 6, 6), 4, 2.0)
    full = act(denoised, x, level, [True] * 2, strength=1.0) - denoised
    changed = act(denoised, x, level, [True] * 2, strength=strength) - denoised
    torch.testing.assert_close(changed, strength * full, rtol=1e-4, atol=1e-6)


def test_only_pictures_in_the_window_change_and_its_ends_belong_to_it():
    denoised, x, _ = latents((5, 4, 6, 6), 6, 1.0)
    corrected = act(denoised, x, torch.tensor([8.0, 5.0, 2.0, 1.0, 0.1]), [True] * 5, window=(5.0, 1.0))
    assert [not torch.equal(corrected[i], denoised[i]) for i in range(5)] == [False, True, True, True, False]
