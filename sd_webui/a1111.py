"""Automatic1111: its three callbacks around CFG. No hook on the UNet, nothing of the host's is replaced.

`on_cfg_after_cfg` has neither x nor sigma: they come from `on_cfg_denoiser` of the same call, where each picture has a
row a part of its prompt and one more at the end, for the negative prompt. What comes out of CFG is x0 for k-diffusion
samplers and eps for DDIM, PLMS and UniPC, whose "sigma" is a timestep and whose x is variance-preserving:

    x0 = get_pred_x0(x, eps, t) = a x - s eps,   a x = x0 + s n:   a x is the x that the package means, and s its sigma.
"""

import torch

from .host import cfg_of


class Calls:
    """The callbacks' state within one call of the host's denoiser, for the job at work."""

    def __init__(self):
        self.job = None
        self.forget()

    def forget(self):
        self.denoiser = self.x = self.sigma = None

    def watch(self, job):
        self.job = job
        self.forget()

    @property
    def at_work(self):
        return self.job is not None and self.job.on and self.job.run is not None

    def on_cfg_denoiser(self, params):
        """Before the UNet: x and sigma of a picture are the last rows. Only calls of our own job count."""
        self.forget()
        denoiser = getattr(params, "denoiser", None)
        if self.at_work and denoiser is not None and denoiser.p is self.job.p:
            self.denoiser, self.x, self.sigma = denoiser, params.x, params.sigma

    def on_cfg_after_cfg(self, params):
        """After CFG and, for k-diffusion, after the mask was blended."""
        if self.denoiser is not None and self.at_work:
            params.x = self.job.guarded(self.corrected, params.x, otherwise=params.x)
        self.forget()

    def corrected(self, output):
        count, denoiser = len(output), self.denoiser
        x, sigma = self.x[-count:], self.sigma[-count:]
        predicts_x0 = denoiser.get_pred_x0(x, output, sigma) is output
        x_there, sigma_there = (x, sigma) if predicts_x0 else exploding(denoiser, x, sigma)
        nothing = torch.zeros_like(x_there, dtype=torch.float32)
        # D* - D alone: it depends on x, and not on what came out of CFG, so the host's rows keep their bits.
        change = self.job.run.correct(
            nothing, x_there.float(), sigma_there.float(), cfg_of(self.job.p),
            predicted=lambda: denoiser.get_pred_x0(x, output, sigma),
        )  # fmt: skip
        if change is nothing:
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
