"""Target shares, from pictures that were sampled once plainly and once fully corrected.

Pictures that a target leaves alone are bit-identical to plain ones (which tests/ check), and the others to the fully
corrected ones, so that the pictures of every target share are known without sampling them.
"""

import numpy as np

from corrector.auditing import statistics as audit
from corrector.correction.sampled import decide_all, first_leans
from corrector.correction.thinning import coins_from_seeds

TARGETS = (0.25, 0.5, 0.75)
SIZE = 8  # pictures in a batch; all have the same prompt, as in UIs


def shares(host, preference, prompts, seeds, before, after, cfg):
    """The shares of counter pictures -> list of (figure, (value, low, high), n).

    Args:
        host, preference: Host and Preference.
        prompts, seeds: of the pictures [N].
        before, after: whether each picture is on the counter side, plain and fully corrected, bool [N].
        cfg: the CFG scale.
    """
    if not (which := _in_batches(prompts)):
        return []
    prompts, seeds = [prompts[i] for i in which], [seeds[i] for i in which]
    before, after = np.asarray(before)[which], np.asarray(after)[which]
    conditioning, coins = host.encode(prompts), coins_from_seeds(seeds)
    lean = first_leans(host, preference, conditioning, seeds, cfg)
    found = []
    for target in TARGETS:
        decision, _ = decide_all(preference, conditioning, coins, target, cfg, SIZE, lean)
        chosen = decision.active.numpy()
        mixed = np.where(chosen, after, before)
        acts = "" if chosen.any() else " (nothing acts)"
        found.append((f"share at target {target}{acts}", audit.rate(int(mixed.sum()), len(mixed)), len(mixed)))
        batches = mixed.reshape(-1, SIZE).mean(axis=1)
        found.append((f"sd in batches at target {target}{acts}", (float(batches.std()),) * 3, len(batches)))
    return found


def _in_batches(prompts):
    """The indices of the pictures, batch by batch; those that fill no batch of one prompt are left out."""
    which = []
    for prompt in dict.fromkeys(prompts):
        own = [index for index, other in enumerate(prompts) if other == prompt]
        which += own[: len(own) // SIZE * SIZE]
    return which
