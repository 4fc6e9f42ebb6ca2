"""Keeps the skin of each picture as light as in its plain preview, where it is in that picture.

What the model predicts is looked at by the latents' linear colours, which hosts have for their previews. Skin is what
has the colour that the preview has in the axis' box of skin. Its cells are moved along the smallest change that makes
them lighter or darker, until their mean lightness is the preview's. Nothing is trained, and the model is not asked.
"""

import torch
from torch import Tensor

from ..latents.skin import LinearColours, Region, box_of

HUE_REACH = 8.0  # distance in a*, b* from the preview's skin up to which a cell is skin for sure; 1.5 times it: not
LIGHTNESS_REACH = 25.0  # the same in L*: corrected skin may be lighter or darker before it is moved
PREVIEW_REACH = 15.0  # the same in the preview itself
LIGHTNESS_PER_RGB = 50.0  # points of L* for each unit of RGB in -1..1
FEWEST_CELLS = 0.5  # of skin, below which a picture is left as it is


class HeldSkin:
    """The skin of plain previews, to which the pictures of a run are held.

    Args:
        preview: latents [B, C, H, W] in model space of the same pictures without correction.
        colours: LinearColours of the model.
        region: the axis' box of skin.
    """

    def __init__(self, preview: Tensor, colours: LinearColours, region: Region):
        self.colours = colours
        self.lighter = colours.lighter(preview)  # [C]
        lab = colours.lab(preview)  # [B, H, W, 3]
        rows, columns = (_not_empty(part) for part in box_of(region, *lab.shape[1:3]))
        self.skin = lab[:, rows, columns].flatten(1, 2).median(dim=1).values  # [B, 3]
        self.lightness = _mean_lightness(lab, self._found(lab, PREVIEW_REACH))  # [B]

    def _found(self, lab: Tensor, reach: float, index: Tensor | slice = slice(None)) -> Tensor:
        """How surely each cell is skin [N, H, W] in 0..1, for the pictures at `index`."""
        difference = lab - self.skin[index, None, None]
        hue = difference[..., 1:].norm(dim=-1) / HUE_REACH
        lightness = difference[..., 0].abs() / reach
        return (1.5 - hue).clamp(0, 1) * (1.5 - lightness).clamp(0, 1)

    def change(self, denoised: Tensor, index: Tensor) -> Tensor:
        """What to add to denoised [N, C, H, W], predictions after CFG of the pictures at `index` [N]."""
        lab, index = self.colours.lab(denoised), index.cpu()
        found = self._found(lab, LIGHTNESS_REACH, index)
        missing = (self.lightness[index] - _mean_lightness(lab, found)) / LIGHTNESS_PER_RGB
        missing = torch.where(found.sum(dim=(1, 2)) > FEWEST_CELLS, missing, 0.0).nan_to_num()
        change = torch.einsum("n,nhw,c->nchw", missing, found, self.lighter)
        return change.to(denoised.device)


def _not_empty(cells: slice) -> slice:
    return slice(cells.start, max(cells.stop, cells.start + 1))


def _mean_lightness(lab: Tensor, found: Tensor) -> Tensor:
    """The mean L* [N] of what was found [N, H, W]."""
    return (lab[..., 0] * found).sum(dim=(1, 2)) / found.sum(dim=(1, 2)).clamp(min=1e-6)
