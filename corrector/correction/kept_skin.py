"""Gives finished pictures the skin tone of their plain previews, wherever skin is in each of them.

Both are looked at as pictures. Skin is what has the colour of the axis' box of skin and lies where the predictions for
the two sides hardly differ: clay walls have the colour of skin, too. The latents' cells of skin are moved along the
likeliest change that makes them lighter or darker, in proportion to how much of a cell is skin, until the mean
lightness is the preview's. Nothing is trained, and the model is not asked.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..latents.skin import Region, box_of, fit_colours, lab_of

HUE_REACH = 8.0  # distance from the box' median in a*, b* up to which a pixel is skin; 1.5 times it: not at all
LIGHTNESS_REACH = 10.0  # the same in L*, from the middle of the skin
SETTLED = 1.5  # times the mean difference of the two sides' predictions, from which a cell is not skin at all
ROUNDS = 2  # in which the middle of the skin is found, and in which latents are moved
LIGHTNESS_PER_RGB = 50.0  # points of L* for each unit of RGB in -1..1, about


def with_skin_of(
    preview: Tensor, made: Tensor, difference: Tensor, pictures: Callable[[Tensor], Tensor], region: Region
) -> Tensor:
    """`made` with the lightness of skin that `preview` has, picture by picture [N, C, H, W], in float32.

    Args:
        preview, made: finished latents [N, C, H, W] in model space.
        difference: of the two sides' predictions [N, H, W], squared.
        pictures: latents -> pictures [N, 3, height, width] in -1..1, by the VAE or as approximate colours.
        region: the axis' box of skin.
    """
    before = pictures(preview)
    lab = lab_of(before)  # [N, height, width, 3]
    relative = difference / difference.mean(dim=(1, 2), keepdim=True).clamp(min=1e-12)
    place = (SETTLED - relative).clamp(0, 1)[:, None].cpu().float()
    place = F.interpolate(place, lab.shape[1:3], mode="bilinear")[:, 0]  # [N, height, width]
    hue = _middle(lab, region)[:, 1:]
    _, wanted = _skin(lab, place, hue, region)
    lighter = fit_colours(preview, before).lighter(preview)  # [C]
    made = made.float()
    for _ in range(ROUNDS):
        lab = lab_of(pictures(made))
        skin, lightness = _skin(lab, place, hue, region)
        covered = F.interpolate(skin[:, None], made.shape[-2:], mode="area")[:, 0]  # [N, H, W]
        change = torch.einsum("n,nhw,c->nchw", (wanted - lightness) / LIGHTNESS_PER_RGB, covered, lighter)
        made = made + change.nan_to_num().to(made.device)
    return made


def _middle(lab: Tensor, region: Region) -> Tensor:
    """The median L*, a*, b* of the box [N, 3]."""
    rows, columns = (slice(part.start, max(part.stop, part.start + 1)) for part in box_of(region, *lab.shape[1:3]))
    return lab[:, rows, columns].flatten(1, 2).median(dim=1).values


def _skin(lab: Tensor, place: Tensor, hue: Tensor, region: Region) -> tuple[Tensor, Tensor]:
    """How surely each pixel is skin [N, height, width] in 0..1, and the mean lightness of skin [N]."""
    middle = _middle(lab, region)[:, 0]
    alike = (1.5 - (lab[..., 1:] - hue[:, None, None]).norm(dim=-1) / HUE_REACH).clamp(0, 1) * place
    skin = alike
    for _ in range(ROUNDS):
        skin = alike * (1.5 - (lab[..., 0] - middle[:, None, None]).abs() / LIGHTNESS_REACH).clamp(0, 1)
        middle = (lab[..., 0] * skin).sum(dim=(1, 2)) / skin.sum(dim=(1, 2))  # NaN without any skin
    return skin, middle
