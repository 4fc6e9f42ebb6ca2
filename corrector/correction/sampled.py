"""Samples corrected pictures with a standalone host, for calibration and audits."""

from dataclasses import replace

import torch

from ..latents.devices import placed
from .decision import Decision, chances_of, decide, groups_of
from .thinning import coins_from_seeds, first_lean
from .update import correct


def decide_all(preference, conditioning, coins, target, cfg, batch, lean=None):
    """`decide` for many pictures, with the target share in each batch of `batch` -> (Decision, reasons)."""
    readings, parts, reasons = readings_of(preference, conditioning), [], []
    for which in torch.arange(len(coins)).split(batch):
        own = None if lean is None else lean[which]
        decision, why = decide(preference, [readings[i] for i in which.tolist()], coins[which], target, cfg, own)
        parts.append(decision)
        reasons += why
    return Decision(*(torch.cat(column) for column in zip(*(vars(p).values() for p in parts), strict=True))), reasons


def readings_of(preference, conditioning):
    """The gate's PromptReading of each prompt, or None for each if there is no gate."""
    return [preference.gate and preference.gate.read([conditioning[i : i + 1]]) for i in range(len(conditioning))]


def first_predictions(host, conditioning, seeds, cfg):
    """Noisy latents [N, C, H, W], sigma [N] and predictions without and with CFG at the first step of a run."""
    first = {}

    def look(denoised, x, sigma, which, conditional):
        seen = [part.detach().float().cpu().clone() for part in (x, sigma.expand(len(x)), conditional, denoised)]
        for index, *parts in zip(torch.as_tensor(which).tolist(), *seen, strict=True):
            first.setdefault(index, parts)
        return denoised

    host.sample(conditioning, seeds, cfg, steps=2, hook=look)  # schedules of one step may start at any sigma
    return [torch.stack(part) for part in zip(*(first[i] for i in range(len(seeds))), strict=True)]


def first_leans(host, preference, conditioning, seeds, cfg):
    """`first_lean` of many pictures [N], or None if not applicable."""
    if not any(known.lean_slope for known in preference.calibrations):
        return None
    x, sigma, *predictions = first_predictions(host, conditioning, seeds, cfg)
    groups = groups_of(readings_of(preference, conditioning))
    return first_lean(preference, x, sigma, groups, *predictions, cfg)


def sample_corrected(host, prompts, seeds, preferences, settings, cfg=2.0, batch=50, plain=None, **options):
    """Sample with the correction -> (latents [N, C, H, W] on the CPU, a list of reasons per preference).

    Args:
        host: Host.
        prompts, seeds: one per picture.
        preferences: Preferences, applied together.
        settings: Settings.
        cfg: the CFG scale.
        batch: number of pictures that have the target share.
        plain: latents of the same prompts and seeds without correction, if known. Pictures that are not corrected are
            copied from them instead of sampled again; they are bit-identical.
        options: further arguments of `host.sample`.
    """
    conditioning, coins, decided = host.encode(prompts), coins_from_seeds(seeds), []
    for preference in preferences:
        # A target share needs the leans of all pictures before the first is sampled.
        lean = first_leans(host, preference, conditioning, seeds, cfg) if settings.target < 1 else None
        decided.append(decide_all(preference, conditioning, coins, settings.target, cfg, batch, lean))
    decisions, reasons = [d for d, _ in decided], [why for _, why in decided]
    wanted = torch.arange(len(seeds))
    if plain is not None:
        wanted = torch.stack([d.active for d in decisions]).any(dim=0).nonzero()[:, 0]
        if not len(wanted):
            return plain, reasons

    begun = {}

    def hook(denoised, x, sigma, which, conditional):
        if int(which[0]) not in begun:
            own = [d.select(wanted[which]) for d in decisions]
            if settings.target == 1:
                seen = x, sigma, conditional, denoised, cfg
                own = [_informed(*both, *seen) for both in zip(preferences, own, strict=True)]
            begun[int(which[0])] = own
        return correct(denoised, x, sigma, preferences, begun[int(which[0])], settings, cfg, conditional)

    some = [seeds[i] for i in wanted.tolist()]
    with placed([preference.source for preference in preferences], host.device):
        latents = host.sample(conditioning[wanted], some, cfg, hook=hook, **options).cpu()
    return latents if plain is None else plain.index_copy(0, wanted, latents), reasons


def _informed(preference, decision, x, sigma, conditional, denoised, cfg):
    """A Decision with the chances that the first prediction of a run tells."""
    lean = first_lean(preference, x, sigma, decision.group, conditional, denoised, cfg)
    return replace(decision, chance=chances_of(preference, decision.group, cfg, lean))
