"""Sampling of an audit by the very hook that RS-Corrector puts on a model: what a Text preference needs."""

import copy
import hashlib

from .correction import corrected


def sample_as_in_a_graph(host, prompts, seeds, preferences, settings, cfg=2.0, plain=None, steps=None):
    """As `sample_corrected`, with the model that the RS-Corrector node gives -> (latents, reasons a preference).

    A Text preference asks the model in the middle of a run, which only the host's own sampling can do. Pictures are
    all sampled: those left alone come out as the plain ones, bit for bit.
    """
    conditioning, told = host.encode(prompts).expand(len(seeds)), []
    own = copy.copy(host)
    own.model = corrected(host.model, preferences, settings, told=told.append)
    latents = own.sample(conditioning, seeds, cfg, steps)
    reasons = [[""] * len(seeds) for _ in preferences]
    for which, run in zip(own.batches(conditioning), told, strict=True):
        for mine, of_run in zip(reasons, run, strict=True):
            for place, reason in zip(which.tolist(), of_run, strict=True):
                mine[place] = reason
    return latents, reasons


def hash_of_text(preference):
    """A hash of a Text preference's two prompts as the text encoder reads them: its own says only how they differ."""
    digest = hashlib.sha256(preference.hash.encode())
    for side in (preference.source.counter, preference.source.stereotype):
        for tokens, _ in side:
            digest.update(tokens.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()[:10]
