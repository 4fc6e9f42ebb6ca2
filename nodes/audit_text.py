"""Sampling for the audit of a Text preference: through the hook that the RS-Corrector node installs."""

import copy
import hashlib

from .correction import corrected


def sample_as_in_a_graph(host, prompts, seeds, preferences, settings, cfg=None, plain=None, steps=None):
    """Like `sample_corrected`, with the model that the RS-Corrector node outputs -> (latents, reasons per preference).

    A Text preference evaluates the model during the run, which only the host's own sampling can do. `plain` is ignored:
    all pictures are sampled, and those left alone are bit-identical to the plain ones.
    """
    conditioning, runs = host.encode(prompts).expand(len(seeds)), []
    corrected_host = copy.copy(host)
    corrected_host.model = corrected(host.model, preferences, settings, told=lambda run: runs.append(run.reasons))
    latents = corrected_host.sample(conditioning, seeds, cfg, steps)
    reasons = [[""] * len(seeds) for _ in preferences]
    for which, run in zip(corrected_host.batches(conditioning), runs, strict=True):
        for of_all, of_run in zip(reasons, run, strict=True):
            for place, reason in zip(which.tolist(), of_run, strict=True):
                of_all[place] = reason
    return latents, reasons


def hash_of_text(preference):
    """A hash of the encoded prompts of a Text preference; its own hash covers only what differs between them."""
    digest = hashlib.sha256(preference.hash.encode())
    for side in (preference.source.counter, preference.source.stereotype):
        for tokens, _ in side:
            digest.update(tokens.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()[:10]
