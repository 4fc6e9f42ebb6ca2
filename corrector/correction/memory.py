"""Remembers the decisions of earlier runs, so that a later stage of a picture keeps them.

A picture is recognised by its latents: identical ones (a second sampler, a split or merged batch), the same at another
size or after a VAE (latent upscale, hires fix, img2img of a result), or a part of them (a tile).
"""

import hashlib
from collections import deque
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ..latents.spaces import fit_mask

KEPT = 1024  # number of remembered pictures
COMPARED = 128  # number of the newest that are compared; all are recognised by identical latents
SIDE = 32  # maximum cells per side at which latents are compared
SMALLEST = 6  # minimum cells per side of a tile
ALIKE = 0.75  # minimum likeness to any picture
ALIKE_HERE = 0.0  # minimum likeness to a picture of the same graph or job, which probably is the same
ALIKE_BATCH = 0.4  # minimum mean likeness to a batch of the same size, in its order
MARGIN = 0.05  # by which the likeness to an older picture must be higher than to a newer one


@dataclass(frozen=True, eq=False)
class _Past:
    """A finished run."""

    digests: list  # hash of each picture's latents
    latents: torch.Tensor  # [B, C, h, w], reduced to SIDE cells per side
    decided: list  # {axis hash: Decided} for each picture
    context: object


class Memory:
    """The pictures of the last runs of this process and their decisions."""

    def __init__(self):
        self.runs = deque()  # newest first

    def keep(self, latents, decided, context=None):
        """Remember the pictures of a run.

        Args:
            latents: [B, C, H, W], the result of the run.
            decided: {axis hash: Decided} for each picture.
            context: a value that the runs of one graph or job share, or None.
        """
        latents = latents.detach().float().cpu()
        scale = min(1.0, SIDE / max(latents.shape[2:]))
        small = F.adaptive_avg_pool2d(latents, [max(1, round(side * scale)) for side in latents.shape[2:]])
        self.runs.appendleft(_Past([_digest(latent) for latent in latents], small, decided, context))
        while sum(len(run.decided) for run in self.runs) > KEPT:
            self.runs.pop()

    def find(self, latents, mask=None, context=None):
        """The decisions for the pictures that a run starts from -> {axis hash: Decided} or None for each.

        Args:
            latents: [B, C, H, W].
            mask: inpainting mask [..., H, W], 1 where `latents` are ignored; or None.
            context: as in `keep`.
        """
        latents = latents.detach().float().cpu()
        exact = {}
        for run in reversed(self.runs):
            exact |= zip(run.digests, run.decided, strict=True)
        found = [exact.get(_digest(latent)) for latent in latents]
        if all(found):
            return found
        known = torch.ones_like(latents[:, :1]) if mask is None else (fit_mask(mask.detach(), latents) < 0.5).float()
        here = [run for run in self.runs if context is not None and run.context == context]
        values, templates, compared = {}, {}, 0  # {run: [B, n]}, {(H, W): list}
        for run in here + [run for run in self.runs if run not in here]:
            compared += len(run.decided)
            if compared > max(COMPARED, len(run.decided)):
                break
            if run.latents.shape[1] != latents.shape[1]:
                continue
            shape = run.latents.shape[2:]
            if shape not in templates:
                templates[shape] = list(_templates(latents, known, shape))
            if not templates[shape]:
                continue  # the proportions are too different
            values[run] = _likeness(templates[shape], run.latents)
            if len(latents) == len(run.decided) > 1 and _in_order(values[run], run in here):
                return [one or own for one, own in zip(found, run.decided, strict=True)]  # the same batch
        best = [1.0 if one else -1.0 for one in found]
        for run, matrix in values.items():
            least = ALIKE_HERE if run in here else ALIKE
            for index, (value, which) in enumerate(zip(*(part.tolist() for part in matrix.max(dim=1)), strict=True)):
                if value > max(least, best[index] + MARGIN):
                    best[index], found[index] = value, run.decided[which]
        return found


def _in_order(matrix, here):
    """Whether pictures are those of a run in its order, by their likeness R^2 [B, B]; less is asked of one's graph.

    There it suffices that hardly any picture is more like another one than like the one in its place.
    """
    likeness = matrix.diagonal().mean()
    return likeness > ALIKE_BATCH or (here and likeness > max(ALIKE_HERE, matrix.amax(dim=1).mean() - MARGIN))


def _templates(latents, known, shape):
    """What `_likeness` needs of latents [B, C, h, w] with weights [B, 1, h, w], for pictures of a shape (H, W)."""
    for height, width in _sizes(latents.shape[2:], shape):
        weight = F.adaptive_avg_pool2d(known, (height, width))  # [B, 1, h', w']
        part = F.adaptive_avg_pool2d(latents * known, (height, width)) / weight.clamp(min=1e-3)  # [B, C, h', w']
        kernel = torch.fft.rfft2(torch.cat([-2 * part * weight, weight], dim=1), s=shape).conj()
        mean = (part * weight).sum(dim=(2, 3), keepdim=True) / weight.sum(dim=(2, 3), keepdim=True).clamp(min=1e-6)
        spread = ((part - mean).square() * weight).sum(dim=(1, 2, 3)).clamp(min=1e-6)  # [B]
        yield height, width, kernel, (part.square() * weight).sum(dim=(1, 2, 3)), spread


def _likeness(templates, pictures):
    """How well pictures [N, C, H, W], or parts of them, explain latents -> R^2 [B, N]: 1 if equal, 0 if unrelated.

    It is the highest coefficient of determination over all positions and sizes of the part.
    """
    explained, (rows, columns) = [], pictures.shape[2:]
    spectra = torch.fft.rfft2(torch.cat([pictures, pictures.square().sum(dim=1, keepdim=True)], dim=1))
    for height, width, kernel, energy, spread in templates:
        # Cross-correlation gives the sum of weight * (picture - part)^2, without `energy`, at each position.
        products = torch.fft.irfft2(torch.einsum("nchw, bchw -> bnhw", spectra, kernel), s=(rows, columns))
        least = products[..., : rows - height + 1, : columns - width + 1].amin(dim=(2, 3))  # [B, N]
        explained.append(1 - (energy[:, None] + least) / spread[:, None])
    return torch.stack(explained).amax(dim=0)


def _sizes(own, whole):
    """Sizes [h', w'] of the part of a picture of size `whole` that a latent of size `own` may show."""
    (h, w), (height, width) = own, whole
    scale = min(height / h, width / w)
    if abs(height / h - width / w) < 0.1 * scale:  # the same proportions, up to rounding
        yield height, width
    while min(size := (round(h * scale), round(w * scale))) >= SMALLEST:
        if size != (height, width):
            yield size
        scale /= 1.1


def _digest(latent):
    return hashlib.sha256(latent.contiguous().numpy().tobytes()).digest()
