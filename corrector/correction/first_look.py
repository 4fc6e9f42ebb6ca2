"""What a learned preference sees at the first step of a run: how each picture will come out without correction."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..preference.networks import Source
from ..preference.preference import Preference
from ..preference.text import Text

READ_AT_ONCE = 100  # most pictures that the preference's network reads at once
FIRST_SIGMAS = (0.4, 1.1)  # first sigmas of a run at which its pictures' chances are read, over the calibration's


@dataclass(frozen=True)
class FirstLook:
    """What a learned preference sees at the first step of a run, for each of its pictures.

    Args:
        lean: how it will come out [B], for `Calibration.chance`: the size of the update D_c - D_cond, which is small
            where the picture comes out on the counter side anyway, and to it what guidance adds along the update,
            <D - D_cond, U> / |U|, which is in proportion to CFG - 1. NaN out of scope; None if that was not calibrated,
            or at another sigma: the lower it is the more the size tells, until little is left to decide.
        opening: the size, less what guidance adds along the update, over how far the sides' means are apart [B] in
            0..1. It is about the chance of the stereotype: D lies that part of the way from the counter side's mean.
            None if that is not known.
    """

    lean: Tensor | None = None
    opening: Tensor | None = None


def first_look(
    preference: Preference, x: Tensor, sigma: Tensor, groups: Tensor, conditional: Tensor, denoised: Tensor, cfg: float
) -> FirstLook:
    """The FirstLook of a preference, which is empty if it asks the model.

    Args:
        x: [B, C, H, W] in model space, the noisy latent.
        sigma: [B].
        groups: [B], index of the group; -1 is out of scope.
        conditional, denoised: [B, C, H, W], the prediction for the user's prompt, and that after CFG.
        cfg: the CFG scale.
    """
    index = (groups >= 0).nonzero()[:, 0]
    if isinstance(preference.source, Text) or not len(index):
        return FirstLook()
    size, guidance = (torch.full((len(x),), math.nan) for _ in range(2))
    size[index], guidance[index] = size_and_guidance(
        preference.source, *(part[index] for part in (x, sigma, groups.to(x.device), conditional, denoised))
    )
    names, of_group = preference.axis.groups, groups.clamp(min=0).cpu()
    apart = torch.tensor([preference.training.get("sides_apart", {}).get(name, math.nan) for name in names])
    opening = ((size - guidance) / apart[of_group]).clamp(0, 1).nan_to_num(1.0) if apart.isfinite().any() else None
    calibrations = [preference.calibration(name, cfg) for name in names]
    lean_sigma = max((each.lean_sigma for each in calibrations if each and each.lean_slope), default=0)
    if not lean_sigma or not FIRST_SIGMAS[0] < float(sigma.max()) / lean_sigma < FIRST_SIGMAS[1]:
        return FirstLook(opening=opening)
    weights = torch.tensor([each.lean_guidance if each else 0.0 for each in calibrations])
    return FirstLook(size + weights[of_group] * guidance, opening)


@torch.no_grad()
def size_and_guidance(
    source: Source, x: Tensor, sigma: Tensor, group: Tensor, conditional: Tensor, denoised: Tensor
) -> tuple[Tensor, Tensor]:
    """The size of the update (root mean square) [B], and what guidance adds along it [B], on the CPU."""
    sizes, guidance = [], []
    for index in torch.arange(len(x)).split(READ_AT_ONCE):
        prompted = conditional[index].float()
        update = source.update(x[index].float(), sigma[index].float(), group[index], prompted).flatten(1)
        size = update.square().mean(dim=1).sqrt().clamp(min=1e-12)
        added = (denoised[index].float() - prompted).flatten(1)
        sizes.append(size.cpu())
        guidance.append(((added * update).mean(dim=1) / size).cpu())
    return torch.cat(sizes), torch.cat(guidance)
