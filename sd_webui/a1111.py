"""Automatic1111: corrects in its callbacks around CFG, without a hook on the UNet or any change to the host's objects.

`on_cfg_after_cfg` gets neither x, sigma nor the predictions before CFG, so `on_cfg_denoiser` and `on_cfg_denoised` save
them earlier in the same call. Their batch has one row per part of each picture's prompt, then one row per picture for
the negative prompt. The output of CFG is x0 for k-diffusion samplers and eps for DDIM, PLMS and UniPC, whose "sigma"
is a timestep and whose x is variance-preserving.
"""

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from ..corrector.correction.run import Run
from ..corrector.latents.spaces import expand
from .host import cfg_of, exploding, is_forge, predicts_x0
from .job import Job, Jobs


class Calls:
    """State between the callbacks of one denoiser call; their parameters are of the host's classes."""

    def __init__(self, jobs: Jobs):
        self.jobs = jobs
        self.forget()

    def forget(self) -> None:
        self.job: Job | None = None  # of a call that is corrected
        self.call: Any = None  # x, sigma and denoiser
        self.before_cfg: Tensor | None = None  # the UNet's output

    def on_cfg_denoiser(self, params: Any) -> None:
        """Before the UNet, also in Forge: save x and sigma if the call belongs to a pass that is corrected."""
        self.forget()
        denoiser = getattr(params, "denoiser", None)
        job = self.jobs.of(denoiser.p) if denoiser else None
        if job and job.run and job.asked:
            job.guarded(job.asked.begin_call, params, job.run)
        if job and job.run and denoiser and not is_forge(denoiser.p.sd_model):
            self.job, self.call = job, SimpleNamespace(x=params.x, sigma=params.sigma, denoiser=denoiser)

    def on_cfg_denoised(self, params: Any) -> None:
        """After the UNet: save its output before CFG."""
        if self.job:
            self.before_cfg = params.x

    def on_cfg_after_cfg(self, params: Any) -> None:
        """After CFG and, for k-diffusion, after the inpainting mask was applied."""
        if self.job and self.job.run:
            replaced = self.job.asked is not None and self.job.asked.replaced
            corrected = self.job.guarded(self.corrected, params.x, self.job.run, replaced)
            params.x = params.x if corrected is None else corrected
        self.forget()

    def corrected(self, output: Tensor, run: Run, replaced: bool) -> Tensor:
        """The output of CFG [B, C, H, W], x0 or eps -> the same, corrected.

        Args:
            replaced: as for `Run.change`.
        """
        count, denoiser = len(output), self.call.denoiser
        x, sigma = self.call.x[-count:], self.call.sigma[-count:]

        def denoised(output: Tensor) -> Tensor:
            return denoiser.get_pred_x0(x, output, sigma)

        cfg = cfg_of(denoiser.p)
        ve_x, ve_sigma = exploding(denoiser, x, sigma)
        conditional = denoised(self.conditional(output, cfg))
        unprompted = None if self.before_cfg is None else denoised(self.before_cfg[-count:])
        change = run.change(ve_x, ve_sigma, cfg, conditional, lambda: denoised(output), unprompted, replaced)
        if change is None:
            return output
        if denoiser.mask is not None:
            change = change * denoiser.nmask.to(change)  # no correction in the region that inpainting preserves
        if not predicts_x0(denoiser, x, sigma):
            change = -change / expand(ve_sigma, change)
        return torch.where(change != 0, (output.float() + change).to(output.dtype), output)

    def conditional(self, output: Tensor, cfg: float) -> Tensor:
        """The output without CFG [B, C, H, W]; of a prompt with several parts, from CFG's own sum of them."""
        if self.before_cfg is None:  # no UNet was asked, as with extensions that cache its output
            return output
        parts, negative = self.before_cfg[: -len(output)], self.before_cfg[-len(output) :]
        return parts if len(parts) == len(output) else negative + (output - negative) / cfg
