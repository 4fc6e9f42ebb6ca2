"""Where an axis expects skin, and the colours of pictures and latents."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Region = Sequence[float]  # left, top, right, bottom in 0..1 of a picture


def cie_lab(pictures: np.ndarray) -> np.ndarray:
    """sRGB [N, H, W, 3], uint8 or float in 0..1 -> CIE L*, a*, b* (D65) of all pixels [N, H * W, 3]."""
    from skimage.color import rgb2lab

    return rgb2lab(pictures).reshape(len(pictures), -1, 3)


def lab_of(pictures: Tensor) -> Tensor:
    """Pictures [N, 3, H, W] in -1..1 -> CIE L*, a*, b* [N, H, W, 3] on the CPU."""
    rgb = ((pictures.float() + 1) / 2).clamp(0, 1).nan_to_num().permute(0, 2, 3, 1).cpu()
    return torch.from_numpy(cie_lab(rgb.numpy())).float().view(rgb.shape)


def rgb_of(lab: Tensor) -> Tensor:
    """CIE L*, a*, b* [N, H, W, 3] -> pictures [N, 3, H, W] in -1..1 on the CPU."""
    from skimage.color import lab2rgb

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of colours that sRGB does not have
        rgb = torch.from_numpy(lab2rgb(lab.cpu().numpy()))
    return (rgb.float() * 2 - 1).clamp(-1, 1).permute(0, 3, 1, 2)


def to_uint8(pictures: Tensor) -> np.ndarray:
    """Pictures [N, 3, H, W] in -1..1 -> uint8 [N, H, W, 3]."""
    bytes_ = ((pictures.float() + 1) * 127.5).round().nan_to_num().clamp(0, 255).to(torch.uint8)
    return bytes_.permute(0, 2, 3, 1).cpu().numpy()


def box_of(region: Region, height: int, width: int) -> tuple[slice, slice]:
    """A region (left, top, right, bottom in 0..1) -> slices of its rows and columns."""
    left, top, right, bottom = region
    return slice(round(top * height), round(bottom * height)), slice(round(left * width), round(right * width))


@dataclass(frozen=True)
class Pictures:
    """How a host shows finished latents, in model space.

    Args:
        decode: latents [N, C, H, W] -> pictures [N, 3, height, width] in -1..1.
        encode: pictures -> latents.
        invertible: whether `encode` is the way back of `decode`. If not, only the difference between the latents of two
            pictures counts.
    """

    decode: Callable[[Tensor], Tensor]
    encode: Callable[[Tensor], Tensor]
    invertible: bool = True


@dataclass(frozen=True)
class LinearColours:
    """Approximate colours of latents in model space, one a cell: RGB in -1..1 is latents @ factors + bias.

    Args:
        factors: [C, 3].
        bias: [3].
    """

    factors: Tensor
    bias: Tensor

    def rgb(self, latents: Tensor) -> Tensor:
        """Latents [N, C, H, W] -> RGB [N, 3, H, W] in about -1..1."""
        factors, bias = self.factors.to(latents.device), self.bias.to(latents.device)
        return torch.einsum("nchw,cr->nrhw", latents.float(), factors) + bias.view(3, 1, 1)

    def latents(self, rgb: Tensor) -> Tensor:
        """RGB [N, 3, H, W] in -1..1 -> the smallest latents [N, C, H, W] that have it."""
        inverse = torch.linalg.pinv(self.factors).to(rgb.device)  # [3, C]
        return torch.einsum("nrhw,rc->nchw", rgb.float() - self.bias.to(rgb.device).view(3, 1, 1), inverse)

    @property
    def pictures(self) -> Pictures:
        return Pictures(self.rgb, self.latents, invertible=False)
