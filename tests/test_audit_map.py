"""Maps of where a correction acted."""

import torch

from corrector.auditing.map import Acts, overlay, step_tiles


def acts():
    """Two pictures, three steps; only the upper left of the first is corrected, and less at each step."""
    acts = Acts()
    for step in range(3):
        corrected = acts.before_correction(torch.zeros(2, 4, 8, 8)).clone()
        corrected[0, :, :4, :4] = 3.0 - step
        acts.after_correction(corrected)
    return acts


def test_the_mask_is_where_the_correction_acted_and_empty_where_it_did_not():
    mask = acts().mask
    assert mask[0, :4, :4].min() == 1 and mask[0, 4:, 4:].max() == 0 and mask[1].max() == 0


def test_the_steps_show_when_it_acted():
    first, second = step_tiles(acts())[..., 0]  # [98, 3 x 98] each: a tile a step
    brightest = [tile.max() for tile in first.chunk(3, dim=1)]
    assert brightest[0] > brightest[1] > brightest[2] > second.max()


def test_the_overlay_marks_corrected_parts_and_greys_the_rest():
    pictures = torch.zeros(2, 64, 64, 3)
    pictures[..., 2] = 1.0
    shown = overlay(pictures, acts().mask)
    assert shown.shape == pictures.shape and shown.min() >= 0 and shown.max() <= 1
    assert shown[0, 8, 8, 0] > 0.5 > shown[0, 60, 60, 0]
    assert torch.equal(shown[1, 8, 8], shown[1, 60, 60])
