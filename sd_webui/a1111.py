"""Automatic1111: its three callbacks around CFG. No hook on the UNet, nothing of the host's is replaced.

`on_cfg_after_cfg` has neither x nor sigma: they come from `on_cfg_denoiser` of the same call, where each picture has a
row a part of its prompt and one more at the end, for the negative prompt. What comes out of CFG is x0 for k-diffusion
samplers and eps for DDIM, PLMS and UniPC, whose "sigma" is a timestep and whose x is variance-preserving:

    x0 = get_pred_x0(x, eps, t) = a x - s eps,   a x = x0 + s n:   a x is the x that the package means, and s its sigma.
"""

import torch

from .host import cfg_of, is_forge


class Calls:
    """The callbacks' state within one call of the host's denoiser; `jobs` says whose it is."""

    def __init__(self, jobs):
        self.jobs = jobs
        self.forget()

    def forget(self):
        self.job = self.denoiser = self.x = self.sigma = None

    def on_cfg_denoiser(self, params):
        """Before the UNet: x and sigma of a picture are the last rows. Only calls of a job with a pass count."""
        self.forget()
        denoiser = getattr(params, "denoiser", None)
        job = denoiser and self.jobs.of(denoiser.p)
        if job and job.on and job.run is not None and not is_forge(denoiser.p.sd_model):
            self.job, self.denoiser, self.x, self.sigma = job, denoiser, params.x, params.sigma

    def on_cfg_after_cfg(self, params):
        """After CFG and, for k-diffusion, after the mask was blended."""
        if self.denoiser is not None and self.job.run is not None:
            params.x = self.job.guarded(self.corrected, params.x, otherwise=params.x)
        self.forget()

    def corrected(self, output):
        count, denoiser = len(output), self.denoiser
        x, sigma = self.x[-count:], self.sigma[-count:]
        predicts_x0 = denoiser.get_pred_x0(x, output, sigma) is output
        x_there, sigma_there = (x, sigma) if predicts_x0 else exploding(denoiser, x, sigma)
        change = self.job.run.change(
            x_there, sigma_there, cfg_of(denoiser.p), predicted=lambda: denoiser.get_pred_x0(x, output, sigma)
        )
        if change is None:
            return output
        if denoiser.mask is not None:
            change = change * denoiser.nmask.to(change)  # blended again: the preserved region takes no correction
        if not predicts_x0:
            change = -change / sigma_there.float()[:, None, None, None]
        return torch.where(change != 0, (output.float() + change).to(output.dtype), output)


def exploding(denoiser, x, timestep):
    """A sampler of timesteps: its x and "sigma" -> x = x0 + sigma n [B, C, H, W] and sigma [B]."""
    nothing = torch.zeros_like(x)
    there = denoiser.get_pred_x0(x, nothing, timestep)
    sigma = -denoiser.get_pred_x0(nothing, torch.ones_like(x), timestep)[:, 0, 0, 0]
    return there, sigma
