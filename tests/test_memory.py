"""Which pictures are found again by their latents, and which are not."""

import pytest
import torch
import torch.nn.functional as F

from corrector.correction import memory
from corrector.correction.decision import Decided
from corrector.correction.memory import Memory

SIZES = [(16, 16), (24, 40), (64, 64)]


def pictures(count=6, size=(16, 16), seed=0, channels=4):
    """Smooth latents that are as unlike as pictures of one prompt: a part is common to all."""
    generator = torch.Generator().manual_seed(seed)
    cells = [max(2, side // 3) for side in size]
    common = torch.randn(1, channels, *cells, generator=torch.Generator().manual_seed(99))
    own = torch.randn(count, channels, *cells, generator=generator)
    return F.interpolate(common + own, size, mode="bicubic")


def decided(count):
    return [{"axis": Decided(0, index % 2 == 0, "" if index % 2 == 0 else "left")} for index in range(count)]


def remembering(latents, context="graph"):
    found = Memory()
    found.keep(latents, decided(len(latents)), context)
    return found


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_very_same_latents_are_found_in_any_order_and_in_parts(size):
    latents = pictures(size=size)
    found, known = remembering(latents), decided(6)
    assert found.find(latents) == known
    assert found.find(latents[[4, 1]]) == [known[4], known[1]]
    assert found.find(latents.half().float()[2:3])[0] == known[2], "also after a round trip through half precision"


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("scale", [1.25, 1.5, 2.0])
@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
def test_latents_of_another_size_are_found(size, scale, mode):
    latents = pictures(size=size)
    larger = F.interpolate(latents, scale_factor=scale, mode=mode)
    assert remembering(latents).find(larger) == decided(6)
    assert remembering(latents).find(larger[3:4]) == decided(6)[3:4], "also one alone"


def test_latents_that_a_vae_changed_a_little_are_found():
    latents = pictures()
    noisy = latents + 0.2 * latents.std() * torch.randn(latents.shape, generator=torch.Generator().manual_seed(3))
    assert remembering(latents).find(noisy) == decided(6)


@pytest.mark.parametrize("place", [(0, 0), (0, 12), (10, 7), (12, 12)])
def test_a_tile_is_found_in_its_picture(place):
    latents = pictures(size=(24, 24))
    top, left = place
    tile = F.interpolate(latents, scale_factor=2, mode="bilinear")[
        ..., 2 * top : 2 * top + 24, 2 * left : 2 * left + 24
    ]
    assert [remembering(latents).find(one[None], context="graph")[0] for one in tile] == decided(6)


def test_what_is_painted_anew_does_not_count():
    latents = pictures()
    mask = torch.zeros(1, 1, 128, 128)
    mask[..., 32:96, 32:96] = 1
    grey = latents.clone()
    grey[..., 4:12, 4:12] = 0
    assert [remembering(latents).find(one[None], mask)[0] for one in grey] == decided(6)
    alone = [remembering(latents).find(one[None])[0] for one in grey]
    assert None in alone, "the test would pass without the mask"


def test_pictures_of_other_seeds_and_other_channels_are_unknown():
    found = remembering(pictures())
    assert found.find(pictures(seed=5)) == [None] * 6
    assert found.find(pictures(channels=16)) == [None] * 6
    assert Memory().find(pictures()) == [None] * 6


def test_the_newest_decision_counts_and_the_oldest_are_forgotten(monkeypatch):
    monkeypatch.setattr(memory, "KEPT", 12)
    latents = pictures(2)
    found = remembering(latents)
    later = [{"axis": Decided(1, False, "later")}] * 2
    found.keep(latents, later)
    assert found.find(latents) == later
    for seed in range(3):
        found.keep(pictures(seed=10 + seed), decided(6))
    assert found.find(latents) == [None, None]
    assert found.find(pictures(seed=12)) == decided(6)
