"""Gives finished pictures the skin tone of their plain previews, wherever skin is in each of them.

Both are looked at as pictures. Skin is what has the colour of the axis' box of skin in both: clay walls have it, too,
but not where the finished picture shows a city. The latents' cells of skin are moved along the likeliest change that
makes them lighter or darker, as far as a cell is skin, until the mean lightness is the preview's. Nothing is trained,
and the model is not asked.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..latents.skin import Region, box_of, fit_colours, lab_of

HUE_REACH = 8.0  # distance from the box' median in a*, b* up to which a pixel is skin; 1.5 times it: not at all
LIGHTNESS_REACH = 10.0  # the same in L*, from the middle of the skin
GROWTH = 16  # pixels per side of a picture for one by which skin may have moved since the preview
ROUNDS = 2  # in which the middle of the skin is found, and in which latents are moved
LIGHTNESS_PER_RGB = 50.0  # points of L* for each unit of RGB in -1..1, about


def with_skin_of(preview: Tensor, made: Tensor, pictures: Callable[[Tensor], Tensor], region: Region) -> Tensor:
    """`made` with the lightness of skin that `preview` has, picture by picture [N, C, H, W], in float32.

    Args:
        preview, made: finished latents [N, C, H, W] in model space.
        pictures: latents -> pictures [N, 3, height, width] in -1..1, by the VAE or as approximate colours.
        region: the axis' box of skin.
    """
    shown = pictures(preview)
    lighter = fit_colours(preview, shown).lighter(preview)  # [C]
    before = lab_of(shown)  # [N, height, width, 3]
    hue = _middle(before, region)[:, 1:]
    alike_before, made = _alike(before, hue), made.float()
    for _ in range(ROUNDS):
        after = lab_of(pictures(made))
        alike = _alike(after, hue)
        both = alike_before * alike
        skin_before, goal = _skin(before, both, region)
        _, lightness = _skin(after, both, region)
        skin, _ = _skin(after, alike * _grown(skin_before), region)
        covered = F.interpolate(skin[:, None], made.shape[-2:], mode="area")[:, 0]  # [N, H, W]
        change = torch.einsum("n,nhw,c->nchw", (goal - lightness) / LIGHTNESS_PER_RGB, covered, lighter)
        made = made + change.nan_to_num().to(made.device)
    return made


def _middle(lab: Tensor, region: Region) -> Tensor:
    """The median L*, a*, b* of the box [N, 3]."""
    rows, columns = (slice(part.start, max(part.stop, part.start + 1)) for part in box_of(region, *lab.shape[1:3]))
    return lab[:, rows, columns].flatten(1, 2).median(dim=1).values


def _alike(lab: Tensor, hue: Tensor) -> Tensor:
    """How surely each pixel has a hue [N, 2] of skin [N, height, width] in 0..1, whatever its lightness."""
    return (1.5 - (lab[..., 1:] - hue[:, None, None]).norm(dim=-1) / HUE_REACH).clamp(0, 1)


def _grown(skin: Tensor) -> Tensor:
    """Skin [N, height, width] and what is near it."""
    reach = min(skin.shape[1:]) // GROWTH
    return F.max_pool2d(skin[:, None], 2 * reach + 1, stride=1, padding=reach)[:, 0]


def _skin(lab: Tensor, alike: Tensor, region: Region) -> tuple[Tensor, Tensor]:
    """How surely each pixel is skin [N, height, width] in 0..1, and the mean lightness of skin [N].

    It is what is alike and near the middle lightness, which starts at the box'; NaN without any skin.
    """
    middle, skin = _middle(lab, region)[:, 0], alike
    for _ in range(ROUNDS):
        skin = alike * (1.5 - (lab[..., 0] - middle[:, None, None]).abs() / LIGHTNESS_REACH).clamp(0, 1)
        middle = (lab[..., 0] * skin).sum(dim=(1, 2)) / skin.sum(dim=(1, 2))
    return skin, middle
