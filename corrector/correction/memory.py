"""Which pictures earlier runs decided on, so that a later stage of the same picture keeps that decision.

A picture is found again by its latents: the very same ones (a second sampler, a batch taken apart or put together), the
same at another size or after a VAE (latent upscale, hires fix, img2img of a result), or a part of them (a tile).
"""

import hashlib
from collections import deque
from dataclasses import dataclass

import torch
import torch.nn.functional as F

KEPT = 1024  # pictures that are remembered
COMPARED = 128  # of which the newest are compared; all can be found again by the very same latents
SIDE = 32  # cells a side at which latents are compared, at most
SMALLEST = 6  # cells a side that a tile must cover of a remembered picture
ALIKE = 0.75  # `likeness` from which a latent is that picture, whatever else there is
ALIKE_HERE = 0.1  # from which it is the most alike of one graph, job or block, where it is likely one of them
ALIKE_BATCH = 0.4  # mean from which a batch is that batch, in the same order
MARGIN = 0.05  # by which an older picture must be more alike than a newer one


@dataclass(frozen=True, eq=False)
class _Past:
    """A run that is over."""

    digests: list  # one a picture, of its full latents
    latents: torch.Tensor  # [B, C, h, w], at most SIDE cells a side
    decided: list  # one {axis hash: Decided} a picture
    context: object


class Memory:
    """The pictures of the last runs of this process, with what was decided for each."""

    def __init__(self):
        self.runs = deque()  # the newest first

    def keep(self, latents, decided, context=None):
        """Remember the pictures of a run.

        Args:
            latents: [B, C, H, W], what the run made.
            decided: one {axis hash: Decided} a picture.
            context: what the runs of one graph, job or block have in common; any value that can be compared.
        """
        latents = latents.detach().float().cpu()
        scale = min(1.0, SIDE / max(latents.shape[2:]))
        small = F.adaptive_avg_pool2d(latents, [max(1, round(side * scale)) for side in latents.shape[2:]])
        self.runs.appendleft(_Past([_digest(latent) for latent in latents], small, decided, context))
        while sum(len(run.decided) for run in self.runs) > KEPT:
            self.runs.pop()

    def find(self, latents, mask=None, context=None):
        """What was decided for the pictures that a run starts from -> one {axis hash: Decided} or None a picture.

        Args:
            latents: [B, C, H, W].
            mask: [B or 1, 1, H, W], 1 where `latents` say nothing of the picture, as they are painted anew; or None.
            context: as in `keep`.
        """
        latents = latents.detach().float().cpu()
        exact = {}
        for run in reversed(self.runs):
            exact |= zip(run.digests, run.decided, strict=True)
        found = [exact.get(_digest(latent)) for latent in latents]
        if all(found):
            return found
        known = torch.ones(len(latents), 1, *latents.shape[2:])
        if mask is not None:
            known = known * (F.interpolate(mask.detach().float().cpu(), latents.shape[2:]) < 0.5)
        here = [run for run in self.runs if context is not None and run.context == context]
        values, compared = {}, 0  # {run: [B, n]}
        for run in here + [run for run in self.runs if run not in here]:
            compared += len(run.decided)
            if compared > max(COMPARED, len(run.decided)):
                break
            if run.latents.shape[1] != latents.shape[1]:
                continue
            values[run] = torch.stack([likeness(*one, run.latents) for one in zip(latents, known, strict=True)])
            if len(latents) == len(run.decided) > 1 and values[run].diagonal().mean() > ALIKE_BATCH:
                return [one or own for one, own in zip(found, run.decided, strict=True)]  # a batch keeps its order
        best = [1.0 if one else 0.0 for one in found]
        for run, matrix in values.items():
            least = ALIKE_HERE if run in here else ALIKE
            for index, (value, which) in enumerate(zip(*(part.tolist() for part in matrix.max(dim=1)), strict=True)):
                if value > max(least, best[index] + MARGIN):
                    best[index], found[index] = value, run.decided[which]
        return found


def likeness(latent, known, pictures):
    """How much of a latent each of some pictures explains, or a part of it -> [N]; 1 is the same, 0 and below unlike.

    The coefficient of determination R^2 at the best place and size of the part.

    Args:
        latent: [C, h, w].
        known: [1, h, w], the weight of each of its cells.
        pictures: [N, C, H, W].
    """
    explained = torch.full((len(pictures),), -torch.inf)
    for size in _sizes(latent.shape[1:], pictures.shape[2:]):
        weight = F.adaptive_avg_pool2d(known, size)  # [1, h', w']
        part = F.adaptive_avg_pool2d(latent * known, size) / weight.clamp(min=1e-3)  # [C, h', w']
        difference = (part.square() * weight).sum() - 2 * F.conv2d(pictures, (part * weight)[None])
        difference = difference + F.conv2d(pictures.square(), weight[None].expand(1, len(part), -1, -1))
        mean = (part * weight).sum(dim=(1, 2), keepdim=True) / weight.sum().clamp(min=1e-6)
        spread = ((part - mean).square() * weight).sum().clamp(min=1e-6)
        explained = torch.maximum(explained, 1 - difference.amin(dim=(1, 2, 3)) / spread)
    return explained


def _sizes(own, whole):
    """Cells [h', w'] of a picture of `whole` cells that a latent of `own` cells may show: all of it, or a tile."""
    (h, w), (height, width) = own, whole
    scale = min(height / h, width / w)
    if abs(height / h - width / w) < 0.1 * scale:  # the same proportions, but for a rounded cell
        yield height, width
    while min(size := (round(h * scale), round(w * scale))) >= SMALLEST:
        if size != (height, width):
            yield size
        scale /= 1.1


def _digest(latent):
    return hashlib.sha256(latent.contiguous().numpy().tobytes()).digest()
