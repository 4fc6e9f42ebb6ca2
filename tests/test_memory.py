"""Which pictures are found again by their latents, and which are not."""

import pytest
import torch
import torch.nn.functional as F

from corrector.correction.decision import PastDecision
from corrector.correction.memory import Memory


def pictures(count=6, size=(16, 16), seed=0, channels=4):
    """Smooth latents that are as unlike as pictures of one prompt: a part is common to all."""
    generator = torch.Generator().manual_seed(seed)
    cells = [max(2, side // 3) for side in size]
    common = torch.randn(1, channels, *cells, generator=torch.Generator().manual_seed(99))
    own = torch.randn(count, channels, *cells, generator=generator)
    return F.interpolate(common + own, size, mode="bicubic")


def decisions(count=6):
    return [{"axis": PastDecision(0, index % 2 == 0, "" if index % 2 == 0 else "left")} for index in range(count)]


def remembering(latents, context="graph"):
    memory = Memory()
    memory.keep(latents, decisions(len(latents)), context)
    return memory


def blended(latents, share):
    """Latents of which `share` of the variance is noise: their likeness R^2 to the originals is 1 - share."""
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(3))
    cells = F.adaptive_avg_pool2d(noise, 8)
    centred = F.adaptive_avg_pool2d(latents, 8)
    centred = centred - centred.mean(dim=(2, 3), keepdim=True)
    scale = (centred.square().sum(dim=(1, 2, 3)) / cells.square().sum(dim=(1, 2, 3))).sqrt()
    return latents + (share / (1 - share)) ** 0.5 * scale.view(-1, 1, 1, 1) * noise


@pytest.mark.parametrize("size", [(16, 16), (24, 40), (64, 64)], ids=str)
def test_the_same_latents_are_found_in_any_order_in_parts_and_at_another_size(size):
    latents, known = pictures(size=size), decisions()
    memory = remembering(latents)
    assert memory.find(latents) == known
    assert memory.find(latents[[4, 1]]) == [known[4], known[1]]
    assert memory.find(torch.randn(6, 4, *size, generator=torch.Generator().manual_seed(1))) == [None] * 6
    for scale in (1.25, 1.5, 2.0):
        for mode in ("nearest", "bilinear", "bicubic"):
            larger = F.interpolate(latents, scale_factor=scale, mode=mode)
            assert memory.find(larger) == known and memory.find(larger[3:4]) == known[3:4]


def test_noisy_latents_are_found_by_themselves():
    noisy = torch.randn(6, 4, 64, 64, generator=torch.Generator().manual_seed(4))
    assert remembering(noisy).find(noisy[[2, 5]]) == [decisions()[2], decisions()[5]]


@pytest.mark.parametrize(
    "share, context, recognised", [(0.1, None, True), (0.2, None, False), (0.4, "graph", True), (0.55, "graph", False)]
)
def test_a_picture_must_be_alike_by_85_percent_of_its_variance_and_by_half_in_the_same_graph(
    share, context, recognised
):
    latents = pictures(size=(8, 8))
    assert remembering(latents).find(blended(latents, share), context=context) == (
        decisions() if recognised else [None] * 6
    )


def test_the_repainted_part_does_not_count():
    latents, mask = pictures(), torch.zeros(1, 1, 128, 128)
    mask[..., 32:96, 32:96] = 1
    grey = latents.clone()
    grey[..., 4:12, 4:12] = 0
    assert remembering(latents).find(grey, mask) == decisions()
    assert None in remembering(latents).find(grey), "the test would pass without the mask"


def test_pictures_of_other_seeds_and_channels_crops_and_broken_ones_are_new():
    memory = remembering(pictures())
    assert memory.find(pictures(seed=5)) == memory.find(pictures(channels=16)) == [None] * 6
    assert memory.find(pictures()[..., :8, :8]) == memory.find(pictures() * torch.nan) == [None] * 6
    assert Memory().find(pictures()) == [None] * 6


def test_the_newest_decision_counts_and_the_oldest_of_more_than_1024_are_forgotten():
    latents = pictures(2)
    memory = remembering(latents)
    later = [{"axis": PastDecision(1, False, "later")}] * 2
    memory.keep(latents, later)
    assert memory.find(latents) == later
    memory.keep(pictures(1022, seed=10), decisions(1022))
    assert memory.find(latents) == later
    memory.keep(pictures(1, seed=11), decisions(1))
    assert memory.find(latents) == [None, later[1]]
