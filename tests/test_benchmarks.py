"""What the benchmarks compute from pictures: target shares, weights of tone, and judges that can say "neither side"."""

import numpy as np
import pytest
import torch

from benchmarks.sampling_settings import tilted
from benchmarks.shares import SIZE, TARGETS, shares
from benchmarks.two_judges import NEITHER, Judge
from benchmarks.worlds import MINIATURE, SECOND, WORLDS
from corrector.latents.statistics import features, frechet
from corrector.miniature.host import Miniature
from corrector.preference.file import load_preference


@pytest.fixture(scope="module")
def host():
    return Miniature(bf16=True)


def test_tilted_weights_have_the_wanted_mean_and_otherwise_stay_as_even_as_they_can():
    values = np.random.default_rng(0).normal(60.0, 4.0, 2000)
    weights = tilted(values, 57.0)
    assert weights.sum() == pytest.approx(1.0) and weights @ values == pytest.approx(57.0, abs=0.01)
    slopes = np.polyfit(values, np.log(weights), 1)
    assert np.log(weights) == pytest.approx(np.polyval(slopes, values), abs=1e-6)
    assert tilted(values, float(values.mean())) == pytest.approx(np.full(2000, 1 / 2000), rel=1e-3)


def test_the_frechet_distance_to_weighed_pictures_is_that_to_the_pictures_they_stand_for():
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(300, 6)), rng.normal(size=(200, 6))
    often = rng.integers(1, 4, size=200)
    assert frechet(first, second, often) == pytest.approx(frechet(first, np.repeat(second, often, axis=0)), rel=0.02)


def test_target_shares_mix_plain_and_corrected_pictures_as_the_decision_says(host):
    preference = load_preference("weights/miniature-backdrop.safetensors")
    prompts, count = MINIATURE.prompts("Orvane", 5 * SIZE + 3), 5 * SIZE + 3
    rows = shares(host, preference, prompts, list(range(count)), [False] * count, [True] * count, 2.0)
    found = {name: (measured, n) for name, measured, n in rows}
    for target in TARGETS:
        (share, *_), n = found[f"share at target {target}"]
        assert n == 5 * SIZE and share == pytest.approx(target, abs=0.1)
        assert found[f"sd in batches at target {target}"][0][0] < 0.1


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_a_world_asks_for_each_value_and_its_prompts_out_of_scope_name_none_of_the_groups(world):
    for attribute, values in world.asking.items():
        for value in values:
            assert all(world.groups[0] in text for text in world.prompts(world.groups[0], 5, attribute, value))
        for text in world.out_of_scope(world.groups, attribute):
            assert not any(group in text for group in world.groups)


def test_the_second_world_is_measured_by_the_same_functions():
    assert SECOND.sides == {"work": ("farmer", "office")} and len(SECOND.asking["work"]) == 3


def test_a_judge_reads_both_sides_and_says_neither_of_ruined_pictures(host):
    judge = Judge(host, "backdrop", MINIATURE.sides["backdrop"], seed=3, pictures=160, steps=80)
    for side in MINIATURE.sides["backdrop"]:
        prompts = MINIATURE.prompts("Orvane", 20, "backdrop", side)
        latents = host.sample(host.encode(prompts), range(20), 2.0, steps=8)
        assert judge.read(host.decode(latents)).count(side) >= 17
        assert judge.read(host.decode(2.5 * latents)).count(NEITHER) >= 15
    assert set(judge.read(torch.rand(10, 3, 128, 128) * 2 - 1)) == {NEITHER}
    assert features(latents).shape == (20, 64)
