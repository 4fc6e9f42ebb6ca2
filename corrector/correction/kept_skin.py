"""Sets the skin tone of finished pictures: that of their plain previews, or another by some points of L*.

Latents are looked at as pictures. Skin is what has the colour of the axis' box of skin both in the finished picture and
in one that shows about what it would show without correction (a preview, or the model's prediction for the prompt in
the middle of the run), near the same place and about as much of it: clay walls have it, too, but not where the finished
picture shows a city. It gets another lightness, and the picture is encoded again. Latents change by what that changes
in the encoding, so all else stays as it is; where skin changes much they become the encoding, as at a high CFG scale
latents are none of the VAE's, and a change of these smears faces. A VAE takes over only part of what happens to a small
place: the change is scaled once by what came of it. Nothing is trained, and the model is not asked.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..latents.skin import Pictures, Region, box_of, lab_of, rgb_of

HUE_REACH = 10.0  # distance from the box' median in a*, b* up to which a pixel is skin; 1.5 times it: not at all
LIGHTNESS_REACH = 12.0  # the same in L*, from the middle of the skin
ROUNDS = 2  # in which the middle of the skin is found
GROWTH = 16  # pixels per side of a picture for one by which skin may have moved since the preview
EDGE = 8  # pixels per side of a latent cell for one by which skin is blurred at its edges
PLACES = 32  # per side of a picture, in which its lightness is compared
NEAR = 2.5  # of these: how far around each lightness counts
ELSEWHERE = 0.02  # weight of all other skin
AT_ONCE = 8  # pictures: more take too much memory
ANEW = 0.3  # share of its lightness by which skin changes where latents become the encoding
FACTORS = 0.5, 1.6  # between which a change is scaled: a VAE gives large ones other colours
KEPT = 0.55, 0.2  # share of its area from which skin counts as the same in both pictures, and by how much more wholly
FEW = 1e-4  # area that is none


def skin_lightness(before: Tensor, after: Tensor, region: Region) -> Tensor:
    """The mean lightness of skin in both of two pictures of one person -> CIE L* [N, 2]; NaN where there is none.

    Args:
        before, after: pictures [N, 3, height, width] in -1..1.
        region: the axis' box of skin.
    """
    shown = lab_of(after)
    brightening, skin = _brightening(lab_of(before), shown, region)
    lightness = torch.stack([(1 + brightening) * shown[..., 0], shown[..., 0]], dim=-1)
    return (lightness * skin[..., None]).sum(dim=(1, 2)) / skin.sum(dim=(1, 2))[:, None]


def with_skin_of(
    before: Tensor, made: Tensor, pictures: Pictures, region: Region, change: Tensor | None = None
) -> Tensor:
    """`made` with another lightness of skin, picture by picture [N, C, H, W], in float32 on the CPU.

    Args:
        before, made: latents [N, C, H, W] in model space; `before` shows about what would be there without correction.
        pictures: how the host shows them.
        region: the axis' box of skin.
        change: points of L* by which skin is to change [N]; None gives it the lightness that it has in `before`.
    """
    changes = [None] * len(made) if change is None else change.float().cpu().split(AT_ONCE)
    parts = zip(before.split(AT_ONCE), made.float().cpu().split(AT_ONCE), changes, strict=False)
    return torch.cat([latents + _change(plain, latents, pictures, region, points) for plain, latents, points in parts])


def _change(before, made, pictures, region, points):
    seen, shown = lab_of(pictures.decode(before)), lab_of(pictures.decode(made))
    brightening, skin = _brightening(seen, shown, region)
    if points is not None:
        usual = (shown[..., 0] * skin).sum(dim=(1, 2)) / skin.sum(dim=(1, 2))
        brightening = (points / usual).nan_to_num(0, 0, 0)[:, None, None].expand_as(skin)
    area = _grown(skin, shown.shape[1] // made.shape[2] // EDGE)  # dark eyes hardly change
    encoded = pictures.encode(rgb_of(shown)).float().cpu()

    def brightened(factor: Tensor | float) -> Tensor:
        share = factor * brightening * area
        lighter = shown.clone()
        lighter[..., 0] *= 1 + share
        change = pictures.encode(rgb_of(lighter)).float().cpu() - encoded
        if not pictures.invertible:
            return change
        anew = F.adaptive_max_pool2d((share.abs() / ANEW).clamp(max=1)[:, None], made.shape[2:])
        return change + anew * (encoded - made)

    now = lab_of(pictures.decode(made + brightened(1.0)))
    if points is None:
        gained = brightening - _brightening(seen, now, region)[0]
    else:
        gained = now[..., 0] / shown[..., 0].clamp(min=1) - 1
    asked, got = ((each * skin).sum(dim=(1, 2)) for each in (brightening, gained))
    factor = (asked / got).nan_to_num(1, 1, 1).clamp(*FACTORS)
    return brightened(factor.view(-1, 1, 1))


def _brightening(before: Tensor, after: Tensor, region: Region) -> tuple[Tensor, Tensor]:
    """By what share skin near each pixel is to be lighter, and how surely the pixel is skin [N, height, width] in 0..1.

    Args:
        before, after: L*, a*, b* of the plain and of the finished picture [N, height, width, 3].
        region: the box of skin.
    """
    hue, reach = _middle(before, region)[:, 1:], min(after.shape[1:3]) // GROWTH
    alike = [_alike(lab, hue) for lab in (before, after)]
    both = [_skin(lab, alike[0] * alike[1], region) for lab in (before, after)]
    skin = [
        _skin(lab, there * _grown(elsewhere, reach), region)
        for lab, there, elsewhere in zip((before, after), alike, reversed(both), strict=True)
    ]
    areas = [_blurred(each) + FEW for each in skin]
    kept = _spread(((torch.minimum(*areas) / torch.maximum(*areas) - KEPT[0]) / KEPT[1]).clamp(0, 1), after)
    near = [_near(lab, each * kept) for lab, each in zip((before, after), skin, strict=True)]
    return (near[0] / near[1] - 1).nan_to_num(0, 0, 0), skin[1] * kept


def _middle(lab: Tensor, region: Region) -> Tensor:
    """The median L*, a*, b* of the box [N, 3]."""
    rows, columns = (slice(part.start, max(part.stop, part.start + 1)) for part in box_of(region, *lab.shape[1:3]))
    return lab[:, rows, columns].flatten(1, 2).median(dim=1).values


def _alike(lab: Tensor, hue: Tensor) -> Tensor:
    """How surely each pixel has a hue [N, 2] of skin [N, height, width] in 0..1, whatever its lightness."""
    return (1.5 - (lab[..., 1:] - hue[:, None, None]).norm(dim=-1) / HUE_REACH).clamp(0, 1)


def _skin(lab: Tensor, alike: Tensor, region: Region) -> Tensor:
    """How surely each pixel is skin [N, height, width] in 0..1: it is alike and near skin's middle lightness, which
    starts at the box'.
    """
    middle, skin = _middle(lab, region)[:, 0], alike
    for _ in range(ROUNDS):
        skin = alike * (1.5 - (lab[..., 0] - middle[:, None, None]).abs() / LIGHTNESS_REACH).clamp(0, 1)
        middle = (lab[..., 0] * skin).sum(dim=(1, 2)) / skin.sum(dim=(1, 2))
    return skin.nan_to_num()


def _grown(skin: Tensor, reach: int) -> Tensor:
    """Skin [N, height, width] and what is so many pixels near it."""
    from scipy.ndimage import maximum_filter  # max_pool2d takes minutes

    side = 2 * reach + 1
    return torch.from_numpy(maximum_filter(skin.numpy(), (1, side, side), mode="constant"))


def _near(lab: Tensor, skin: Tensor) -> Tensor:
    """The mean lightness of skin near each pixel [N, height, width]; NaN in a picture without any."""
    bright, area = skin * lab[..., 0], skin
    sums = [_blurred(each) + ELSEWHERE * each.mean(dim=(1, 2), keepdim=True) for each in (bright, area)]
    return _spread(sums[0] / sums[1], lab)


def _blurred(values: Tensor) -> Tensor:
    """Values of pixels [N, height, width], averaged near each of PLACES [N, rows, columns]."""
    from scipy.ndimage import gaussian_filter

    rows, columns = (min(PLACES, side) for side in values.shape[1:])
    places = F.adaptive_avg_pool2d(values[:, None], (rows, columns))[:, 0]
    return torch.from_numpy(gaussian_filter(places.numpy(), (0, NEAR, NEAR), mode="constant"))


def _spread(places: Tensor, lab: Tensor) -> Tensor:
    """Values of PLACES [N, rows, columns] -> of the pixels of a picture [N, height, width, 3]."""
    return F.interpolate(places[:, None], lab.shape[1:3], mode="bilinear")[:, 0]
